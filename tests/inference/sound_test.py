"""The sound of a system is assembled from whatever stages write its levels."""

import functools

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.files.films import scratch
from v2meow_jax.inference import sound


def level(name, first, count=1, stored_as='acoustic'):
  return specs.TokenSpec(
    name=name,
    codebook_size=8,
    rate_hz=4.0,
    num_codebooks=count,
    first_codebook=first,
    stored_as=stored_as,
  )


SEMANTIC = level('semantic', 0, stored_as=None)
COARSE, FINE, FINEST = level('coarse', 0, 2), level('fine', 2), level('top', 3)


class Codec:
  """Each code sounds as one sample: the sum of its levels, in quarters."""

  stream = specs.TokenSpec(
    name='acoustic', codebook_size=8, rate_hz=4.0, num_codebooks=4
  )
  sample_rate_hz = 4

  def decode_in_pieces(self, codes, piece_frames):
    del piece_frames
    samples = codes.sum(-1).astype(np.float32) / 4
    yield from np.array_split(samples, 3, axis=1)


@pytest.mark.parametrize(
  ('targets', 'parts'),
  [
    ([COARSE], [COARSE]),
    ([SEMANTIC, COARSE], [COARSE]),
    ([SEMANTIC, COARSE, FINE], [COARSE, FINE]),
    ([FINEST, FINE, SEMANTIC, COARSE], [COARSE, FINE, FINEST]),
    ([level('acoustic', 0, 4, stored_as=None)],) * 2,
  ],
)
def test_levels_come_from_the_stages_that_write_them(targets, parts):
  assert sound.levels('acoustic', targets) == tuple(parts)


@pytest.mark.parametrize(
  ('targets', 'missing'),
  [([SEMANTIC], 0), ([FINE], 0), ([COARSE, FINEST], 2), ([COARSE, COARSE], 2)],
)
def test_a_level_that_nobody_writes_is_named(targets, missing):
  with pytest.raises(ValueError, match=f"level {missing} of .*'acoustic'"):
    sound.levels('acoustic', targets)


@pytest.mark.parametrize('parts', [[COARSE], [COARSE, FINE]])
@pytest.mark.parametrize('seconds', [1.99, 2.0, 2.0 + 1e-9, 2.01, 2.13])
def test_a_sound_is_as_long_as_its_clip_whatever_stages_wrote(parts, seconds):
  streams = {
    'coarse': np.ones((16, 2), np.int32),
    'fine': np.ones((12, 1), np.int32),
  }
  audio, codes = sound.decode(Codec(), streams, parts, seconds)
  assert len(audio.samples) == round(seconds * 4)
  assert codes.shape == (
    np.ceil(seconds * 4),
    sum(s.num_codebooks for s in parts),
  )
  np.testing.assert_array_equal(audio.samples[:8], len(codes.T) / 4)


def test_a_sound_beyond_full_scale_is_scaled_back():
  streams = {'coarse': np.array([[7, 7], [7, 0]], np.int32)}
  audio, _ = sound.decode(Codec(), streams, [COARSE], 0.5)
  assert sound.bring_to_range(audio) == 3.5
  assert audio.samples.tolist() == [1.0, 0.5]


def test_a_sound_on_a_disk_is_the_one_in_memory(tmp_path):
  streams = {'coarse': np.arange(32, dtype=np.int32).reshape(16, 2) % 8}
  audio, _ = sound.decode(Codec(), streams, [COARSE], 3.9)
  make = functools.partial(scratch.zeros, tmp_path)
  on_disk, _ = sound.decode(Codec(), streams, [COARSE], 3.9, make)
  assert isinstance(on_disk.samples, np.memmap)
  np.testing.assert_array_equal(on_disk.samples, audio.samples)
  np.testing.assert_array_equal(
    np.concatenate(list(on_disk.pieces()), 1)[0], audio.samples
  )
  assert not list(tmp_path.iterdir())


def test_a_second_takes_its_samples_and_its_codes():
  # Of four bytes: 4 samples, 4 codes of a level, 8 of two, 4 latents of 3.
  latents = specs.FeatureSpec(name='latents', dim=3, rate_hz=4.0)
  targets = [SEMANTIC, COARSE, latents]
  assert sound.bytes_per_second(Codec(), targets) == 4 * (4 + 4 + 8 + 12)


def test_a_clip_a_hair_above_what_windows_cover_is_as_long():
  streams = {'coarse': np.ones((8, 2), np.int32)}
  audio, codes = sound.decode(Codec(), streams, [COARSE], 2.0 + 1e-8)
  assert (len(audio.samples), len(codes)) == (8, 8)


RATE_HZ = 1000
TONE = 0.5 * np.sin(np.arange(10 * RATE_HZ) / 3)


def changed(start, stop, value):
  samples = TONE.copy()
  samples[round(start * RATE_HZ) : round(stop * RATE_HZ)] = value
  return samples


@pytest.mark.parametrize(
  ('samples', 'end_seconds', 'reason'),
  [
    (TONE, None, None),
    (changed(1, 5.5, 0), None, None),  # A rest.
    (changed(4, 10, 0), 8.0, None),  # It rings out from 8 s on.
    (changed(4, 10, 0), None, 'silent_tail'),
    (changed(0, 10, 1e-4), None, 'silent'),
    (changed(3, 3.001, np.nan), None, 'not_finite'),
    (TONE[:-1], None, 'wrong_length'),
    (np.clip(10 * TONE, -1, 1), None, 'clipped'),
  ],
)
def test_a_sound_of_no_use_is_refused_with_the_reason(
  samples, end_seconds, reason
):
  audio = media.Audio(samples=samples, rate_hz=RATE_HZ)
  try:
    sound.require_usable(audio, 10.0, end_seconds)
    assert reason is None
  except sound.UnusableSound as e:
    assert e.reason == reason and str(e)
