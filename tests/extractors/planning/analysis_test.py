"""What is seen of a clip: what was planted in it."""

import numpy as np
import pytest

from tests.fakes import pulsing_clips
from v2meow_jax.extractors.planning import analysis
from v2meow_jax.synthetic import held_out
from v2meow_jax.synthetic import render

pytestmark = pytest.mark.slow

CUTS = (1.2, 3.04, 5.48, 7.6)


def test_cuts_are_found_where_they_were_planted():
  seen = pulsing_clips.analysed(10.0, cuts=CUTS, drift=0.5)
  np.testing.assert_allclose(seen.cuts, CUTS, atol=1e-6)


def test_flashes_are_accents_and_no_cuts():
  beats = 0.4 + 0.52 * np.arange(18)
  seen = pulsing_clips.analysed(10.0, beats=beats)
  assert not len(seen.cuts)
  at_beats = np.interp(beats, seen.times, seen.accents)
  assert at_beats.min() > 5 * np.median(seen.accents) + 0.01


def test_a_still_picture_has_nothing():
  seen = pulsing_clips.analysed(4.0)
  assert not seen.accents.any() and not len(seen.cuts)
  assert seen.motion.max() == 0
  assert seen.seconds == 4.0


def test_pieces_give_the_analysis_of_the_whole():
  video = pulsing_clips.video(3.0, beats=(1, 2), cuts=(1.4,), drift=1.0)
  whole = analysis.analyse([video])
  for piece_seconds in (1.0, 0.02):
    parts = analysis.analyse(video.pieces(piece_seconds))
    for name in ('motion', 'accents', 'brightness', 'cuts'):
      np.testing.assert_allclose(
        getattr(parts, name), getattr(whole, name), atol=1e-4
      )


def test_a_beat_of_a_drawn_scene_is_an_accent_at_its_time():
  scene = held_out.scenes(3, 1, 5.0)[0]
  frames = np.stack(list(render.frames(scene)))
  video = pulsing_clips.media.Video(
    frames=frames, times=scene.frame_times, seconds=scene.seconds
  )
  seen = analysis.analyse([video])
  shifts = np.arange(-0.2, 0.21, 0.02)
  strengths = [
    np.interp(np.array(scene.beat_times) + s, seen.times, seen.accents).mean()
    for s in shifts
  ]
  assert abs(shifts[int(np.argmax(strengths))]) <= 0.03


def test_no_video_is_refused():
  with pytest.raises(ValueError, match='no piece of video'):
    analysis.analyse([])
