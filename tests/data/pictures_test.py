"""A stream of pictures in tokens, from the record to the ids of a stage."""

import numpy as np
import pytest

from v2meow_jax import specs

pytestmark = pytest.mark.data

PICTURE = specs.TokenSpec(
  name='picture', codebook_size=300, rate_hz=1.0, num_positions=4
)
TARGET = specs.TokenSpec(name='music', codebook_size=8, rate_hz=2.0)
STAGE = specs.StageSpec(
  name='stage', inputs=(PICTURE,), target=TARGET, crop_seconds=2.0
)


def test_cells_come_out_in_order_and_in_one_range_of_ids():
  import tensorflow as tf

  from v2meow_jax.data import preprocessors
  from v2meow_jax.data import records

  pictures = np.random.default_rng(0).integers(0, 300, (2, 4))
  music = np.array([[3], [1], [4], [7]])
  streams = (PICTURE, TARGET)
  record = records.serialise(
    'clip', 2.0, {'picture': pictures, 'music': music}, streams
  )
  fields = {
    name: tf.io.FixedLenFeature([], kind)
    for name, kind in (
      ('id', tf.string), ('seconds', tf.float32),
      ('picture', tf.string), ('music', tf.string),
    )
  }  # fmt: skip
  raw = tf.io.parse_single_example(record, fields)
  parsed = records.parse(raw, streams)
  example = {k: tf.cast(parsed[k], tf.int32) for k in ('picture', 'music')}
  ds = tf.data.Dataset.from_tensors({'id': parsed['id'], **example})
  (ids,) = preprocessors.codes_to_ids(ds, stage=STAGE).as_numpy_iterator()
  assert ids['picture'].tolist() == (2 + pictures.ravel()).tolist()
  assert ids['music'].tolist() == [305, 303, 306, 309]


def test_a_dataset_of_smaller_pictures_does_not_serve():
  import dataclasses

  from v2meow_jax.data import records

  smaller = dataclasses.replace(PICTURE, num_positions=2)
  records.check_stage((PICTURE, TARGET), STAGE)
  with pytest.raises(ValueError, match='prepare it'):
    records.check_stage((smaller, TARGET), STAGE)
