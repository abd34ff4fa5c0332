"""Parts of a system as extractors of the clips of a manifest."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.files import manifests
from v2meow_jax.inference import system
from v2meow_jax.jobs.prepare import preparation

STYLE = specs.FeatureSpec(name='style', dim=2, rate_hz=0.0)


class Music:
  stream, sample_rate_hz = STYLE, 16_000

  def __call__(self, item):
    return np.zeros((1, 2), np.float32)


class Words:
  stream, sample_rate_hz = STYLE, None

  def knows(self, text):
    return 'waltz' in text

  def __call__(self, item):
    return np.full((1, 2), len(item), np.float32)


def clip(number, caption='a waltz'):
  return manifests.ManifestClip(
    id=f'{number:04d}', path='a.wav', split='train', caption=caption
  )


def test_captions_say_the_style_of_their_share_of_the_clips():
  either = preparation.StyleOfClip(Music(), Words(), 0.5)
  said = [either.said(clip(i)) for i in range(1000)]
  found = [style for style in said if style is not None]
  assert 440 < len(found) < 560  # Four deviations of a fair coin.
  np.testing.assert_array_equal(found[0], np.full((1, 2), len('a waltz')))
  again = [either.said(clip(i)) for i in range(1000)]
  assert [x is None for x in said] == [x is None for x in again]


def test_music_says_the_style_where_a_caption_does_not():
  either = preparation.StyleOfClip(Music(), Words(), 1.0)
  assert either.said(clip(0)) is not None
  for caption in (None, '', 'words that nothing was learnt from'):
    assert either.said(clip(0, caption)) is None
  never = preparation.StyleOfClip(Music(), Words(), 0.0)
  assert all(never.said(clip(i)) is None for i in range(100))
  audio = media.Audio(samples=np.zeros(16_000, np.float32), rate_hz=16_000)
  np.testing.assert_array_equal(never(audio), np.zeros((1, 2)))


def test_a_share_outside_of_0_to_1_is_refused():
  with pytest.raises(ValueError, match='caption_share is 1.5'):
    preparation.StyleOfClip(Music(), Words(), 1.5)


@pytest.mark.parametrize(
  ('name', 'streams'),
  [
    ('songs', {'plan', 'style', 'latents'}),
    ('tiny', {'appearance', 'motion', 'plan', 'style', 'semantic', 'acoustic'}),
  ],
)
def test_parts_of_a_system_give_its_own_streams(name, streams):
  parts = preparation.of_system(system.folder(name))
  assert {stream.name for stream in parts.streams} == streams
