"""Planted colours, flashes, shifts and cuts come out where they were put."""

import colorsys

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import images
from v2meow_jax.extractors.embedded import color_motion

MOTION = specs.FeatureSpec(name='motion', dim=32, rate_hz=12.5)
APPEARANCE = specs.FeatureSpec(name='appearance', dim=96, rate_hz=2.5)
ENERGY, CUT, SPEED, RIGHT, DOWN = 0, 4, 5, 6, 7
NUM_ABSOLUTE = 11


def video(frames, times, seconds=4.0, start_seconds=0.0):
  return media.Video(
    frames=np.asarray(frames, np.uint8),
    times=np.asarray(times, np.float64),
    seconds=seconds,
    start_seconds=start_seconds,
  )


def frame_times(rate, seconds=4.0):
  if rate == 'variable':
    steps = np.random.default_rng(0).uniform(0.01, 0.08, 400)
    times = np.concatenate([[0.0], np.cumsum(steps)])
  else:
    times = np.arange(int(seconds * rate) + 1) / rate
  return times[times < seconds]


@pytest.mark.parametrize('rate', [15, 24, 25, 30000 / 1001, 60, 'variable'])
def test_flash_lies_in_the_subframe_of_its_time(rate):
  times = frame_times(rate)
  rng = np.random.default_rng(1)
  base = rng.integers(0, 120, (36, 64, 3))
  for flash in rng.uniform(0.3, 3.7, 8):
    frames = np.stack([base + 100 * (t >= flash) for t in times])
    motion = color_motion.motion_frames(video(frames, times), MOTION)
    energy = motion[:, ENERGY]
    peak = (np.argmax(energy) + 0.5) / 25
    step = np.diff(times[np.searchsorted(times, flash) - 1 :][:2])[0]
    # The flash is somewhere between two frames, and the grid is 40 ms.
    assert abs(peak - flash) <= 0.02 + max(step - 0.04, step / 2) + 1e-6


@pytest.mark.parametrize('rate', [15, 30, 60])
def test_amounts_do_not_depend_on_the_frame_rate(rate):
  rng = np.random.default_rng(2)
  wide = _smooth(rng.uniform(size=(45, 400)))
  times = frame_times(rate)
  # 24 pixels of 80 a second, to the right.
  shifts = 200 - 24 * times
  motion = color_motion.motion_frames(
    video([_window(wide, s) for s in shifts], times), MOTION
  )
  speed = np.median(motion[5:-5, RIGHT])
  # 24 / 80 of 48 pixels in a second, in 40 ms; compressed as documented.
  expected = np.log1p(24 / 80 * 48 * 0.04 / 0.02)
  assert speed == pytest.approx(expected, rel=0.12)
  assert abs(np.median(motion[5:-5, DOWN])) < 0.3


def test_translation_gives_its_flow():
  rng = np.random.default_rng(3)
  wide = _smooth(rng.uniform(size=(27, 100)), passes=8)
  before, after = wide[None, :, 20:68], wide[None, :, 19:67]
  flow = images.block_flow(before, after, 9, 12)[0]
  np.testing.assert_allclose(flow[1:-1, 1:-1, 0].mean(), 1.0, atol=0.2)
  np.testing.assert_allclose(flow[1:-1, 1:-1, 1].mean(), 0.0, atol=0.1)
  up = images.block_flow(wide[None, 1:25, :48], wide[None, 2:26, :48], 8, 12)[0]
  np.testing.assert_allclose(up[1:-1, 1:-1, 1].mean(), -1.0, atol=0.2)


def test_static_video_does_not_move():
  frame = np.random.default_rng(4).integers(0, 256, (40, 60, 3))
  times = frame_times(25)
  motion = color_motion.motion_frames(
    video(np.repeat(frame[None], len(times), 0), times), MOTION
  )
  np.testing.assert_allclose(motion, 0, atol=1e-5)


def test_one_frame_does_not_move():
  motion = color_motion.motion_frames(
    video(np.full((1, 9, 16, 3), 7), [0.0], 1.0), MOTION
  )
  assert motion.shape == (24, 16)
  np.testing.assert_array_equal(motion, 0)


def test_long_shown_frame_changes_at_its_end():
  times = np.array([0.0, 0.04, 3.0, 3.04])
  frames = np.zeros((4, 20, 30, 3))
  frames[2:] = 200
  motion = color_motion.motion_frames(video(frames, times), MOTION)
  assert (motion[:72, CUT] < 1e-6).all()
  assert motion[73:75, CUT].min() > 1


def test_cut_stands_out_from_motion():
  rng = np.random.default_rng(5)
  times = frame_times(25)
  wide = _smooth(rng.uniform(size=(45, 400)))
  frames = np.stack([_window(wide, 100 - 20 * t) for t in times])
  frames[50:] = frames[50:] // 4
  motion = color_motion.motion_frames(video(frames, times), MOTION)
  assert np.argmax(motion[:, CUT]) == 49
  assert motion[49, CUT] > 3 * np.median(motion[:, CUT])


def test_pieces_with_their_neighbours_equal_the_whole():
  rng = np.random.default_rng(6)
  times = frame_times(30000 / 1001)
  frames = rng.integers(0, 256, (len(times), 36, 64, 3))
  whole = color_motion.motion_frames(video(frames, times), MOTION)
  split = np.searchsorted(times, 2.0)
  first = video(frames[: split + 1], times[: split + 1], 2.0)
  second = video(frames[split - 1 :], times[split - 1 :], 2.0, 2.0)
  pieces = np.concatenate(
    [color_motion.motion_frames(p, MOTION) for p in (first, second)]
  )
  # Relative columns look a second to each side, within the piece.
  np.testing.assert_allclose(
    pieces[:-1, :NUM_ABSOLUTE], whole[:-1, :NUM_ABSOLUTE], atol=2e-3
  )
  np.testing.assert_allclose(pieces[:25], whole[:25], atol=2e-3)


def test_appearance_of_pieces_equals_the_whole():
  rng = np.random.default_rng(7)
  times = frame_times(24)
  frames = rng.integers(0, 256, (len(times), 20, 30, 3))
  whole = color_motion.appearance_frames(video(frames, times), APPEARANCE)
  split = np.searchsorted(times, 2.0)
  pieces = [
    video(frames[:split], times[:split], 2.0),
    video(frames[split - 1 :], times[split - 1 :], 2.0, 2.0),
  ]
  parts = [color_motion.appearance_frames(p, APPEARANCE) for p in pieces]
  np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize('hue_bin', range(12))
def test_hue_histogram_of_a_known_colour(hue_bin):
  colour = 255 * np.array(colorsys.hsv_to_rgb(hue_bin / 12, 1.0, 1.0))
  frame = np.broadcast_to(np.round(colour), (1, 30, 40, 3)).astype(np.uint8)
  hues = color_motion.appearance_features(frame)[0, :12]
  assert np.argmax(hues) == hue_bin
  assert hues[hue_bin] == pytest.approx(1, abs=0.01)


def test_gray_has_no_hue_and_no_texture():
  features = color_motion.appearance_features(
    np.full((1, 30, 40, 3), 128, np.uint8)
  )[0]
  np.testing.assert_array_equal(features[:12], 0)
  # Square roots of rounding.
  np.testing.assert_allclose(features[-13:], 0, atol=5e-3)
  np.testing.assert_allclose(features[26:74], 128 / 255, atol=1e-5)


def test_layout_tells_where_a_colour_is():
  frame = np.zeros((1, 90, 80, 3), np.uint8)
  frame[:, 80:, 60:, 0] = 255  # The thin bottom row, last column, red.
  layout = color_motion.appearance_features(frame)[0, 26:74]
  expected = np.zeros((4, 4, 3))
  expected[3, 3, 0] = 1
  np.testing.assert_allclose(layout.reshape(4, 4, 3), expected, atol=1e-5)


def test_stripes_have_their_orientation():
  upright = np.zeros((1, 54, 96, 3), np.uint8)
  upright[:, :, ::8] = upright[:, :, 1::8] = 255
  lying = np.zeros((1, 54, 96, 3), np.uint8)
  lying[:, ::8] = lying[:, 1::8] = 255
  for frame, orientation in ((upright, 0), (lying, 4)):
    edges = color_motion.appearance_features(frame)[0, 83:91]
    assert np.argmax(edges) == orientation
    assert edges[orientation] > 0.95


def test_features_are_bounded():
  noise = np.random.default_rng(8).integers(0, 256, (3, 54, 96, 3))
  features = color_motion.appearance_features(noise.astype(np.uint8))
  assert features.shape == (3, color_motion.APPEARANCE_DIM)
  assert features.min() >= 0 and features.max() <= 1.5


def test_hue_saturation_value_equals_colorsys():
  colours = np.random.default_rng(9).uniform(size=(50, 3))
  ours = np.stack(images.hue_saturation_value(colours), -1)
  theirs = [colorsys.rgb_to_hsv(*c) for c in colours]
  np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_average_keeps_the_mean_at_any_size():
  frames = np.random.default_rng(10).integers(0, 256, (2, 53, 31, 3))
  frames = frames.astype(np.uint8)
  small = images.rgb(frames, 27, 48)
  mean = frames.mean((1, 2)) / 255
  np.testing.assert_allclose(small.mean((1, 2)), mean, atol=1e-5)
  luma = images.gray(frames, 27, 48)
  np.testing.assert_allclose(luma, small @ images.LUMA, atol=1e-5)


def test_soft_histogram_shares_between_bins():
  values = np.array([[0.0, 0.125, 1.0]])
  histogram = images.soft_histogram(values, 5) * 3
  np.testing.assert_allclose(histogram, [[1.5, 0.5, 0, 0, 1]], atol=1e-6)
  circle = images.soft_histogram(values, 4, circular=True) * 3
  np.testing.assert_allclose(circle, [[2.5, 0.5, 0, 0]], atol=1e-6)


def test_wrong_dim_names_the_stream():
  with pytest.raises(ValueError, match=r"'motion' has dim 30.*gives 32"):
    color_motion.Motion(
      specs.FeatureSpec(name='motion', dim=30, rate_hz=12.5), {}
    )


def test_extractor_standardises_and_lays_out_subframes():
  times = frame_times(25)
  frames = np.zeros((len(times), 20, 30, 3))
  frames[25:] = 90  # Between 0.96 and 1 s: sub-frame 24.
  params = {'mean': np.zeros(16), 'std': np.full(16, 2.0)}
  clip = video(frames, times)
  out = color_motion.Motion(MOTION, params)(clip)
  raw = color_motion.motion_frames(clip, MOTION)
  assert out.shape == (50, 32) and out.dtype == np.float32
  np.testing.assert_allclose(out.reshape(100, 16), raw / 2)
  assert np.argmax(out[:, 0]) == 12 and out[12, 16] < out[12, 0]


def _smooth(image, passes=4):
  for _ in range(passes):
    for axis in (0, 1):
      image = (
        np.roll(image, 1, axis) + 2 * image + np.roll(image, -1, axis)
      ) / 4
  return (image - image.min()) / (image.max() - image.min())


def _window(wide, start):
  columns = start + np.arange(80)
  rows = [np.interp(columns, np.arange(wide.shape[1]), row) for row in wide]
  return np.repeat((255 * np.stack(rows))[..., None], 3, -1)
