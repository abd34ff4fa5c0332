"""Flow sampling: known densities, orders of solvers, guidance, windows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import gaussian_flow
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import restore
from v2meow_jax.models import stage_model
from v2meow_jax.models.objectives import flow_matching
from v2meow_jax.models.sampling import flow
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow
SPEC, FRAMES = gaussian_flow.SPEC, gaussian_flow.NUM_FRAMES
LATENTS = gaussian_flow.LATENTS


def make(network, moments=None, **sampler):
  return stage_model.StageModel(
    SPEC,
    network,
    flow_matching.FlowMatching(),
    flow.FlowSampling(**sampler),
    moments,
  )


def draw(model, rows=4, seed=0, rngs=None, video=0.0, **kwargs):
  rngs = jax.random.split(jax.random.key(seed), rows) if rngs is None else rngs
  level = jnp.broadcast_to(jnp.asarray(video, jnp.float32), (len(rngs),))
  inputs = {'encoder_inputs_video': jnp.tile(level[:, None, None], (1, 6, 1))}
  return np.asarray(model.sample_batch({}, inputs, rngs, **kwargs))


@pytest.mark.parametrize(
  ('solver', 'order'), [('euler', 1), ('midpoint', 2), ('heun', 2)]
)
def test_halving_the_step_divides_the_error_by_two_to_the_order(solver, order):
  start = jnp.array([0.5, 1.0, 2.0])

  def velocity(x, t):
    return -2 * t * x**2

  # dx/dt = -2 t x^2 is solved by x / (1 + x t^2).
  exact = start / (1 + start)
  errors = [
    float(jnp.abs(flow.integrate(velocity, start, n, solver) - exact).max())
    for n in (16, 32, 64)
  ]
  for coarse, fine in zip(errors, errors[1:], strict=False):
    assert coarse / fine == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize('solver', ['euler', 'midpoint', 'heun'])
def test_the_flow_of_a_gaussian_maps_quantiles_to_quantiles(solver):
  mean, std = 1.5, 0.4
  model = make(gaussian_flow.Mixture(means=(mean,), stds=(std,)), solver=solver)

  def at(steps):
    return draw(model, sampling=options.Sampling(steps=steps))

  keys = jax.random.split(jax.random.key(0), 4)
  noise = np.stack([jax.random.normal(key, (FRAMES, 2)) for key in keys])
  errors = [np.abs(at(n) - (mean + std * noise)).max() for n in (16, 128)]
  assert errors[1] < 0.02 and errors[1] < errors[0] / 6


def test_a_known_mixture_comes_out_with_its_moments():
  shares, means, stds = (0.3, 0.7), (-2.0, 1.0), (0.3, 0.6)
  network = gaussian_flow.Mixture(shares=shares, means=means, stds=stds)
  model = make(network, solver='midpoint', steps=50)
  x = draw(model, rows=2000).reshape(-1).astype(np.float64)
  first = np.dot(shares, means)
  second = np.dot(shares, np.square(means) + np.square(stds))
  third = np.dot(
    shares, np.power(means, 3) + 3 * np.multiply(means, np.square(stds))
  )
  for power, wanted in ((1, first), (2, second), (3, third)):
    values = x**power
    deviation = values.std() / np.sqrt(len(x))
    assert abs(values.mean() - wanted) < 4 * deviation
  # Which of both a number belongs to, and the spread of each.
  left = x < -0.9
  assert left.mean() == pytest.approx(0.3, abs=0.01)
  assert x[left].std() == pytest.approx(0.3, abs=0.02)


def test_rows_depend_on_their_key_and_their_video_alone():
  model = make(gaussian_flow.Mixture(means=(1.0,), stds=(0.5,)))
  keys = jax.random.split(jax.random.key(1), 3)
  first = draw(model, rngs=keys, video=[0.0, 1.0, 2.0])
  other = jax.random.split(jax.random.key(9), 3)
  mixed = draw(
    model,
    rngs=jnp.stack([other[0], keys[1], other[2]]),
    video=[5.0, 1.0, -3.0],
  )
  np.testing.assert_array_equal(first[1], mixed[1])
  assert (first[0] != mixed[0]).all()


def test_a_guidance_of_one_changes_no_bit_and_two_doubles_the_difference():
  model = make(gaussian_flow.Mixture(stds=(0.5,)), steps=5)
  plain = draw(model, video=1.0)
  one = draw(model, video=1.0, sampling=options.Sampling(video_guidance=1.0))
  np.testing.assert_array_equal(plain, one)
  # The velocity is linear in the mean, which the video moves.
  two = draw(model, video=1.0, sampling=options.Sampling(video_guidance=2.0))
  np.testing.assert_allclose(two, draw(model, video=2.0), atol=1e-5)


def test_steps_and_temperature_are_options_of_a_call():
  network = gaussian_flow.Mixture(means=(1.5,), stds=(0.4,))
  model = make(network, steps=3)
  nine = draw(make(network, steps=9))
  np.testing.assert_array_equal(
    nine, draw(model, sampling=options.Sampling(steps=9))
  )
  cold = draw(model, sampling=options.Sampling(temperature=0.0, steps=64))
  np.testing.assert_allclose(cold, 1.5, atol=0.05)


def test_a_prefix_stays_and_moments_are_taken_off_and_put_back():
  moments = {'latents': {'mean': [5.0, -3.0], 'std': [2.0, 0.5]}}
  network = gaussian_flow.Process(correlation=0.95)
  scaled = make(network, moments, steps=20)
  plain = make(network, steps=20)
  prefix = np.ones((4, 5, 2), np.float32)
  wanted = draw(plain, prefix=prefix)
  found = draw(scaled, prefix=prefix * [2.0, 0.5] + [5.0, -3.0])
  np.testing.assert_allclose(found, wanted * [2.0, 0.5] + [5, -3], atol=1e-4)
  np.testing.assert_array_equal(wanted[:, :5], prefix)


def test_a_target_may_be_shorter_than_a_crop():
  model = make(gaussian_flow.Process(), steps=20)
  assert draw(model, num_frames=7).shape == (4, 7, 2)


@pytest.mark.parametrize(
  ('changes', 'named'),
  [
    ({'sampling': options.Sampling(top_k=3)}, 'top_k was given'),
    ({'prefix': np.zeros((4, 12, 2))}, 'prefix of stage'),
    ({'prefix': np.zeros((4, 3, 5))}, 'prefix of stage'),
    ({'num_frames': 13}, 'num_frames is 13'),
  ],
)
def test_what_does_not_fit_is_named(changes, named):
  model = make(gaussian_flow.Mixture())
  with pytest.raises(ValueError, match=named):
    draw(model, **changes)


def test_solvers_steps_and_options_out_of_range_are_refused():
  with pytest.raises(ValueError, match="solver is 'rk4'"):
    flow.FlowSampling(solver='rk4')
  with pytest.raises(ValueError, match='steps is 0'):
    flow.FlowSampling(steps=0)
  with pytest.raises(ValueError, match='steps is 2000'):
    options.Sampling(steps=2000)


def test_long_clips_have_no_seam_between_their_windows():
  """Pairs of frames across a seam are as alike as pairs within a window."""
  network = gaussian_flow.Process(correlation=0.9)
  windows = options.Windows(prefix_seconds=1.0, rows=64)
  model = make(network, solver='midpoint', steps=40, windows=windows)
  stage = restore.ModelStage(model, {})
  seconds = 7.0  # Three windows of 3 s; seams at 12 and 20 frames.
  clips = [
    pipeline.ClipStreams(
      streams={'video': np.zeros((14, 1), np.float32)}, seconds=seconds, seed=n
    )
    for n in range(640)
  ]
  frames = np.stack(
    pipeline.sample_stage(
      stage, clips, sampling=model.sampler.sampling, windows=windows
    )
  )
  assert frames.shape[1] == 28
  steps = np.square(np.diff(frames, axis=1)).mean((0, 2))
  # 2 (1 - 0.9) of a process of variance 1; 1280 numbers tell it to 4 %.
  np.testing.assert_allclose(steps, 0.2, rtol=0.17)
  across = steps[[11, 19]].mean()
  within = np.delete(steps, [11, 19]).mean()
  assert across == pytest.approx(within, rel=0.08)
  # Windows that know nothing of each other do have seams.
  alone = dataclasses.replace(windows, prefix_seconds=0.0)
  apart = np.stack(
    pipeline.sample_stage(
      stage, clips[:64], sampling=model.sampler.sampling, windows=alone
    )
  )
  seam = np.square(np.diff(apart, axis=1)).mean((0, 2))[[11, 23]]
  assert (seam > 1.0).all()


def test_a_system_of_codes_takes_no_steps():
  from v2meow_jax import stages

  with pytest.raises(ValueError, match='a number of steps'):
    pipeline.resolve(
      options.Sampling(steps=4), [options.AS_TRAINED], [stages.semantic()]
    )
  chosen = pipeline.resolve(
    options.Sampling(steps=4),
    [options.AS_TRAINED] * 2,
    [stages.semantic(), SPEC],
  )
  assert [s.steps for s in chosen] == [None, 4]


def test_an_opening_is_gone_on_from_and_is_no_part_of_the_music():
  network = gaussian_flow.Process(correlation=0.95)
  windows = options.Windows(prefix_seconds=1.0, rows=8)
  model = make(network, solver='midpoint', steps=30, windows=windows)
  stage = restore.ModelStage(model, {})

  def clip(seed, level=None):
    opening = np.full((4, 2), level, np.float32)
    return pipeline.ClipStreams(
      streams={'video': np.ones((10, 1), np.float32)},
      seconds=5.0,
      seed=seed,
      openings={} if level is None else {'latents': opening},
    )

  def sample(clips):
    return pipeline.sample_stage(
      stage, clips, sampling=model.sampler.sampling, windows=windows
    )

  mixed = sample([clip(0, 3.0), clip(1), clip(2, -3.0)])
  assert all(len(frames) >= 20 for frames in mixed)
  # Frames near the opening are near to it; those far off are not.
  for frames, level in ((mixed[0], 3.0), (mixed[2], -3.0)):
    np.testing.assert_allclose(frames[0], 0.95 * level, atol=1.3)
    assert not (frames == level).all(1).any()
  # A clip is the same alone and among others, with an opening and without.
  for i, one in enumerate([clip(0, 3.0), clip(1), clip(2, -3.0)]):
    np.testing.assert_allclose(sample([one])[0], mixed[i], atol=1e-5)
  # The picture begins after the opening: before it, there are zeros.
  np.testing.assert_array_equal(
    pipeline.cut(np.ones((10, 1)), gaussian_flow.VIDEO, -1.0, 3.0)[:, 0],
    [0, 0, 1, 1, 1, 1],
  )
  wrong = dataclasses.replace(clip(0), openings={'latents': np.zeros((3, 2))})
  with pytest.raises(ValueError, match='has 3 frames; wanted 4'):
    sample([wrong])
