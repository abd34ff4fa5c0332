"""What is planted in one patch comes out there, at its time."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import stages
from v2meow_jax.extractors.embedded import patches

EXTRACT = patches.Patches(stages.TINY['patches'])
SIDE = 10  # Pixels of a patch in the planted frames.
HEIGHT, WIDTH = patches.ROWS * SIDE, patches.COLUMNS * SIDE


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


def inside(place, margin=0):
  """The pixels of a patch."""
  row, column = divmod(place, patches.COLUMNS)
  return (
    slice(row * SIDE + margin, (row + 1) * SIDE - margin),
    slice(column * SIDE + margin, (column + 1) * SIDE - margin),
  )


@pytest.mark.parametrize('rate', [15, 24, 25, 30000 / 1001, 60, 'variable'])
@pytest.mark.parametrize('sign', [1, -1])
def test_an_event_in_one_patch_comes_out_at_its_time_and_place(rate, sign):
  times = frame_times(rate)
  rng = np.random.default_rng(1)
  base = rng.integers(60, 180, (HEIGHT, WIDTH, 3))
  for place, event in zip(
    rng.permutation(24)[:8], rng.uniform(0.3, 3.7, 8), strict=True
  ):
    frames = np.repeat(base[None], len(times), 0)
    frames[times >= event, *inside(place)] += sign * 60
    found = EXTRACT(video(frames, times))
    assert found.shape == (40, 24, 12)
    changes = found[..., :8].reshape(40, 24, 2, 4)
    # The one that gets brighter, or the one that gets darker.
    of_light = changes[..., 0 if sign > 0 else 1]
    frame, where, part = np.unravel_index(of_light.argmax(), of_light.shape)
    assert where == place
    step = np.diff(times[np.searchsorted(times, event) - 1 :][:2])[0]
    # The event is somewhere between two frames, and the grid is 50 ms.
    peak = (2 * frame + part + 0.5) / 20
    assert abs(peak - event) <= 0.025 + step + 1e-6
    elsewhere = np.delete(found[..., :8], place, 1)
    assert of_light.max() > 2
    # No change of light at all; flow looks half a patch further.
    assert np.abs(elsewhere.reshape(40, 23, 2, 4)[..., :2]).max() < 1e-5


def test_a_patch_that_moves_tells_which_way():
  times = frame_times(25)
  place, speed = 8, 30.0  # Pixels a second, to the right and down.
  rows, columns = np.mgrid[:SIDE, :SIDE]
  frames = np.full((len(times), HEIGHT, WIDTH, 3), 128.0)
  for i, t in enumerate(times):
    wave = np.sin(2 * np.pi * (columns - speed * t) / 8)
    wave += np.sin(2 * np.pi * (rows - speed * t) / 8)
    frames[i, *inside(place)] += 50 * wave[..., None]
  found = EXTRACT(video(frames, times))
  for columns_of in ((2, 6), (3, 7)):
    flow = found[2:-2][..., columns_of].mean((0, 2))
    assert flow.argmax() == place
    row, column = divmod(place, patches.COLUMNS)
    near = np.zeros((patches.ROWS, patches.COLUMNS), bool)
    near[row - 1 : row + 2, column - 1 : column + 2] = True
    assert flow[place] > 3 * np.abs(flow[~near.ravel()]).max()


def test_a_patch_has_its_colour():
  frames = np.zeros((1, HEIGHT, WIDTH, 3))
  frames[0, *inside(13)] = (255, 51, 0)
  found = EXTRACT(video(frames, [0.0], 1.0))
  assert found.shape == (10, 24, 12)
  np.testing.assert_allclose(found[:, 13, 8:], [[1, 0.2, 0, 0]] * 10, atol=2e-3)
  np.testing.assert_allclose(np.delete(found, 13, 1), 0, atol=1e-6)


@pytest.mark.parametrize('seconds', [0.07, 1.0, 2.34, 10.0])
def test_frames_are_as_many_as_the_rate_says(seconds):
  frames = np.zeros((2, 8, 8, 3))
  found = EXTRACT(video(frames, [0.0, 0.04], seconds))
  assert found.shape == (max(1, round(seconds * 10)), 24, 12)
  assert np.isfinite(found).all()


def test_pieces_equal_the_whole():
  rng = np.random.default_rng(3)
  times = frame_times(30000 / 1001)
  whole = video(rng.integers(0, 256, (len(times), 40, 60, 3)), times)
  parts = [EXTRACT(piece) for piece in whole.pieces(1.0)]
  got, wanted = np.concatenate(parts), EXTRACT(whole)
  assert got.shape == wanted.shape
  # A piece does not know the frame after its end, so its last step differs.
  within = [i for i in range(40) if i % 10 != 9]
  np.testing.assert_allclose(got[within], wanted[within], atol=1e-4)


def test_the_motion_curve_peaks_at_the_event():
  times = frame_times(25)
  frames = np.full((len(times), HEIGHT, WIDTH, 3), 50)
  frames[times >= 2.02] = 120
  curve = patches.motion_curve(EXTRACT(video(frames, times)))
  assert curve.shape == (80,)
  assert (curve.argmax() + 0.5) / 20 == pytest.approx(2.02, abs=0.05)


def test_a_stream_of_another_shape_is_refused():
  stream = stages.TINY['patches']
  with pytest.raises(ValueError, match='dim 7, but its extractor gives 12'):
    patches.Patches(dataclasses.replace(stream, dim=7))
  with pytest.raises(ValueError, match='set num_positions=24'):
    patches.Patches(dataclasses.replace(stream, num_positions=9))
