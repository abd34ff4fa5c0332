"""Fine-tuning begins with what two stages share."""

import dataclasses

from flax import linen as nn
import jax
import numpy as np

from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import warm_start
from v2meow_jax.models.blocks import layer_stacking

MELODY, SOUND = tiny_transformer.MELODY, tiny_transformer.SOUND
PICTURE = tiny_transformer.PICTURE
SKETCH = specs.TokenSpec(
  name='sketch', codebook_size=200, rate_hz=1.0, num_codebooks=2
)
AUDIO_ONLY = tiny_transformer.TOKENS
VISUAL = dataclasses.replace(AUDIO_ONLY, inputs=(MELODY, PICTURE))
SKETCHED = dataclasses.replace(AUDIO_ONLY, inputs=(SKETCH, MELODY))
LEVELS = dataclasses.replace(tiny_transformer.SIZES, level_embedding=True)
DECODER = dataclasses.replace(LEVELS, num_encoder_layers=0)


def params_of(spec, config, fill):
  """Every array filled with its row numbers plus `fill`."""
  model = token_stage.make(spec, config)
  shapes = jax.eval_shape(
    model.module.init, jax.random.key(0), model.example_batch(1)
  )
  params = nn.meta.unbox(shapes)['params']

  def rows(s):
    column = np.arange(s.shape[0]).reshape(-1, *[1] * (len(s.shape) - 1))
    return np.broadcast_to(fill + column, s.shape).astype(np.float32)

  return jax.tree.map(rows, params)


def audio_only():
  return params_of(AUDIO_ONLY, DECODER, fill=1000)


def encoder_decoder(spec):
  return params_of(spec, LEVELS, fill=0)


def test_an_encoder_decoder_takes_all_of_a_decoder_and_leaves_the_rest():
  source, fresh = audio_only(), encoder_decoder(VISUAL)
  params, taken, left = warm_start.warm_start(fresh, source)
  names = {
    jax.tree_util.keystr(path, simple=True, separator='/'): value
    for path, value in jax.tree_util.tree_leaves_with_path(source)
  }
  assert set(taken) == set(names)
  assert 'decoder_1/attention/query' in taken and 'logits' in taken
  assert all('encoder' in n or 'adaptors' in n or 'cross' in n for n in left)
  for path, value in jax.tree_util.tree_leaves_with_path(params):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    assert np.min(value) == (1000 if name in taken else 0), name
  assert len(taken) + len(left) == len(jax.tree.leaves(fresh))


def test_stacked_parameters_start_from_layers_apart_and_back():
  source, fresh = audio_only(), encoder_decoder(VISUAL)
  wanted = warm_start.warm_start(fresh, source)[0]
  stacked = warm_start.warm_start(layer_stacking.stack(fresh), source)[0]
  # The encoder is left, and the decoder has arrays that the source lacks.
  assert set(stacked) == set(layer_stacking.stack(wanted))
  jax.tree.map(
    np.testing.assert_array_equal, stacked, layer_stacking.stack(wanted)
  )
  apart = warm_start.warm_start(fresh, layer_stacking.stack(source))[0]
  jax.tree.map(np.testing.assert_array_equal, apart, wanted)


def test_what_has_another_shape_is_left():
  source, fresh = audio_only(), encoder_decoder(SKETCHED)
  _, taken, left = warm_start.warm_start(fresh, source)
  assert {'token_embedding', 'logits', 'level_embedding'} <= set(left)
  assert 'decoder_0/mlp/wo' in taken


def test_aligned_ids_carry_the_rows_of_the_streams_that_both_know():
  source, fresh = audio_only(), encoder_decoder(SKETCHED)
  aligned = warm_start.align_ids(source, AUDIO_ONLY, fresh, SKETCHED)
  params, taken, _ = warm_start.warm_start(fresh, aligned)
  assert {'token_embedding', 'logits', 'level_embedding'} <= set(taken)
  rows = np.asarray(params['logits'])[:, 0]
  # Before: reserved 0-1, melody 2-17, sound 18-89. Now: sketch at 2-401.
  np.testing.assert_array_equal(rows[:2], [1000, 1001])
  np.testing.assert_array_equal(rows[2:402], range(2, 402))
  np.testing.assert_array_equal(rows[402:490], 1000 + np.arange(2, 90))
  np.testing.assert_array_equal(
    rows[490:], range(490, tokens.IdSpace(SKETCHED).vocab_size)
  )
  levels = np.asarray(params['level_embedding'])[:, 0]
  # Sketch has levels 0-1; melody and sound follow.
  np.testing.assert_array_equal(levels, [0, 1, 1000, 1001, 1002, 1003])


def test_equal_streams_need_no_alignment():
  source, fresh = audio_only(), encoder_decoder(VISUAL)
  aligned = warm_start.align_ids(source, AUDIO_ONLY, fresh, VISUAL)
  in_use = slice(0, tokens.IdSpace(AUDIO_ONLY).num_ids)
  np.testing.assert_array_equal(
    aligned['logits'][in_use], source['logits'][in_use]
  )
