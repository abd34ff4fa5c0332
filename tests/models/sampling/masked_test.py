"""Parallel sampling: a joint that is known, levels in order, prefixes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import parallel_stage
from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models.sampling import masked
from v2meow_jax.models.sampling import options

make, STAGE = parallel_stage.make, parallel_stage.STAGE
SOUND = parallel_stage.SOUND

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def model():
  return make()


@pytest.fixture(scope='module')
def params():
  return parallel_stage.params()


@pytest.fixture(scope='module')
def inputs(model):
  return model.inputs_of(parallel_stage.batch(2))


def codes_of(ids):
  return tokens.IdSpace(STAGE).ids_to_codes(np.asarray(ids), SOUND)


def draw(model, params, inputs, seed=5, rngs=None, **kwargs):
  rngs = jax.random.split(jax.random.key(seed), 2) if rngs is None else rngs
  return np.asarray(model.sample_batch(params, inputs, rngs, **kwargs))


class Joint:
  """Exact conditionals of a random joint of 3 frames with 2 binary levels."""

  spec = specs.StageSpec(
    name='joint',
    inputs=(),
    target=specs.TokenSpec(
      name='bits', codebook_size=2, rate_hz=1.0, num_codebooks=2
    ),
    crop_seconds=3.0,
  )

  def __init__(self):
    rng = np.random.default_rng(3)
    self.states = np.array(list(itertools.product((0, 1), repeat=6)))
    self.weights = rng.dirichlet(np.full(64, 0.3))

  def apply(self, variables, *args, method):
    return getattr(self, f'_{method}')(*args)

  def _condition(self, inputs):
    return None

  def _hidden(self, condition, ids):
    offsets = tokens.IdSpace(self.spec).level_offsets(self.spec.target)
    codes = ids - jnp.tile(offsets, 3)
    known = ids != specs.MASK_ID
    states = jnp.asarray(self.states)
    fits = (~known[:, None] | (states == codes[:, None])).all(-1)
    return jnp.where(fits, jnp.asarray(self.weights), 0.0)  # [b, states]

  def _level_logits(self, hidden, level):
    states = jnp.asarray(self.states).reshape(64, 3, 2)[:, :, level]
    ones = jnp.einsum('bs,sf->bf', hidden, states.astype(jnp.float32))
    zeros = jnp.einsum('bs,sf->bf', hidden, 1.0 - states)
    return jnp.log(jnp.stack([zeros, ones], -1) + 1e-30)


def test_one_frame_a_pass_in_random_order_draws_from_the_joint():
  joint, num = Joint(), 40_000
  decoding = masked.MaskedDecoding(
    passes=(3,), order_noise=1e9, greedy_end=False
  )
  ids = masked.sample(
    joint,
    None,
    {},
    jnp.zeros((num, 0), jnp.int32),
    jax.random.split(jax.random.key(0), num),
    options.Sampling(),
    None,
    plan=masked.plan(decoding, 2, 3),
    order_noise=decoding.order_noise,
  )
  codes = tokens.IdSpace(joint.spec).ids_to_codes(
    np.asarray(ids), joint.spec.target
  )
  state = codes.reshape(num, 6) @ (2 ** np.arange(5, -1, -1))
  seen = np.bincount(state, minlength=64) / num
  # Three standard deviations of the widest state.
  np.testing.assert_allclose(seen, joint.weights, atol=0.0075)


def test_a_pass_for_each_frame_is_sequential_decoding_of_a_level(
  model, params, inputs
):
  """Frame by frame by hand, each the surest of those that are left."""
  sequential = make(passes=(20,), order_noise=0.0)
  cold = options.Sampling(temperature=0.0)
  ids = draw(sequential, params, inputs, sampling=cold)
  known = np.full((2, 20, 3), specs.MASK_ID)
  offsets = tokens.IdSpace(STAGE).level_offsets(SOUND)
  for level, _ in itertools.product(range(3), range(20)):
    batch = {**inputs, 'decoder_input_tokens': known.reshape(2, -1)}
    logits = np.asarray(
      model.code_logits(params, model.example_batch(2) | batch)
    )
    log_p = jax.nn.log_softmax(logits.reshape(2, 20, 3, 8)[:, :, level])
    sure = np.array(log_p.max(-1))
    sure[known[:, :, level] != specs.MASK_ID] = -np.inf
    for row, frame in enumerate(sure.argmax(-1)):
      code = int(log_p[row, frame].argmax())
      known[row, frame, level] = code + offsets[level]
  np.testing.assert_array_equal(ids, known.reshape(2, -1))


@pytest.mark.parametrize('passes', [(16, 1), (4, 2, 1), (100,), (1,)])
@pytest.mark.parametrize('num_frames', [1, 3, 20])
def test_a_plan_fills_every_level_and_never_stands_still(passes, num_frames):
  steps = masked.plan(masked.MaskedDecoding(passes=passes), 3, num_frames)
  for level in range(3):
    hidden = [p.num_hidden for p in steps if p.level == level]
    assert len(hidden) == min(passes[min(level, len(passes) - 1)], num_frames)
    assert hidden[-1] == 0
    falling = itertools.pairwise([num_frames, *hidden])
    assert all(a > b for a, b in falling)
  assert [p.level for p in steps] == sorted(p.level for p in steps)


def test_rows_depend_on_their_key_alone(model, params, inputs):
  ids = draw(model, params, inputs)
  np.testing.assert_array_equal(ids, draw(model, params, inputs))
  assert (ids != draw(model, params, inputs, seed=6)).any()
  key = jax.random.split(jax.random.key(5), 2)[1]
  turned = {k: x[[1, 1]] for k, x in inputs.items()}
  again = draw(model, params, turned, rngs=jnp.stack([key, key]))
  np.testing.assert_array_equal(again[0], ids[1])


def test_a_prefix_stays_and_acts(model, params, inputs):
  ids = draw(model, params, inputs)
  known = codes_of(ids)[:, :6]
  prefix = tokens.IdSpace(STAGE).codes_to_ids((known + 1) % 8, SOUND)
  went_on = draw(model, params, inputs, prefix=prefix)
  np.testing.assert_array_equal(went_on[:, :18], prefix)
  assert (went_on[:, 18:] != ids[:, 18:]).any()
  assert codes_of(went_on).shape == (2, 20, 3)
  short = draw(model, params, inputs, prefix=prefix, num_frames=9)
  np.testing.assert_array_equal(short, went_on[:, :27])


def test_guidance_of_zero_is_a_sample_without_the_style(model, params, inputs):
  style = 'encoder_inputs_style'
  none = {**inputs, style: np.zeros_like(inputs[style])}
  guided = draw(
    model, params, inputs, sampling=options.Sampling(style_guidance=0.0)
  )
  np.testing.assert_array_equal(guided, draw(model, params, none))


def test_a_guard_of_runs_is_refused_by_name(model, params, inputs):
  with pytest.raises(ValueError, match='max_run is 3'):
    draw(model, params, inputs, sampling=options.Sampling(max_run=3))


@pytest.mark.parametrize(
  ('bad', 'names'),
  [({'passes': (0,)}, 'passes'), ({'order_noise': -1}, 'order')],
)
def test_a_plan_that_cannot_be_is_refused(bad, names):
  with pytest.raises(ValueError, match=names):
    masked.MaskedDecoding(**bad)
