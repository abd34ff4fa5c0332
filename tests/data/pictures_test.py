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
  (record,) = records.serialise(
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


def test_patches_and_continuous_targets_become_the_batch_of_a_model():
  import tensorflow as tf

  from v2meow_jax.data import feature_converters
  from v2meow_jax.data import preprocessors
  from v2meow_jax.data import records
  from v2meow_jax.models import batch_layouts

  patches = specs.FeatureSpec(
    name='patches', dim=3, rate_hz=1.0, num_positions=4
  )
  latents = specs.FeatureSpec(name='latents', dim=5, rate_hz=2.0)
  stage = specs.StageSpec(
    name='stage', inputs=(patches,), target=latents, crop_seconds=2.0
  )
  rng = np.random.default_rng(0)
  values = {
    s.name: rng.normal(size=(n, *s.frame_shape)).astype(np.float16)
    for s, n in ((patches, 3), (latents, 6))
  }
  streams = (patches, latents)
  (record,) = records.serialise('clip', 3.0, values, streams)
  fields = {
    name: tf.io.FixedLenFeature([], kind)
    for name, kind in (
      ('id', tf.string), ('seconds', tf.float32),
      ('patches', tf.string), ('latents', tf.string),
    )
  }  # fmt: skip
  parsed = records.parse(tf.io.parse_single_example(record, fields), streams)
  records.check_stage(streams, stage)
  ds = tf.data.Dataset.from_tensors(parsed)
  ds = preprocessors.first_crop(ds, stage=stage)
  ds = preprocessors.codes_to_ids(ds, stage=stage)
  converter = feature_converters.BY_LAYOUT['frames'](stage)
  ds = converter(ds, stage.feature_lengths()).batch(1)
  (batch,) = ds.as_numpy_iterator()
  example = batch_layouts.example_batch(batch_layouts.FRAMES, stage, 1)
  assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
    k: (v.shape, v.dtype) for k, v in example.items()
  }
  np.testing.assert_array_equal(
    batch['encoder_inputs_patches'][0], values['patches'][:2]
  )
  np.testing.assert_array_equal(
    batch['decoder_target_frames'][0], values['latents'][:4]
  )


def test_every_layout_of_a_model_has_a_converter():
  from v2meow_jax.data import feature_converters
  from v2meow_jax.models import batch_layouts

  assert set(feature_converters.BY_LAYOUT) == {
    batch_layouts.ENCODER_DECODER,
    batch_layouts.PREFIX,
    batch_layouts.PARALLEL,
    batch_layouts.FRAMES,
    batch_layouts.DELAY,
  }
