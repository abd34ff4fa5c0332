"""Music that was planted to go with a video is ranked first."""

import types

import numpy as np
import pytest

from tests.fakes import delayed_stage
from tests.fakes import small_system
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import streams as streams_lib
from v2meow_jax.inference.ranking import ranker as ranker_lib

RATE_HZ = 8
SEEN = specs.FeatureSpec(name='seen', dim=2, rate_hz=1.0)
HEARD = specs.TokenSpec(
  name='acoustic', codebook_size=4, rate_hz=1.0, num_codebooks=1
)
COMPASS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)


class Compass:
  """A stage whose embeddings are directions, seen or coded; and its codec."""

  spec = specs.StageSpec(
    name='music', inputs=(SEEN,), target=HEARD, crop_seconds=2.0
  )
  model = types.SimpleNamespace(network=delayed_stage.SIZES)
  stream, sample_rate_hz = HEARD, RATE_HZ

  def pair_embeddings(self, inputs, codes):
    return inputs['seen'][:, 0], COMPASS[codes[:, 0, 0]]

  def encode(self, samples):
    return np.round(samples[:, ::RATE_HZ, None] * 4).astype(np.int32)


def ranker():
  compass = Compass()
  return ranker_lib.Ranker(
    loaded=types.SimpleNamespace(stages=[compass], codec=compass)
  )


def track(*directions, extra=0):
  """Two seconds of each direction, and some more samples."""
  samples = np.repeat(np.array(directions) / 4, 2 * RATE_HZ)
  samples = np.pad(samples, (0, extra), mode='edge')
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE_HZ)


@pytest.fixture
def video(monkeypatch):
  """Embeddings of a video of 6.5 s that goes east, north and west."""

  def read(requests, _):
    assert [r.video for r in requests] == ['in.mp4']
    seen = np.repeat(COMPASS[:3], 2, axis=0)
    clip = pipeline.ClipStreams(streams={'seen': seen}, seconds=6.5, seed=0)
    return [clip], [None]

  monkeypatch.setattr(streams_lib, 'read', read)
  return ranker().embed_video('in.mp4')


def test_music_is_ranked_by_the_windows_that_go_with_the_video(video):
  np.testing.assert_array_equal(video, COMPASS[:3])
  tracks = [
    track(2, 3, 0),  # Opposite.
    track(0, 1, 0),  # Two of three, and one opposite.
    track(0, 1, 2, 3),  # All that the video has.
    track(0, 3, 0),  # One of three, and two opposite.
    track(1, 1, 1),  # One of three, and two at right angles.
  ]
  scores = [
    ranker_lib.score(video, ranker().embed_music(music)) for music in tracks
  ]
  np.testing.assert_allclose(scores, [-1, 1 / 3, 1, -1 / 3, 1 / 3], atol=1e-6)
  assert ranker_lib.ranked(scores) == [2, 1, 4, 3, 0]


def test_less_than_a_second_at_the_end_is_no_window():
  embed = ranker().embed_music
  np.testing.assert_array_equal(embed(track(3, extra=7)), COMPASS[[3]])
  np.testing.assert_array_equal(embed(track(3, extra=9)), COMPASS[[3, 3]])


def test_music_of_another_rate_or_too_short_is_refused():
  second = np.zeros(RATE_HZ, np.float32)
  for audio in (
    media.Audio(samples=second, rate_hz=RATE_HZ // 2),
    media.Audio(samples=second[:-1], rate_hz=RATE_HZ),
  ):
    with pytest.raises(ValueError, match='wanted 1 s or more at 8 Hz'):
      ranker().embed_music(audio)


def test_a_system_without_a_space_for_both_is_refused():
  stage = types.SimpleNamespace(
    model=types.SimpleNamespace(network=small_system.SIZES),
    spec=Compass.spec,
  )
  loaded = types.SimpleNamespace(stages=[stage], config={'name': 'plain'})
  with pytest.raises(ValueError, match="'plain' cannot compare"):
    ranker_lib.Ranker(loaded=loaded)
