"""A stage that writes delayed levels, small enough for a test."""

import functools

from flax.core import meta
import jax
import numpy as np

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import delayed
from v2meow_jax.models import stage_model
from v2meow_jax.models.objectives import next_token
from v2meow_jax.models.sampling import delayed as delayed_sampling

PATCHES = specs.FeatureSpec(
  name='patches', dim=4, rate_hz=10.0, num_positions=3
)
MOTION = specs.FeatureSpec(name='motion', dim=2, rate_hz=5.0)
STYLE = specs.FeatureSpec(name='style', dim=3, rate_hz=0.0)
SOUND = specs.TokenSpec(
  name='acoustic', codebook_size=8, rate_hz=10.0, num_codebooks=3
)
STAGE = specs.StageSpec(
  name='music',
  inputs=(PATCHES, MOTION, STYLE),
  target=SOUND,
  crop_seconds=2.0,
  guides=(
    specs.FeatureSpec(name='onsets', dim=1, rate_hz=10.0),
    specs.FeatureSpec(name='accents', dim=1, rate_hz=10.0),
  ),
)
SIZES = delayed.DelayedDecoderConfig(
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=24,
  num_layers=3,
  num_music_layers=1,
  num_dense_layers=2,
  num_poolings=1,
  window_frames=4,
  joint_dim=8,
)


@functools.cache
def make(objective=None, sizes=SIZES, **sampler):
  """A model; `sampler` as of `delayed.Delayed`."""
  return stage_model.StageModel(
    STAGE,
    sizes,
    objective or next_token.NextToken(legal=True),
    delayed_sampling.Delayed(**sampler),
  )


@functools.cache
def params():
  model = make()
  variables = model.init(jax.random.key(0), model.example_batch(1))
  return meta.unbox(variables)['params']


@functools.cache
def _jitted(model, method, *static):
  return jax.jit(getattr(model, method), static_argnums=static)


def logits(model, params, batch):
  """`StageModel.code_logits`, compiled once for a model."""
  return _jitted(model, 'code_logits')(params, batch)


def outputs(model, params, batch, names):
  """`StageModel.outputs`, compiled once for a model and names."""
  return _jitted(model, 'outputs', 2)(params, batch, names)


def train_loss(model, params, extras, batch, rng):
  """`StageModel.train_loss`, compiled once for a model."""
  return _jitted(model, 'train_loss')(params, extras, batch, rng)


def ids_of(codes):
  return tokens.IdSpace(STAGE).codes_to_ids(codes, SOUND)


def batch(rows, codes=None, seed=0):
  """Random inputs, and random codes unless they are given."""
  rng = np.random.default_rng(seed)
  if codes is None:
    codes = rng.integers(0, 8, (rows, 20, 3))
  ids = ids_of(codes)
  inputs = {
    f'encoder_inputs_{s.name}': rng.normal(
      size=(rows, s.num_frames(2.0), *s.frame_shape)
    ).astype(np.float32)
    for s in STAGE.inputs
  }
  guides = {
    f'guide_{s.name}': rng.uniform(size=(rows, 20, 1)).astype(np.float32)
    for s in STAGE.guides
  }
  return {
    **inputs,
    **guides,
    'decoder_input_tokens': np.pad(ids, ((0, 0), (1, 0)))[:, :-1],
    'decoder_target_tokens': ids,
    'decoder_loss_weights': np.ones(ids.shape, np.float32),
  }
