"""A stage that writes in parallel, small enough for a test."""

import functools

from flax.core import meta
import jax
import numpy as np

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import conformer
from v2meow_jax.models import stage_model
from v2meow_jax.models.objectives import masked as masked_objective
from v2meow_jax.models.sampling import masked

MELODY = specs.TokenSpec(name='melody', codebook_size=6, rate_hz=5.0)
STYLE = specs.FeatureSpec(name='style', dim=3, rate_hz=0.0)
SOUND = specs.TokenSpec(
  name='sound', codebook_size=8, rate_hz=10.0, num_codebooks=3
)
STAGE = specs.StageSpec(
  name='parallel', inputs=(MELODY, STYLE), target=SOUND, crop_seconds=2.0
)
SIZES = conformer.ParallelConformerConfig(
  emb_dim=16, num_heads=2, head_dim=8, mlp_dim=24, num_layers=2, kernel_size=3
)


def make(**sampler):
  """A model; `sampler` as of `MaskedDecoding`."""
  return stage_model.StageModel(
    STAGE,
    SIZES,
    masked_objective.MaskedPrediction(),
    masked.MaskedDecoding(**sampler),
  )


@functools.cache
def params():
  model = make()
  variables = model.init(jax.random.key(0), model.example_batch(1))
  return meta.unbox(variables)['params']


def ids_of(codes, stream):
  return tokens.IdSpace(STAGE).codes_to_ids(codes, stream)


def batch(rows, sound=None, seed=0):
  """Random melodies and styles, and random sounds unless they are given."""
  rng = np.random.default_rng(seed)
  melody = rng.integers(0, 6, (rows, 10, 1))
  if sound is None:
    sound = rng.integers(0, 8, (rows, 20, 3))
  ids = ids_of(sound, SOUND)
  return {
    'encoder_inputs_melody': ids_of(melody, MELODY),
    'encoder_inputs_style': rng.normal(size=(rows, 1, 3)).astype(np.float32),
    'decoder_input_tokens': ids,
    'decoder_target_tokens': ids,
    'decoder_loss_weights': np.ones(ids.shape, np.float32),
  }
