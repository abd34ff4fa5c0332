"""Few steps: chords of a known flow, and what a network learns of them."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.fakes import fitting
from tests.fakes import gaussian_flow
from v2meow_jax import specs
from v2meow_jax.inference import restore
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import distilled
from v2meow_jax.models import dit
from v2meow_jax.models.objectives import flow_schedule
from v2meow_jax.models.objectives import straightened
from v2meow_jax.models.sampling import flow
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow
SPEC, FRAMES = gaussian_flow.SPEC, gaussian_flow.NUM_FRAMES
UNIFORM = flow_schedule.FlowSchedule(times='uniform')
SHARES, MEANS, STDS = (0.3, 0.7), (-2.0, 1.0), (0.3, 0.5)
MIXTURE = gaussian_flow.Mixture(shares=SHARES, means=MEANS, stds=STDS)


def mixture_batch(rows, seed=0):
  batch = batch_layouts.example_batch(batch_layouts.FRAMES, SPEC, rows)
  rng = np.random.default_rng(seed)
  which = rng.choice(2, (rows, FRAMES, 2), p=SHARES)
  drawn = rng.normal(size=which.shape)
  frames = np.take(MEANS, which) + np.take(STDS, which) * drawn
  batch['decoder_target_frames'] = frames.astype(np.float32)
  batch['decoder_loss_weights'][:] = 1.0
  return batch


def exact(x, times):
  """The velocity of the mixture, without a video."""
  return MIXTURE.apply({}, jnp.zeros(len(x)), x, None, times, method='velocity')


def corrupted(objective, rows=400, seed=0):
  batch = mixture_batch(rows, seed)

  @jax.jit
  def both(batch):
    before = objective.corrupt(SPEC, batch, jax.random.key(seed))
    return before, objective.straightened(before, exact)

  return both(batch)


def test_points_lie_on_chords_whose_ends_are_the_path_and_the_teachers_walk():
  objective = straightened.Straightened(
    schedule=UNIFORM, teacher_steps=32, prefix_rate=0.5
  )
  before, after = corrupted(objective)
  times = np.asarray(before['flow_times'])
  starts = np.float32(np.floor(times * 4) / 4)
  now = np.asarray(after['flow_times'])
  assert ((starts <= now) & (now < starts + 0.25)).all()
  known = np.asarray(before['decoder_is_known'])[..., None] > 0
  assert 0.05 < known.mean() < 0.5
  x = np.asarray(after['decoder_input_frames'])
  data = np.asarray(before['decoder_target_frames'])
  np.testing.assert_array_equal(x[known[..., 0]], data[known[..., 0]])
  # Back along the path, and along the chord, to the start of the window.
  of_path = before['decoder_input_frames'] + np.where(
    known, 0, (starts - times)[:, None, None] * before['flow_target']
  )
  chord = np.asarray(after['flow_target'])
  of_chord = x - (now - starts)[:, None, None] * chord
  np.testing.assert_allclose(
    of_chord[~known[..., 0]], of_path[~known[..., 0]], atol=1e-5
  )
  # And on to its end, where a fine walk of the exact flow arrives as well.
  walked = jax.jit(
    lambda x: jax.lax.fori_loop(
      0, 200, lambda i, x: x + exact(x, starts + i / 800) / 800, x
    )
  )(jnp.asarray(of_path))
  arrived = x + (starts + 0.25 - now)[:, None, None] * chord
  np.testing.assert_allclose(
    arrived[~known[..., 0]], np.asarray(walked)[~known[..., 0]], atol=0.03
  )


def test_half_of_the_times_are_beginnings_of_windows_and_the_rest_uniform():
  objective = straightened.Straightened(schedule=UNIFORM, prefix_rate=0.0)
  times = np.asarray(corrupted(objective, rows=8000)[1]['flow_times'])
  share = times * 4 % 1
  is_first = np.minimum(share, 1 - share) < 1e-5
  assert is_first.mean() == pytest.approx(0.5, abs=0.025)
  np.testing.assert_allclose(
    np.quantile(share[~is_first], [0.25, 0.5, 0.75]),
    [0.25, 0.5, 0.75],
    atol=0.03,
  )


def test_no_key_draws_the_same_chords_whatever_the_other_rows_are():
  objective = straightened.Straightened(schedule=UNIFORM)
  batch = mixture_batch(6)

  @jax.jit
  def target(some):
    some = objective.corrupt(SPEC, some, None)
    return objective.straightened(some, exact)['flow_target']

  def chords(rows):
    return np.asarray(target({k: x[rows] for k, x in batch.items()}))

  np.testing.assert_allclose(
    chords([4, 1]), chords(slice(None))[[4, 1]], atol=1e-6
  )


@pytest.fixture(scope='module')
def student():
  """A network that learnt chords of a guided teacher, and its model.

  The teacher knows the exact velocity, whose mean the video moves; at a guidance
  of 2 it moves twice as far.
  """
  target = dataclasses.replace(gaussian_flow.LATENTS, rate_hz=1.0)
  video = dataclasses.replace(gaussian_flow.VIDEO, rate_hz=1.0)
  spec = specs.StageSpec(
    name='music', inputs=(video,), target=target, crop_seconds=1.0
  )
  sizes = dit.DitConfig(
    emb_dim=48, num_heads=1, head_dim=16, mlp_dim=96, num_layers=2
  )
  objective = straightened.Straightened(
    schedule=UNIFORM, prefix_rate=0.0, teacher_steps=8, guidance=2.0
  )

  class Known(distilled.DistilledStageModel):
    """Asks the exact velocity instead of a network with other parameters."""

    def _straightened(self, teacher, batch):
      module, self.module = self.module, MIXTURE
      try:
        return super()._straightened(teacher, batch)
      finally:
        self.module = module

  model = Known(spec, sizes, objective, flow.FlowSampling(steps=4))
  params = nn.unbox(model.init(jax.random.key(0), model.example_batch(1)))
  extras, params = {'teacher': params['teacher']}, params['params']
  optimizer = optax.adam(optax.cosine_decay_schedule(4e-3, 1500))

  def loss(params, rng):
    which, drawn, shown, rest = jax.random.split(rng, 4)
    shape = (256, 1, 2)
    which = jax.random.bernoulli(which, SHARES[1], shape).astype(int)
    seen = jax.random.bernoulli(shown, 0.5, (256, 1, 1)).astype(jnp.float32)
    frames = jnp.array(STDS)[which] * jax.random.normal(drawn, shape)
    frames += jnp.array(MEANS)[which] + seen
    batch = {
      'encoder_inputs_video': seen,
      'decoder_target_frames': frames,
      'decoder_loss_weights': jnp.ones((256, 1)),
    }
    return model.train_loss(params, extras, batch, rest)[0]

  return model, fitting.fitted(loss, params, optimizer, 1500)


def moments(x):
  return np.array([np.mean(x**power) for power in (1, 2, 3)])


def quantile_distance(x, truth):
  """The 1-Wasserstein distance of two samples of the same size."""
  return np.abs(np.sort(x.ravel()) - np.sort(truth.ravel())).mean()


@pytest.mark.parametrize('seen', [0.0, 1.0])
def test_in_four_steps_a_student_is_nearer_the_truth_than_its_teacher(
  student, seen
):
  model, params = student
  keys = jax.random.split(jax.random.key(3), 4000)
  inputs = {'encoder_inputs_video': jnp.full((4000, 1, 1), seen)}
  four = options.Sampling(steps=4)
  made = np.asarray(model.sample_batch(params, inputs, keys, four))

  def teacher(steps):
    noise = jax.vmap(lambda key: jax.random.normal(key, (1, 2)))(keys)

    def velocity(x, time):
      times = jnp.full(len(x), time, jnp.float32)
      seeing, blind = (
        MIXTURE.apply(
          {}, jnp.full(len(x), s), x, None, times, method='velocity'
        )
        for s in (seen, 0.0)
      )
      return 2 * seeing - blind

    return np.asarray(flow.integrate(velocity, noise, steps, 'euler'))

  truth = teacher(400)
  if not seen:
    rng = np.random.default_rng(0)
    which = rng.choice(2, truth.shape, p=SHARES)
    truth = np.take(MEANS, which) + np.take(STDS, which) * rng.normal(
      size=which.shape
    )
  of_student = np.abs(moments(made) - moments(truth))
  of_teacher = np.abs(moments(teacher(4)) - moments(truth))
  assert of_student[1] < of_teacher[1] / 2
  assert of_student[2] < of_teacher[2] / 2
  far = quantile_distance(teacher(4), truth)
  assert quantile_distance(made, truth) < far / 2


def test_a_teacher_is_a_copy_that_no_gradient_moves_and_no_release_holds():
  spec = dataclasses.replace(SPEC, crop_seconds=2.0)
  sizes = dit.DitConfig(
    emb_dim=16, num_heads=2, head_dim=8, mlp_dim=16, num_layers=1
  )
  objective = straightened.Straightened(guidance=3.0)
  model = distilled.DistilledStageModel(
    spec, sizes, objective, flow.FlowSampling()
  )
  batch = model.example_batch(2)
  variables = nn.unbox(model.init(jax.random.key(0), batch))
  jax.tree.map(
    np.testing.assert_array_equal, variables['params'], variables['teacher']
  )
  extras = {'teacher': variables['teacher']}
  loss, (metrics, after) = model.train_loss(
    variables['params'], extras, batch, jax.random.key(1)
  )
  assert np.isfinite(loss) and set(metrics) == {'loss'}
  assert after['teacher'] is extras['teacher']
  released = restore.released(model.describe())
  again = restore.build_model(released)
  assert type(again) is not type(model)
  assert again.objective == objective


@pytest.mark.parametrize(
  ('wrong', 'told'),
  [
    ({'num_windows': 0}, 'num_windows is 0'),
    ({'teacher_steps': 0}, 'teacher_steps is 0'),
    ({'start_share': 1.0}, 'start_share is 1.0'),
    ({'prefix_rate': 2.0}, 'prefix_rate is 2.0'),
  ],
)
def test_sizes_that_mean_nothing_are_refused(wrong, told):
  with pytest.raises(ValueError, match=told):
    straightened.Straightened(**wrong)
