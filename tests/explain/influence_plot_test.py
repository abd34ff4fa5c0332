"""Pictures keep their size, their times and the place of their heat."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.explain import influence
from v2meow_jax.explain import influence_plot

RATE_HZ = 16_000


def clicks(times, seconds):
  samples = np.zeros(round(seconds * RATE_HZ), np.float32)
  burst = np.random.default_rng(0).normal(size=400) * np.geomspace(1, 0.01, 400)
  for time in times:
    start = round(time * RATE_HZ)
    samples[start : start + 400] += 0.5 * burst
  return media.Audio(samples=samples, rate_hz=RATE_HZ)


def found(bins):
  table = np.eye(bins)
  return influence.Influence(
    bin_seconds=1.0,
    attention={'motion': table, 'style': np.zeros((bins, 1))},
    without_stream={'motion': np.ones(bins), 'style': np.zeros(bins)},
    without_bin={'motion': table},
    cells={},
  )


@pytest.mark.slow
def test_onsets_are_where_something_begins():
  times = [0.5, 1.2, 1.9, 3.1]
  heard = influence_plot.onsets(clicks(times, 4.0))
  assert len(heard) == 4
  np.testing.assert_allclose(heard, times, atol=0.03)


def test_silence_has_no_onsets():
  assert not len(influence_plot.onsets(clicks([], 2.0)))


@pytest.mark.slow
@pytest.mark.filterwarnings('error::UserWarning')
def test_a_clip_of_one_frame_is_drawn_without_a_warning():
  plot = influence_plot.draw(clicks([0.0], 0.04), found(1), width=640)
  assert plot.seconds == 0.04


@pytest.mark.slow
@pytest.mark.parametrize(('seconds', 'width'), [(3.4, 640), (40.0, 854)])
def test_the_plot_has_the_width_and_its_time_under_the_cursor(seconds, width):
  bins = influence.count_bins(seconds, 1.0)
  plot = influence_plot.draw(clicks([1.0], seconds), found(bins), width=width)
  height = len(plot.pixels)
  assert plot.pixels.shape == (height, width, 3)
  assert plot.pixels.dtype == np.uint8
  assert height % 2 == 0
  middle = (plot.left + plot.right) / 2
  for time, wanted in (
    (0.0, plot.left),
    (seconds / 2, middle),
    (seconds + 9, plot.right),
  ):
    changed = (plot.at(time) != plot.pixels).any((0, 2))
    assert np.flatnonzero(changed).mean() == pytest.approx(wanted, abs=1.5)
  # Heat lies where time says: the first and the last bin of the diagonal are
  # summed over, so both ends of the row are dark and what is outside is not.
  row = plot.pixels[round(plot.top + 0.45 * (plot.bottom - plot.top))]
  assert (row[: round(plot.left) - 60] == 255).all()


def test_heat_is_on_its_cell_of_the_central_square():
  frame = np.full((8, 12, 3), 100, np.uint8)
  grid = np.zeros(16)
  grid[6] = 1.0  # Second row, third column.
  mixed = influence_plot.blend(frame, [grid])
  changed = (mixed != frame).any(-1)
  wanted = np.zeros((8, 12), bool)
  wanted[2:4, 2 + 4 : 2 + 6] = True
  np.testing.assert_array_equal(changed, wanted)
  assert (mixed[wanted][:, 0] > 150).all()
  assert (frame == 100).all()


def test_of_several_streams_the_highest_is_seen():
  frame = np.full((4, 4, 3), 100, np.uint8)
  low, high = np.full(4, 0.2), np.full(4, 0.8)
  np.testing.assert_array_equal(
    influence_plot.blend(frame, [low, high]),
    influence_plot.blend(frame, [high]),
  )
  np.testing.assert_array_equal(influence_plot.blend(frame, []), frame)


def test_cells_that_are_no_square_are_refused():
  with pytest.raises(ValueError, match='6 cells'):
    influence_plot.blend(np.zeros((4, 4, 3), np.uint8), [np.zeros(6)])
