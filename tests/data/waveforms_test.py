import itertools
import json

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.data import waveforms

_RATE_HZ = 1000


def _ramp(path):
  # Sample i of file k is k / 10 + i / 100000: a crop says where it is from.
  k = int(path.stem)
  samples = k / 10 + np.arange(4000) / 1e5
  return media.Audio(samples=samples.astype(np.float32), rate_hz=_RATE_HZ)


def _batches(tmp_path, read=_ramp, **kwargs):
  manifest = tmp_path / 'manifest.jsonl'
  lines = [
    {
      'id': str(k),
      'path': f'{k}.wav',
      'split': 'train' if k < 4 else 'validation',
    }
    for k in range(6)
  ]
  manifest.write_text('\n'.join(json.dumps(x) for x in lines))
  defaults = dict(batch_size=8, crop_seconds=0.5, seed=3, rate_hz=_RATE_HZ)
  return waveforms.WaveformBatches(
    manifest=manifest, read=read, **(defaults | kwargs)
  )


def _take(iterator, num):
  return [b['waveform'] for b in itertools.islice(iterator, num)]


def test_crops_are_contiguous_stretches_of_one_file_each(tmp_path):
  rows = _take(_batches(tmp_path)(0), 1)[0]
  assert rows.dtype == np.float32 and rows.shape == (8, 500)
  steps = np.diff(rows, axis=1)
  np.testing.assert_allclose(steps, 1e-5, atol=3.2e-5)  # int16 rounding
  np.testing.assert_allclose(rows[:, -1] - rows[:, 0], 499e-5, atol=3.2e-5)


def test_only_files_of_the_split_are_read(tmp_path):
  seen = set()

  def read(path):
    seen.add(path.stem)
    return _ramp(path)

  batches = _batches(tmp_path, read=read, split='validation')
  _take(batches(0), 4)
  assert seen == {'4', '5'}


def test_resuming_gives_the_batches_of_an_undisturbed_run(tmp_path):
  whole = _take(_batches(tmp_path)(0), 5)
  resumed = _take(_batches(tmp_path)(3), 2)
  np.testing.assert_array_equal(whole[3:], resumed)


@pytest.mark.parametrize('count', [2, 4])
def test_slices_of_all_processes_are_the_batch(tmp_path, count):
  whole = _take(_batches(tmp_path)(3), 2)
  slices = [_take(_batches(tmp_path)(3, (i, count)), 2) for i in range(count)]
  for step in range(2):
    rows = [part[step] for part in slices]
    assert {len(r) for r in rows} == {8 // count}
    np.testing.assert_array_equal(np.concatenate(rows), whole[step])


def test_rows_that_do_not_divide_are_refused(tmp_path):
  with pytest.raises(ValueError, match='8 rows do not divide among 3'):
    _batches(tmp_path)(0, (0, 3))


def test_steps_and_seeds_give_different_batches(tmp_path):
  first, second = _take(_batches(tmp_path)(0), 2)
  other = _take(_batches(tmp_path, seed=4)(0), 1)[0]
  assert not np.array_equal(first, second)
  assert not np.array_equal(first, other)


def test_short_file_is_padded_with_silence(tmp_path):
  batches = _batches(tmp_path, crop_seconds=5.0)
  rows = batches.batch(0)['waveform']
  assert rows.shape == (8, 5000)
  np.testing.assert_array_equal(rows[:, 4000:], 0)
  assert np.all(rows[:, 3999] > 0.03)


def test_cache_stays_within_its_budget_and_files_are_read_again(tmp_path):
  reads = []

  def read(path):
    reads.append(path)
    return _ramp(path)

  # A file is 4000 samples, 8000 bytes: two fit.
  small = _batches(tmp_path, read=read, max_cache_bytes=16_000)
  for step in range(10):
    small.batch(step)
  assert len(small._cache._items) == 2 and len(reads) > 4
  reads.clear()
  large = _batches(tmp_path, read=read)
  for step in range(10):
    large.batch(step)
  assert len(reads) == 4


def test_wrong_rate_is_refused_by_name(tmp_path):
  batches = _batches(tmp_path, rate_hz=2000)
  with pytest.raises(ValueError, match='.wav was read at 1000 Hz'):
    next(batches(0))


def test_missing_split_names_those_there_are(tmp_path):
  with pytest.raises(ValueError, match=r"no clips of split 'x'.*'train': 4"):
    _batches(tmp_path, split='x')


def test_an_error_of_a_file_reaches_the_reader(tmp_path):
  def read(path):
    raise OSError(f'cannot read {path.name}')

  with pytest.raises(OSError, match='cannot read'):
    next(_batches(tmp_path, read=read)(0))


def test_batches_describe_all_that_their_order_follows_from(tmp_path):
  described = [
    _batches(tmp_path).describe(),
    _batches(tmp_path, seed=4).describe(),
    _batches(tmp_path, split='validation').describe(),
    _batches(tmp_path, batch_size=4).describe(),
    _batches(tmp_path, crop_seconds=1.0).describe(),
  ]
  assert all(a != b for a, b in itertools.combinations(described, 2))
  assert _batches(tmp_path).describe() == described[0]
