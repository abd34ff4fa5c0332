"""Transformers that a test can afford, and batches for them."""

import dataclasses
import functools

from flax.core import meta
import jax
import numpy as np
import pytest

from tests.fakes import token_stage
from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import transformer

SIZES = transformer.TransformerConfig(
  emb_dim=32,
  num_heads=4,
  head_dim=8,
  mlp_dim=48,
  num_encoder_layers=2,
  num_decoder_layers=2,
)
EVERYTHING = dataclasses.replace(
  SIZES, time_bias=True, level_embedding=True, dropout_rate=0.1
)
PICTURE = specs.FeatureSpec(name='picture', dim=6, rate_hz=2.0)
STYLE = specs.FeatureSpec(name='style', dim=5, rate_hz=0.0)
MELODY = specs.TokenSpec(name='melody', codebook_size=16, rate_hz=5.0)
SOUND = specs.TokenSpec(
  name='sound', codebook_size=24, rate_hz=5.0, num_codebooks=3
)
MIXED = specs.StageSpec(
  name='mixed', inputs=(PICTURE, MELODY, STYLE), target=SOUND, crop_seconds=2
)
TOKENS = specs.StageSpec(
  name='tokens', inputs=(MELODY,), target=SOUND, crop_seconds=2
)
DECODER_ONLY = dataclasses.replace(SIZES, num_encoder_layers=0)
BOTH_KINDS = pytest.mark.parametrize(
  ('spec', 'config'),
  [(MIXED, EVERYTHING), (TOKENS, DECODER_ONLY)],
  ids=['encoder_decoder', 'decoder_only'],
)


@functools.cache
def make(spec=MIXED, config=EVERYTHING, **objective):
  model = token_stage.make(spec, config, **objective)
  variables = model.init(jax.random.key(0), model.example_batch(1))
  return model, meta.unbox(variables)['params']


@functools.cache
def _compiled_logits(model):
  return jax.jit(model.logits)


def logits(model, params, batch):
  """Of the target, given the true ids; compiled once for each model."""
  return np.asarray(_compiled_logits(model)(params, batch))


def random_batch(model, batch_size=2, seed=0):
  """Legal ids everywhere, and normal features."""
  rng = np.random.default_rng(seed)
  spec = model.spec

  def ids(stream):
    shape = (batch_size, stream.length(spec.crop_seconds))
    level = np.arange(shape[1]) % stream.num_codebooks
    codes = rng.integers(0, stream.codebook_size, shape)
    return (
      tokens.IdSpace(spec).offset(stream) + level * stream.codebook_size + codes
    )

  batch = model.example_inputs(batch_size)
  for s in spec.inputs:
    name = f'encoder_inputs_{s.name}'
    if isinstance(s, specs.TokenSpec):
      batch[name] = ids(s).astype(np.int32)
    else:
      batch[name] = rng.normal(size=batch[name].shape).astype(np.float32)
  targets = ids(spec.target).astype(np.int32)
  weights = np.ones(targets.shape, np.float32)
  if not model.network.num_encoder_layers:
    names = [f'encoder_inputs_{s.name}' for s in spec.token_inputs]
    prompt = np.concatenate([batch.pop(n) for n in names], 1)
    targets = np.concatenate([prompt, targets], 1)
    weights = np.pad(weights, ((0, 0), (prompt.shape[1], 0)))
  read = np.pad(targets, ((0, 0), (1, 0)))[:, :-1]
  return batch | {
    'decoder_input_tokens': read,
    'decoder_target_tokens': targets,
    'decoder_loss_weights': weights,
  }
