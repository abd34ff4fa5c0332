"""Flow matching: what is regressed is the exact velocity of Gaussian data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import gaussian_flow
from v2meow_jax.models import batch_layouts
from v2meow_jax.models.objectives import flow_matching
from v2meow_jax.models.objectives import flow_schedule

pytestmark = pytest.mark.slow
SPEC, FRAMES = gaussian_flow.SPEC, gaussian_flow.NUM_FRAMES
MEAN, STD = 1.5, 0.4


def gaussian_batch(rows, seed=0):
  batch = batch_layouts.example_batch(batch_layouts.FRAMES, SPEC, rows)
  rng = np.random.default_rng(seed)
  frames = MEAN + STD * rng.normal(size=(rows, FRAMES, 2))
  batch['decoder_target_frames'] = frames.astype(np.float32)
  batch['encoder_inputs_video'][:] = 1.0
  batch['decoder_loss_weights'][:] = 1.0
  return batch


def plain(**kwargs):
  return flow_matching.FlowMatching(prefix_rate=0.0, **kwargs)


@pytest.mark.parametrize('times', flow_schedule.TIMES)
def test_least_squares_on_the_corrupted_batch_is_the_exact_velocity(times):
  objective = plain(schedule=flow_schedule.FlowSchedule(times=times))
  batch = objective.corrupt(SPEC, gaussian_batch(20_000), jax.random.key(0))
  t = np.asarray(batch['flow_times'])
  x, v = (np.asarray(batch[k]) for k in ('decoder_input_frames', 'flow_target'))
  for low in (0.1, 0.3, 0.5, 0.7):
    rows = (low <= t) & (t < low + 0.04)
    assert rows.sum() > 300
    slope, offset = np.polyfit(x[rows].ravel(), v[rows].ravel(), 1)
    now = t[rows].mean()
    variance = (1 - now) ** 2 + (now * STD) ** 2
    wanted = (now * STD**2 - (1 - now)) / variance
    assert slope == pytest.approx(wanted, abs=0.06)
    assert offset + slope * now * MEAN == pytest.approx(MEAN, abs=0.03)


def test_the_loss_of_the_exact_velocity_is_what_no_network_can_know():
  """Var(velocity | point) = std^2 / variance of the point, at each time."""
  objective = plain()
  batch = objective.corrupt(SPEC, gaussian_batch(4000), jax.random.key(1))
  network = gaussian_flow.Mixture(means=(MEAN,), stds=(STD,))
  velocity = network.apply(
    {},
    jnp.zeros(4000),
    batch['decoder_input_frames'],
    None,
    batch['flow_times'],
    method='velocity',
  )
  losses = objective(SPEC, {'velocity': velocity}, batch)
  t = np.asarray(batch['flow_times'])
  wanted = STD**2 / ((1 - t) ** 2 + (t * STD) ** 2)
  found = np.asarray(losses.values).mean(1)
  assert found.mean() == pytest.approx(wanted.mean(), rel=0.02)
  early = t < 0.4
  assert found[early].mean() == pytest.approx(wanted[early].mean(), rel=0.03)


@pytest.mark.parametrize(
  ('weighting', 'of_time'),
  [
    ('velocity', lambda t: np.ones_like(t)),
    ('data', lambda t: (1 - t) ** 2),
    ('noise', lambda t: t**2),
  ],
)
def test_weights_are_those_of_the_error_of_what_they_name(weighting, of_time):
  schedule = flow_schedule.FlowSchedule(weighting=weighting)
  objective = plain(schedule=schedule)
  batch = objective.corrupt(SPEC, gaussian_batch(8), jax.random.key(2))
  error = 0.5
  velocity = batch['flow_target'] + error
  losses = objective(SPEC, {'velocity': velocity}, batch)
  t = np.asarray(batch['flow_times'])
  np.testing.assert_allclose(
    losses.values, np.tile(of_time(t)[:, None], FRAMES) * error**2, rtol=1e-5
  )
  np.testing.assert_allclose(losses.metrics['loss'][0], error**2, rtol=1e-5)
  # The data that a velocity implies is x + (1 - t) v, the noise x - t v.
  x = np.asarray(batch['decoder_input_frames'])
  clean = np.asarray(batch['decoder_target_frames'])
  implied = x + (1 - t)[:, None, None] * np.asarray(velocity)
  if weighting == 'data':
    np.testing.assert_allclose(
      np.square(implied - clean).mean(-1), losses.values, atol=1e-5
    )


def test_times_are_uniform_or_of_a_normal_logit():
  def draw(**kwargs):
    schedule = flow_schedule.FlowSchedule(**kwargs)
    return np.asarray(schedule.draw_times(jax.random.key(0), (20_000,)))

  uniform = draw(times='uniform')
  shares = np.histogram(uniform, 10, (0, 1))[0] / len(uniform)
  np.testing.assert_allclose(shares, 0.1, atol=0.01)
  logits = np.log(t := draw(location=0.5, scale=2.0)) - np.log1p(-t)
  assert logits.mean() == pytest.approx(0.5, abs=0.05)
  assert logits.std() == pytest.approx(2.0, abs=0.05)


def test_half_of_the_rows_begin_with_up_to_half_of_a_crop():
  objective = flow_matching.FlowMatching()
  raw = gaussian_batch(4000)
  batch = objective.corrupt(SPEC, raw, jax.random.key(3))
  known = np.asarray(batch['decoder_is_known'])
  counts = known.sum(1).astype(int)
  assert (counts > 0).mean() == pytest.approx(0.5 * 6 / 7, abs=0.03)
  assert counts.max() == FRAMES // 2
  is_prefix = np.arange(FRAMES) < counts[:, None]
  np.testing.assert_array_equal(known, is_prefix)
  clean = np.asarray(batch['decoder_input_frames'])[is_prefix]
  np.testing.assert_array_equal(clean, raw['decoder_target_frames'][is_prefix])
  weights = np.asarray(batch['decoder_loss_weights'])
  assert not weights[is_prefix].any()
  # A row counts by its length, whatever is known of it.
  np.testing.assert_allclose(weights.sum(1), FRAMES, rtol=1e-5)
  # The video is hidden during half of the beginnings, and nowhere else.
  video = np.asarray(batch['encoder_inputs_video'])[..., 0]
  hidden = (video == 0).sum(1)
  long = counts >= 2  # A frame of the video lasts two of the target.
  assert (hidden[long] > 0).mean() == pytest.approx(0.5, abs=0.05)
  blind = hidden > 0
  middles = np.arange(6) * 2 + 1
  np.testing.assert_array_equal(
    video[blind] == 0, middles < counts[blind, None]
  )
  assert not hidden[counts == 0].any()


def test_rows_may_say_themselves_how_often_their_beginning_is_known():
  objective = flow_matching.FlowMatching(prefix_rate=0.0)
  raw = gaussian_batch(4000)
  raw['decoder_prefix_rates'] = np.repeat([0.0, 1.0], 2000).astype('f4')
  batch = objective.corrupt(SPEC, raw, jax.random.key(3))
  is_known = np.asarray(batch['decoder_is_known']).any(1)
  assert not is_known[:2000].any()
  assert is_known[2000:].mean() == pytest.approx(6 / 7, abs=0.03)


def test_evaluation_depends_on_the_row_alone_and_hides_nothing():
  objective = flow_matching.FlowMatching(short_rate=1.0)
  raw = gaussian_batch(6)
  whole = objective.corrupt(SPEC, raw, None)
  some = objective.corrupt(SPEC, {k: x[[4, 2]] for k, x in raw.items()}, None)
  for key in ('flow_times', 'decoder_input_frames', 'flow_target'):
    np.testing.assert_array_equal(np.asarray(whole[key])[[4, 2]], some[key])
  assert not np.asarray(whole['decoder_is_known']).any()
  assert len(set(np.asarray(whole['flow_times']).tolist())) == 6


def test_rows_are_cut_short_and_what_had_ended_stays_out():
  objective = flow_matching.FlowMatching(short_rate=1.0)
  raw = gaussian_batch(500)
  raw['decoder_loss_weights'][0, 8:] = 0.0
  batch = objective.corrupt(SPEC, raw, jax.random.key(4))
  lengths = np.asarray(batch['decoder_lengths'])
  assert lengths[0] <= 8
  assert lengths.min() >= 3 and lengths[1:].max() == FRAMES
  beyond = np.arange(FRAMES) >= lengths[:, None]
  assert not np.asarray(batch['decoder_loss_weights'])[beyond].any()
  known = np.asarray(batch['decoder_is_known']).sum(1)
  assert (known[1:] < lengths[1:]).all()


@pytest.mark.parametrize(
  ('make', 'named'),
  [
    (lambda: flow_schedule.FlowSchedule(times='cosine'), 'times'),
    (lambda: flow_schedule.FlowSchedule(weighting='snr'), 'weighting'),
    (lambda: flow_schedule.FlowSchedule(scale=0.0), 'scale'),
    (lambda: flow_matching.FlowMatching(prefix_rate=1.5), 'prefix_rate'),
    (lambda: flow_matching.FlowMatching(max_prefix_share=1.0), 'max_prefix'),
  ],
)
def test_settings_out_of_range_are_named(make, named):
  with pytest.raises(ValueError, match=named):
    make()
