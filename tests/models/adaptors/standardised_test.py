"""A stage standardises what it reads, the same in training and generation."""

import functools
import json

import jax
import numpy as np
import pytest

from tests.fakes import tiny_transformer
from v2meow_jax.clusters import standardize
from v2meow_jax.inference import restore
from v2meow_jax.models import stage_model
from v2meow_jax.models.readings import input_attention
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow

MIXED, PICTURE = tiny_transformer.MIXED, tiny_transformer.PICTURE
KEY = f'encoder_inputs_{PICTURE.name}'


def _raw(rng, num_rows):
  """Features as a published network gives them: far from 0, of any size."""
  scales = np.geomspace(0.01, 100, PICTURE.dim)
  shape = (num_rows, PICTURE.num_frames(MIXED.crop_seconds), PICTURE.dim)
  return (rng.normal(size=shape) * scales + 3 * scales).astype(np.float32)


@pytest.fixture(scope='module')
def made():
  """A model without moments, one with them, their weights, and a batch."""
  plain, params = tiny_transformer.make()
  rng = np.random.default_rng(0)
  rows = _raw(rng, 500)
  moments = {
    PICTURE.name: {
      'mean': rows.mean((0, 1)).tolist(),
      'std': rows.std((0, 1)).tolist(),
    }
  }
  model = stage_model.StageModel(
    plain.spec, plain.network, plain.objective, plain.sampler, moments
  )
  batch = tiny_transformer.random_batch(plain)
  raw = _raw(rng, 2)
  raw[0, 0, 0] = 1e6  # Beyond what trained networks have seen.
  raw[1] = 0  # A stream that was left out.
  scaled = standardize.apply(
    raw, {k: np.array(x) for k, x in moments[PICTURE.name].items()}
  )
  scaled[1] = 0
  assert scaled[0].max() == standardize.LIMIT
  return plain, model, params, {**batch, KEY: raw}, {**batch, KEY: scaled}


def test_a_stage_reads_what_numpy_standardises(made):
  plain, model, params, raw, scaled = made
  found = tiny_transformer.logits(model, params, raw)
  wanted = tiny_transformer.logits(plain, params, scaled)
  np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)
  # Otherwise raw numbers would drown the rest.
  assert abs(tiny_transformer.logits(plain, params, raw) - wanted).max() > 1
  attention, wanted = (
    jax.jit(functools.partial(input_attention.input_attention, stage))(
      params, batch
    )
    for stage, batch in ((model, raw), (plain, scaled))
  )
  for name, weights in attention.items():
    np.testing.assert_allclose(weights, wanted[name], rtol=2e-5, atol=2e-6)


def test_generation_standardises_as_training_does_from_the_description(made):
  plain, model, params, raw, scaled = made
  assert 'moments' not in plain.describe()
  rebuilt = restore.build_model(json.loads(json.dumps(model.describe())))
  released = restore.build_model(restore.released(model.describe()))
  keys = jax.random.split(jax.random.key(2), 2)
  cold = options.Sampling(temperature=0.0)
  wanted = plain.sample_batch(params, plain.inputs_of(scaled), keys, cold)
  for stage in (model, rebuilt, released):
    codes = stage.sample_batch(params, stage.inputs_of(raw), keys, cold)
    np.testing.assert_array_equal(codes, wanted)


@pytest.mark.parametrize(
  'moments',
  [
    {'picture': {'mean': [0.0] * 5, 'std': [1.0] * 5}},
    {'picture': {'mean': [0.0] * 6}},
    {'melody': {'mean': [0.0] * 6, 'std': [1.0] * 6}},
  ],
)
def test_moments_of_another_stream_are_refused_by_name(made, moments):
  plain = made[0]
  (name,) = moments
  with pytest.raises(ValueError, match=f"moments of '{name}'"):
    stage_model.StageModel(
      plain.spec, plain.network, plain.objective, plain.sampler, moments
    )
