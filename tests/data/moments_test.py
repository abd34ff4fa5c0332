"""Moments of the records are those that numpy finds in all of them."""

import functools
import json

import numpy as np
import pytest

from tests.fakes import planted_records
from v2meow_jax import stages
from v2meow_jax.data import moments
from v2meow_jax.data import record_source
from v2meow_jax.training import standardising
from v2meow_jax.training.checkpoints import checkpoints

pytestmark = pytest.mark.data

STAGE = stages.semantic(
  inputs=('appearance', 'motion', 'style'), streams=planted_records.TINY
)


def test_moments_are_those_of_all_recorded_frames(planted_data):
  stored = moments.read(str(planted_data))
  clips = record_source.RecordSource('planted').get_dataset('train')
  clips = list(clips.as_numpy_iterator())
  # No discrete stream, and no style, which enters by its direction.
  assert set(stored) == {'appearance', 'motion'}
  for name, values in stored.items():
    rows = np.concatenate([clip[name] for clip in clips]).astype(np.float64)
    np.testing.assert_allclose(values['mean'], rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(values['std'], rows.std(0), rtol=1e-6)
  text = (planted_data / moments.FILE).read_text()
  assert json.loads(text)['motion']['count'] == len(rows)


def _standardised():
  made = planted_records.make_extractors()
  made['motion'].is_standardised = True
  return made


def test_streams_that_are_standardised_already_are_left_alone(
  planted_prepare, tmp_path
):
  planted_prepare(tmp_path / 'out', make_extractors=_standardised)
  assert set(moments.read(str(tmp_path / 'out'))) == {'appearance'}


def test_a_run_keeps_the_moments_that_it_began_with(
  planted_data, tmp_path, monkeypatch
):
  def chosen(model_dir):
    recorded = functools.partial(moments.of_dataset, 'planted', STAGE)
    return standardising.moments(model_dir, recorded)

  begun = chosen(tmp_path / 'run')
  assert begun == moments.read(str(planted_data))
  for stored in ({'moments': {'motion': 'old'}}, {}):
    (tmp_path / 'run').mkdir(exist_ok=True)
    path = tmp_path / 'run' / checkpoints.DESCRIPTION_NAME
    path.write_text(json.dumps(stored))
    # A run from before there were moments goes on without any.
    assert chosen(tmp_path / 'run') == stored.get('moments', {})
  monkeypatch.setenv(record_source.DATA_DIR_VARIABLE, str(tmp_path))
  assert chosen(tmp_path / 'another run') == {}


def test_damaged_moments_are_named(tmp_path):
  (tmp_path / moments.FILE).write_text('{"clip": 3}')
  with pytest.raises(ValueError, match=moments.FILE):
    moments.read(str(tmp_path))
