"""Frames are chosen by their times; media of the wrong shape are refused."""

import numpy as np
import pytest

from v2meow_jax import media


def clip(times, seconds):
  frames = np.zeros((len(times), 2, 2, 3), np.uint8)
  frames[:] = np.arange(len(times))[:, None, None, None]
  return media.Video(frames=frames, times=np.asarray(times), seconds=seconds)


def test_the_frame_on_screen_is_the_last_that_has_begun():
  video = clip([0.0, 0.5, 0.6, 2.0], 3.0)
  shown = video.at(np.array([0.0, 0.49, 0.5, 1.9, 2.0, 9.0]))[:, 0, 0, 0]
  assert shown.tolist() == [0, 0, 1, 2, 3, 3]


def test_a_stream_has_the_middles_of_its_steps():
  piece = list(clip(np.arange(25) / 10, 2.5).pieces(1.0))[1]
  assert piece.num_steps(4.0) == 4
  assert piece.middles(4.0).tolist() == [1.125, 1.375, 1.625, 1.875]
  # A step that does not fit still stands for the little that there is.
  assert piece.middles(0.25).tolist() == [3.0]


def test_pieces_cover_the_clip_and_are_led_by_one_frame():
  video = clip(np.arange(25) / 10, 2.5)
  pieces = list(video.pieces(1.0))
  assert [p.start_seconds for p in pieces] == [0.0, 1.0, 2.0]
  assert [round(p.seconds, 9) for p in pieces] == [1.0, 1.0, 0.5]
  assert [p.frames[0, 0, 0, 0] for p in pieces] == [0, 9, 19]
  assert [p.frames[-1, 0, 0, 0] for p in pieces] == [9, 19, 24]


def test_a_piece_without_frames_of_its_own_shows_the_last_one():
  pieces = list(clip([0.0, 0.1], 3.0).pieces(1.0))
  assert [p.frames[:, 0, 0, 0].tolist() for p in pieces] == [[0, 1], [1], [1]]


def test_a_video_without_frames_is_refused():
  with pytest.raises(ValueError, match='at least one frame'):
    clip([], 1.0)


def test_channels_are_not_taken_for_samples():
  with pytest.raises(ValueError, match='one channel'):
    media.Audio(samples=np.zeros((2, 100)), rate_hz=16000)


def test_a_rate_of_zero_is_refused():
  with pytest.raises(ValueError, match='rate_hz'):
    media.Audio(samples=np.zeros(100), rate_hz=0)
