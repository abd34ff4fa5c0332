"""Caption batches: the right clips, resumable, each once an epoch."""

import itertools
import json

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.data import clips


@pytest.fixture
def manifest(tmp_path):
  lines = [
    {
      'id': str(i),
      'path': f'clips/{i}.mp4',
      'caption': f'number {i}',
      'split': 'validation' if i % 5 == 4 else 'train',
    }
    for i in range(20)
  ]
  path = tmp_path / 'manifest.jsonl'
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  return path


def batches(manifest, **changes):
  settings = dict(
    batch_size=4,
    seed=0,
    split='train',
    read=lambda path: int(path.stem),
    features=lambda number, caption: {
      'number': np.array([number]),
      'said': np.array(int(caption.split()[1])),
    },
  )
  return clips.CaptionBatches(manifest, **{**settings, **changes})


def test_pairs_stay_together_and_epochs_are_complete(manifest):
  data = batches(manifest)
  epoch = list(itertools.islice(data(0), 4))
  for batch in epoch:
    np.testing.assert_array_equal(batch['number'][:, 0], batch['said'])
  seen = np.concatenate([b['said'] for b in epoch])
  assert sorted(seen) == [i for i in range(20) if i % 5 != 4]


def test_resume_gives_the_same_batches(manifest):
  data = batches(manifest)
  straight = list(itertools.islice(data(0), 11))
  resumed = list(itertools.islice(batches(manifest)(7), 4))
  for a, b in zip(straight[7:], resumed, strict=True):
    np.testing.assert_array_equal(a['said'], b['said'])
  assert any(
    (a['said'] != b['said']).any()
    for a, b in zip(straight[:4], straight[4:8], strict=True)
  )


def test_each_clip_is_read_once(manifest):
  read = []
  data = batches(manifest, read=lambda p: read.append(p) or int(p.stem))
  list(itertools.islice(data(0), 9))
  assert len(read) == 16 and len(set(read)) == 16
  assert read[0] == manifest.parent / 'clips' / '0.mp4'


def test_too_few_clips_are_named(manifest):
  with pytest.raises(ValueError, match=r"'validation'.*has 4 clips.*of 8"):
    batches(manifest, split='validation', batch_size=8)


def test_clips_without_a_caption_are_named(manifest):
  manifest.write_text('{"id": "mute", "path": "a.mp4"}\n')
  with pytest.raises(ValueError, match=r"no caption: \['mute'\]"):
    batches(manifest)


@pytest.mark.parametrize('count', [2, 4])
def test_slices_of_all_processes_are_the_batch(manifest, count):
  whole = itertools.islice(batches(manifest)(2), 5)
  slices = [batches(manifest)(2, (i, count)) for i in range(count)]
  for batch, parts in zip(whole, zip(*slices, strict=True), strict=False):
    for name, rows in batch.items():
      assert {len(part[name]) for part in parts} == {4 // count}
      np.testing.assert_array_equal(
        np.concatenate([part[name] for part in parts]), rows
      )


def test_a_batch_never_holds_a_clip_twice(manifest):
  # 16 clips in batches of 5: three a epoch, one clip left out.
  data = batches(manifest, batch_size=5)
  for batch in itertools.islice(data(0), 12):
    assert len(set(batch['said'])) == 5


def crops(manifest, **changes):
  """Sample i of file k is 1000 k + i, at 10 Hz; files last 20 s."""
  settings = dict(
    batch_size=4,
    seed=0,
    split='train',
    crop_seconds=5.0,
    read=lambda path: media.Audio(
      samples=1000 * int(path.stem) + np.arange(200.0), rate_hz=10
    ),
    features=lambda audio, caption: {
      'samples': audio.samples,
      'said': np.array(int(caption.split()[1])),
    },
  )
  return clips.CaptionCrops(manifest, **{**settings, **changes})


def test_crops_are_of_their_clip_and_others_in_every_epoch(manifest):
  starts = {}
  for batch in itertools.islice(crops(manifest)(0), 8):
    assert batch['samples'].shape == (4, 50)
    for samples, clip in zip(batch['samples'], batch['said'], strict=True):
      start = samples[0] - 1000 * clip
      assert 0 <= start <= 150
      np.testing.assert_array_equal(samples, samples[0] + np.arange(50))
      starts.setdefault(int(clip), set()).add(start)
  assert len(starts) == 16
  assert sum(len(s) == 2 for s in starts.values()) > 12


def test_a_short_clip_is_given_whole(manifest):
  batch = next(crops(manifest, crop_seconds=99.0)(0))
  assert batch['samples'].shape == (4, 200)


def test_crops_resume_and_are_sliced_alike(manifest):
  straight = list(itertools.islice(crops(manifest)(0), 6))
  resumed = next(crops(manifest)(5))
  np.testing.assert_array_equal(straight[5]['samples'], resumed['samples'])
  halves = [next(crops(manifest)(5, (i, 2)))['samples'] for i in range(2)]
  np.testing.assert_array_equal(np.concatenate(halves), resumed['samples'])


def test_batches_describe_all_that_their_order_follows_from(manifest):
  described = [
    batches(manifest).describe(),
    batches(manifest, seed=1).describe(),
    batches(manifest, batch_size=2).describe(),
    batches(manifest, split='validation').describe(),
  ]
  assert batches(manifest).describe() == described[0]
  lines = manifest.read_text().splitlines(keepends=True)
  manifest.write_text(''.join(reversed(lines)))
  described.append(batches(manifest).describe())
  assert all(a != b for a, b in itertools.combinations(described, 2))
