"""Guidance: logits by hand, to the bit at 1, and what it costs nothing of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import tiny_transformer
from v2meow_jax import specs
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow

STYLE = specs.FeatureSpec(name='style', dim=3, rate_hz=0.0)
MOTION = specs.FeatureSpec(name='motion', dim=4, rate_hz=1.0)
STAGE = dataclasses.replace(
  tiny_transformer.MIXED, inputs=(MOTION, STYLE), name='guided'
)


@pytest.fixture(scope='module')
def trained():
  model, params = tiny_transformer.make(STAGE)
  rng = np.random.default_rng(0)
  inputs = {
    key: 3 * rng.normal(size=zeros.shape).astype(np.float32)
    for key, zeros in model.example_inputs(2).items()
  }
  return model, params, inputs


def first_logits(model, params, inputs):
  """Legal logits of the first id, which has read nothing but the inputs."""
  ids = jnp.zeros((2, model.target_length), jnp.int32)
  batch = model.forced_batch(inputs, ids)
  return np.asarray(model.code_logits(params, batch)[:, 0])


def drawn(model, params, inputs, **options_and_negative):
  negative = options_and_negative.pop('negative', None)
  rngs = jax.random.split(jax.random.key(5), 2)
  chosen = options.Sampling(**options_and_negative)
  return np.asarray(
    model.sample_batch(params, inputs, rngs, chosen, negative=negative)
  )


def without(inputs, *names):
  return {
    k: np.zeros_like(x) if k.removeprefix('encoder_inputs_') in names else x
    for k, x in inputs.items()
  }


@pytest.mark.parametrize(
  ('weights', 'wanted'),
  [
    ({'style_guidance': 3.0}, lambda vs, v, s, o: v + 3 * (vs - v)),
    ({'video_guidance': 0.5}, lambda vs, v, s, o: s + 0.5 * (vs - s)),
    (
      {'style_guidance': 2.0, 'video_guidance': 4.0},
      lambda vs, v, s, o: o + 2 * (s - o) + 4 * (vs - s),
    ),
  ],
)
def test_logits_are_those_of_the_formula(trained, weights, wanted):
  model, params, inputs = trained
  sampling = options.Sampling(**weights)
  joined, coefficients = guidance.branches(STAGE, inputs, sampling)
  branches = [
    {k: x[i : i + 2] for k, x in joined.items()}
    for i in range(0, 2 * len(coefficients), 2)
  ]
  logits = np.concatenate([first_logits(model, params, b) for b in branches])
  guided = guidance.combine(jnp.asarray(logits), coefficients)
  parts = [
    first_logits(model, params, without(inputs, *names))
    for names in ((), ('style',), ('motion',), ('style', 'motion'))
  ]
  np.testing.assert_allclose(guided, wanted(*parts), rtol=1e-4, atol=1e-4)


def test_greedy_guidance_takes_the_likeliest_of_the_formula(trained):
  model, params, inputs = trained
  ids = drawn(model, params, inputs, temperature=0.0, style_guidance=8.0)
  with_style = first_logits(model, params, inputs)
  alone = first_logits(model, params, without(inputs, 'style'))
  guided = alone + 8.0 * (with_style - alone)
  assert (guided.argmax(-1) != with_style.argmax(-1)).any()
  plain = drawn(model, params, inputs, temperature=0.0)
  offset = plain[:, 0] - with_style.argmax(-1)
  np.testing.assert_array_equal(ids[:, 0] - offset, guided.argmax(-1))


def test_guidance_of_one_changes_no_bit_and_costs_no_branch(trained):
  model, params, inputs = trained
  one = options.Sampling(style_guidance=1.0, video_guidance=1)
  assert guidance.active(one, STAGE) == options.Sampling()
  np.testing.assert_array_equal(
    drawn(model, params, inputs),
    drawn(model, params, inputs, style_guidance=1.0, video_guidance=1.0),
  )


def test_guidance_of_zero_is_a_sample_without_the_condition(trained):
  model, params, inputs = trained
  np.testing.assert_array_equal(
    drawn(model, params, inputs, style_guidance=0.0),
    drawn(model, params, without(inputs, 'style')),
  )


def test_a_negative_style_stands_where_no_style_stood(trained):
  model, params, inputs = trained
  key = 'encoder_inputs_style'
  other = {key: inputs[key][::-1].copy()}
  np.testing.assert_array_equal(
    drawn(model, params, inputs, style_guidance=0.0, negative=other),
    drawn(model, params, inputs | other),
  )
  none = {key: np.zeros_like(inputs[key])}
  np.testing.assert_array_equal(
    drawn(model, params, inputs, style_guidance=3.0, negative=none),
    drawn(model, params, inputs, style_guidance=3.0),
  )


def test_guided_rows_do_not_depend_on_their_neighbours(trained):
  model, params, inputs = trained
  weights = {'style_guidance': 2.0, 'video_guidance': 2.0}
  both = drawn(model, params, inputs, **weights)
  key = jax.random.split(jax.random.key(5), 2)[:1]
  twice = {k: np.repeat(x[:1], 2, 0) for k, x in inputs.items()}
  alone = model.sample_batch(
    params, twice, jnp.concatenate([key, key]), options.Sampling(**weights)
  )
  np.testing.assert_array_equal(both[0], alone[0])


def test_no_code_stands_more_often_than_max_run(trained):
  model, params, inputs = trained
  target = model.spec.target

  def longest(ids):
    frames = ids.reshape(2, -1, target.num_codebooks)
    lengths = np.ones(frames.shape, int)
    for i in range(1, frames.shape[1]):
      same = frames[:, i] == frames[:, i - 1]
      lengths[:, i] = np.where(same, lengths[:, i - 1] + 1, 1)
    return lengths.max()

  greedy = drawn(model, params, inputs, temperature=0.0)
  guarded = drawn(model, params, inputs, temperature=0.0, max_run=1)
  assert longest(greedy) > 1
  assert longest(guarded) == 1


@pytest.mark.parametrize(
  'bad',
  [
    {'style_guidance': -1.0},
    {'video_guidance': float('nan')},
    {'top_p': 0.0},
    {'top_p': 1.5},
    {'max_run': 0},
  ],
)
def test_options_out_of_range_are_refused_by_name(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    options.Sampling(**bad)
