"""The sound of a system is assembled from whatever stages write its levels."""

import numpy as np
import pytest

from v2meow_jax import specs
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
    return codes.sum(-1).astype(np.float32) / 4


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
  assert audio.samples.tolist() == [1.0, 0.5]


def test_a_clip_a_hair_above_what_windows_cover_is_as_long():
  streams = {'coarse': np.ones((8, 2), np.int32)}
  audio, codes = sound.decode(Codec(), streams, [COARSE], 2.0 + 1e-8)
  assert (len(audio.samples), len(codes)) == (8, 8)
