"""A stage whose attention is known, because its weights were set by hand."""

import dataclasses

import numpy as np

from tests.fakes import token_stage
from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import transformer

TARGET = specs.TokenSpec(name='music', codebook_size=4, rate_hz=4.0)
NEAR = specs.FeatureSpec(name='near', dim=2, rate_hz=2.0)
FAR = specs.FeatureSpec(name='far', dim=2, rate_hz=1.0)
STYLE = specs.FeatureSpec(name='style', dim=2, rate_hz=0.0)
PICTURE = specs.TokenSpec(
  name='picture', codebook_size=4, rate_hz=1.0, num_positions=16
)
MARK = 10.0
MARKED_CODE = 3

_SIZES = transformer.TransformerConfig(
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=4,
  num_encoder_layers=0,
  num_decoder_layers=1,
)
# What the directions of the embedding stand for.
_STREAM, _REST, _FIRST, _SECOND, _HEARD, _AFTER_1, _ELSE = 0, 1, 3, 4, 5, 6, 7


def spec(*inputs):
  return specs.StageSpec(
    name='semantic', inputs=inputs, target=TARGET, crop_seconds=4.0
  )


def _set(shape, *places, value=1.0):
  array = np.zeros(shape, np.float32)
  for place in places:
    array[place] = value
  return array


def _attention(query=(), key=(), rest=(), value=(), out=()):
  shape = (8, 2, 4)
  return {
    'query': _set(shape, *query),
    'key': _set(shape, *key, value=20.0) + _set(shape, *rest, value=2.5),
    'value': _set(shape, *value),
    'out': _set((2, 4, 8), *out),
  }


def _idle():
  return {
    'wi_0': np.zeros((8, 4), np.float32),
    'wi_1': np.zeros((8, 4), np.float32),
    'wo': np.zeros((4, 8), np.float32),
  }


def _norm():
  return {'scale': np.ones(8, np.float32)}


def _looks_at_marks():
  """After code 1 for the second kind of mark, else for the first.

  Both heads agree; what is at a mark is heard.
  """
  heads = (0, 1)
  return _attention(
    query=[(_ELSE, h, 0) for h in heads] + [(_AFTER_1, h, 1) for h in heads],
    key=[(_FIRST, h, 0) for h in heads] + [(_SECOND, h, 1) for h in heads],
    rest=[(_REST, h, kind) for h in heads for kind in (0, 1)],
    value=[(_FIRST, 0, 0), (_SECOND, 0, 0)],
    out=[(0, 0, _HEARD)],
  )


def _logits(stage):
  """Code 2 where something is heard, else any."""
  heard = tokens.IdSpace(stage).offset(TARGET) + 2
  return _set(
    (tokens.IdSpace(stage).vocab_size, 8), (heard, _HEARD), value=20.0
  )


def encoder_decoder(*inputs, deaf=False):
  """A model and its parameters.

  Its music looks at the frames whose first number is `MARK` or, right after a
  code 1, whose second is; of pictures in tokens at `MARKED_CODE`, after
  any other code. Without a mark it looks at the stream without times.

  Args:
    *inputs: Streams of dim 2, or pictures in tokens.
    deaf: What is at a mark makes no difference.
  """
  stage = spec(*inputs)
  config = dataclasses.replace(_SIZES, num_encoder_layers=1)
  embedding = _set((tokens.IdSpace(stage).vocab_size, 8), (slice(None), _ELSE))
  for s in stage.token_inputs:
    offset = tokens.IdSpace(stage).offset(s)
    embedding[offset : offset + s.num_ids] = np.eye(8)[_STREAM]
    embedding[offset + MARKED_CODE] = np.eye(8)[_FIRST]
  embedding[tokens.IdSpace(stage).offset(TARGET) + 1] = np.eye(8)[_AFTER_1]
  cross = _looks_at_marks()
  if deaf:
    cross['out'] *= 0
  params = {
    'token_embedding': embedding,
    'logits': _logits(stage),
    'encoder_0': {
      'attention_norm': _norm(),
      'attention': _attention(),
      'mlp_norm': _norm(),
      'mlp': _idle(),
    },
    'encoder_bias': {'embedding': np.zeros((2, 32), np.float32)},
    'encoder_norm': _norm(),
    'decoder_0': {
      'attention_norm': _norm(),
      'attention': _attention(),
      'cross_norm': _norm(),
      'cross_attention': cross,
      'mlp_norm': _norm(),
      'mlp': _idle(),
    },
    'decoder_bias': {'embedding': np.zeros((2, 32), np.float32)},
    'decoder_norm': _norm(),
  }
  for s in stage.feature_inputs:
    marks = () if s.is_static else ((0, _FIRST), (1, _SECOND))
    params[f'adaptors_{s.name}'] = {
      'kernel': _set((2, 8), *marks),
      'bias': _set(8, _REST if s.is_static else _STREAM),
    }
  return token_stage.make(stage, config), params


def decoder_only(*inputs):
  """Likewise, where the decoder reads the ids of the inputs itself."""
  stage = spec(*inputs)
  embedding = _set((tokens.IdSpace(stage).vocab_size, 8), (slice(None), _ELSE))
  for s in stage.token_inputs:
    embedding[tokens.IdSpace(stage).offset(s) + MARKED_CODE, _FIRST] = 1.0
  params = {
    'token_embedding': embedding,
    'logits': _logits(stage),
    'decoder_0': {
      'attention_norm': _norm(),
      'attention': _looks_at_marks(),
      'mlp_norm': _norm(),
      'mlp': _idle(),
    },
    'decoder_bias': {'embedding': np.zeros((2, 32), np.float32)},
    'decoder_norm': _norm(),
  }
  return token_stage.make(stage, _SIZES), params
