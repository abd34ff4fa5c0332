"""Planted motion is found, and reaches I3D as it was trained to read it."""

import tracemalloc

import jax
import numpy as np
import pytest

from tests.fakes import tiny_networks
from tests.fakes import torch_vision
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import flow
from v2meow_jax.pretrained.vision import i3d
from v2meow_jax.pretrained.vision import i3d_weights

pytestmark = pytest.mark.slow
pytest.importorskip('cv2', reason='the extra `flow` is not installed')

# Pixels a frame, right and down.
SHIFT = (3, -2)
STREAM = specs.FeatureSpec(name='flow', dim=tiny_networks.I3D.dim, rate_hz=1.0)


def moving(num_frames, height=256, width=320, shift=SHIFT):
  """uint8[n, h, w]: smooth noise that moves by whole pixels."""
  rng = np.random.default_rng(0)
  coarse = rng.uniform(0, 255, (24, 30))
  image = np.kron(coarse, np.ones((16, 16)))
  kernel = np.hanning(17)[1:-1]
  kernel /= kernel.sum()
  for axis in (0, 1):
    image = np.apply_along_axis(np.convolve, axis, image, kernel, 'same')
  right, down = shift
  moved = [
    np.roll(image, (down * i, right * i), (0, 1))[:height, :width]
    for i in range(num_frames)
  ]
  return np.rint(moved).astype(np.uint8)


@pytest.mark.parametrize('estimator', [flow.tv_l1, flow.dis])
def test_a_planted_shift_is_found(estimator):
  found = estimator(moving(3))
  assert found.shape == (2, 256, 320, 2)
  middle = found[:, 40:-40, 40:-40]
  np.testing.assert_allclose(np.median(middle, (0, 1, 2)), SHIFT, atol=0.1)


def test_flow_is_clipped_scaled_and_cropped_in_the_middle():
  given = np.zeros((2, 230, 240, 2), np.float32)
  given[:, 3, 8] = (50, -5)  # The first pixel of the crop.
  given[:, 2, 8] = given[:, 3, 7] = 9  # Outside of it.
  read = flow.network_inputs(given)
  assert read.shape == (2, 224, 224, 2)
  np.testing.assert_array_equal(read[:, 0, 0], [[1.0, -0.25]] * 2)
  assert np.count_nonzero(read) == 4


def video(rate_hz, seconds, start=0.0):
  """Moves 3 pixels to the right in each 25th of a second, at any rate."""
  count = round(seconds * rate_hz)
  times = start + np.arange(count) / rate_hz
  steps = moving(round((start + seconds) * 25) + 1, 128, 160, (3, 0))
  frames = steps[np.minimum(np.rint(times * 25).astype(int), len(steps) - 1)]
  return media.Video(
    frames=np.repeat(frames[..., None], 3, -1),
    times=times,
    seconds=seconds,
    start_seconds=start,
  )


def extractor(**options):
  params = i3d_weights.read(
    torch_vision.i3d_state(tiny_networks.I3D), tiny_networks.I3D
  )
  return flow.I3DFlow(
    STREAM, params, tiny_networks.I3D, estimator=flow.dis, **options
  )


def test_a_stream_has_a_vector_a_second_from_the_flow_around_it():
  read = []

  def estimator(gray):
    read.append(flow.dis(gray))
    return read[-1]

  params = extractor().params
  found = flow.I3DFlow(STREAM, params, tiny_networks.I3D, estimator)(
    video(25, 3)
  )
  assert found.shape == (3, STREAM.dim)
  assert found.dtype == np.float32
  assert [len(f) for f in read] == [24] * 3
  # 128 lines became 256, so 3 pixels became 6.
  speeds = [np.median(f[:, 40:-40, 40:-40], (0, 1, 2)) for f in read]
  np.testing.assert_allclose(speeds, [[6, 0]] * 3, atol=0.3)
  network = jax.jit(i3d.I3D(tiny_networks.I3D).apply)
  wanted = [
    network({'params': dict(params)}, flow.network_inputs(f)[None])[0]
    for f in read
  ]
  np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize('num_flows', [24, 9])
def test_a_window_is_centred_on_the_second_that_is_sampled(num_flows):
  # A picture every 20 ms, whose brightness counts them.
  seen = []

  def estimator(gray):
    assert (gray == gray[:, :1, :1]).all()
    seen.append(gray[:, 0, 0] / 50)
    return np.zeros((len(gray) - 1, 256, 256, 2), np.float32)

  counting = media.Video(
    frames=np.arange(150, dtype=np.uint8).repeat(192).reshape(150, 8, 8, 3),
    times=np.arange(150) / 50,
    seconds=3.0,
  )
  params = extractor().params
  flow.I3DFlow(
    STREAM, params, tiny_networks.I3D, estimator, num_flows=num_flows
  ).inputs(counting)
  half = num_flows / 2 / 25
  for middle, times in zip((0.5, 1.5, 2.5), seen, strict=True):
    wanted = np.linspace(middle - half, middle + half, num_flows + 1)
    # On screen: begun at that time, or up to 20 ms before it.
    assert ((times <= wanted + 1e-6) & (times > wanted - 0.02 + 1e-6)).all()


def test_a_second_does_not_depend_on_the_others():
  whole = extractor()(video(25, 2))
  piece = extractor()(video(25, 1, start=1.0))
  np.testing.assert_allclose(whole[1], piece[0], atol=1e-5)
  assert np.abs(whole).max() > 0.01


def test_the_gray_of_a_window_holds_the_floats_of_a_frame_at_a_time():
  frames = np.random.default_rng(0).integers(
    0, 256, (25, 540, 960, 3), np.uint8
  )
  floats_of_a_frame = 4 * frames[0].size
  tracemalloc.start()
  try:
    gray = flow.gray_frames(frames)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert gray.shape == (25, 256, 455)
  # Of the gray itself there are a few: as floats, scaled, and as bytes.
  assert peak < 2 * floats_of_a_frame + 3 * 4 * gray.size
  one = flow.gray_frames(frames[7:8])[0]
  np.testing.assert_array_equal(gray[7], one)


def test_a_wrong_width_and_a_short_window_are_refused():
  with pytest.raises(ValueError, match='flow'):
    flow.I3DFlow(specs.FeatureSpec(name='flow', dim=7, rate_hz=1.0), {})
  with pytest.raises(ValueError, match='num_flows is 4; I3D reads 9'):
    extractor(num_flows=4)
  assert extractor(num_flows=25).num_flows == 25
  said = "num_flows is 64, a window of 2.56 s.*'flow' has a step every 1 s"
  with pytest.raises(ValueError, match=said):
    extractor(num_flows=64)


def test_small_frames_are_enlarged_as_opencv_interpolates():
  import cv2

  rng = np.random.default_rng(2)
  frames = rng.integers(256, size=(2, 90, 131, 3), dtype=np.uint8)
  luma = frames.astype(np.float64) @ (0.299, 0.587, 0.114)
  wanted = [
    cv2.resize(x, (373, 256), interpolation=cv2.INTER_LINEAR) for x in luma
  ]
  found = flow.gray_frames(frames)
  assert found.shape == (2, 256, 373)
  np.testing.assert_allclose(found, wanted, rtol=0, atol=0.5001)
