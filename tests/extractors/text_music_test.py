"""Both sides of a joint embedding, around networks that can be told by hand."""

import dataclasses

import numpy as np
import pytest
import soxr

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import text_music
from v2meow_jax.pretrained.text_music import segments

STREAM = specs.FeatureSpec(name='style', dim=3, rate_hz=0.0)


@dataclasses.dataclass
class Loudness:
  """Hears what a segment's first, middle and last samples are, times 5."""

  dim: int = 3
  sample_rate_hz: int = 100
  sizes: list[int] = dataclasses.field(default_factory=list)

  def embed_music(self, waveforms):
    assert waveforms.shape[1:] == (1000,) and waveforms.dtype == np.float32
    self.sizes.append(len(waveforms))
    return 5 * waveforms[:, [100, 500, 900]]

  def embed_texts(self, texts):
    return np.array([[len(t), 0, 4] for t in texts], np.float32)


def audio(samples, rate_hz=100):
  return media.Audio(samples=np.asarray(samples, np.float32), rate_hz=rate_hz)


def test_music_is_the_mean_of_unit_vectors():
  # 25 segments that lie along three axes, some louder than others.
  axes = np.arange(25) % 3
  samples = np.zeros((25, 1000))
  samples[np.arange(25), np.array([100, 500, 900])[axes]] = 0.1 + axes
  network = Loudness()
  got = text_music.MusicStyle(STREAM, network)(audio(samples.ravel()))
  counts = np.array([9, 8, 8])
  assert got.shape == (1, 3) and got.dtype == np.float32
  np.testing.assert_allclose(got[0], counts / np.linalg.norm(counts), rtol=1e-6)
  # Memory is that of a batch, and the last one is not filled up.
  assert network.sizes == [4, 4, 4, 4, 4, 4, 1]


def test_text_is_a_unit_vector():
  got = text_music.TextStyle(STREAM, Loudness())('abc')
  np.testing.assert_allclose(got, [[0.6, 0, 0.8]], rtol=1e-6)


def test_silence_is_no_direction_and_not_nan():
  got = text_music.MusicStyle(STREAM, Loudness())(audio(np.zeros(2000)))
  np.testing.assert_array_equal(got, np.zeros((1, 3)))


@pytest.mark.parametrize(
  'seconds,expected', [(1, [1]), (10, [10]), (14, [10]), (16, [10, 6])]
)
def test_segments_are_ten_seconds_and_a_long_rest(seconds, expected):
  pieces = segments.of_audio(audio(np.zeros(seconds * 100)))
  assert [s.seconds for s in pieces] == expected


def test_short_segments_are_repeated_whole_and_filled_with_silence():
  short = np.arange(1, 301)
  [got] = segments.waveforms(audio(short), 100)
  np.testing.assert_array_equal(got, [*short, *short, *short, *[0] * 100])
  long = np.arange(1, 1701)
  first, rest = segments.waveforms(audio(long), 100)
  np.testing.assert_array_equal(first, long[:1000])
  np.testing.assert_array_equal(rest, [*long[1000:], *[0] * 300])


@pytest.mark.parametrize('rate_hz', [16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize('wanted_hz', [16_000, 24_000, 48_000])
def test_resampling_in_pieces_is_resampling_the_whole(rate_hz, wanted_hz):
  samples = np.random.default_rng(0).normal(0, 0.1, int(27.3 * rate_hz))
  samples = samples.astype(np.float32)
  got = list(segments.waveforms(audio(samples, rate_hz), wanted_hz))
  assert [len(x) for x in got] == 3 * [10 * wanted_hz]
  whole = soxr.resample(samples, rate_hz, wanted_hz, quality='HQ')
  heard = np.concatenate(got)
  assert not heard[len(whole) :].any()
  np.testing.assert_allclose(heard[: len(whole)], whole, atol=1e-6)


def test_a_single_sample_is_heard_and_none_is_refused():
  [got] = segments.waveforms(audio([0.5], 48_000), 8_000)
  assert got.shape == (80_000,)
  with pytest.raises(ValueError, match='no samples'):
    list(segments.waveforms(audio([]), 100))


def test_stream_must_fit():
  narrow = dataclasses.replace(STREAM, dim=2)
  moving = dataclasses.replace(STREAM, rate_hz=1.0)
  for kind in (text_music.TextStyle, text_music.MusicStyle):
    with pytest.raises(ValueError, match="'style' has dim 2.*gives 3"):
      kind(narrow, Loudness())
    with pytest.raises(ValueError, match='one vector per clip'):
      kind(moving, Loudness())
  with pytest.raises(ValueError, match='batch_size is 0'):
    text_music.MusicStyle(STREAM, Loudness(), 0)


def test_both_sides_have_the_names_of_a_system():
  pair = text_music.extractors(STREAM, Loudness())
  assert pair['style_text']('abc').shape == (1, 3)
  assert pair['style'](audio(np.ones(1000))).shape == (1, 3)
