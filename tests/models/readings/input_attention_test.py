"""Attention that was planted is found where it is, whatever computes it."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from tests.fakes import planted_stage
from tests.fakes import tiny_transformer
from v2meow_jax import tokens
from v2meow_jax.models import layers
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.readings import input_attention
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow

NEAR, FAR, STYLE = planted_stage.NEAR, planted_stage.FAR, planted_stage.STYLE
TARGET = planted_stage.TARGET
MELODY = dataclasses.replace(TARGET, name='melody')


def attention(model, params, batch):
  function = functools.partial(input_attention.input_attention, model)
  found = jax.jit(function)(params, batch)
  return {name: np.asarray(x) for name, x in found.items()}


def planted_batch(model, codes, **inputs):
  ids = tokens.IdSpace(model.spec).codes_to_ids(
    np.array(codes)[None, :, None], TARGET
  )
  batch = model.example_inputs(1)
  for name, value in inputs.items():
    batch[f'encoder_inputs_{name}'][0] = value
  return model.forced_batch(batch, ids)


def test_cross_attention_is_found_at_its_stream_and_frame():
  model, params = planted_stage.encoder_decoder(NEAR, FAR, STYLE)
  near = np.zeros((8, 2))
  near[5, 0] = planted_stage.MARK
  far = np.zeros((4, 2))
  far[2, 1] = planted_stage.MARK
  codes = [0] * 6 + [1] * 10
  found = attention(
    model, params, planted_batch(model, codes, near=near, far=far)
  )
  # A position reads the code before it: those from 7 on read a 1.
  for name, length, place, rows in (
    ('near', 8, 5, np.arange(16) < 7),
    ('far', 4, 2, np.arange(16) >= 7),
    ('style', 1, None, None),
  ):
    wanted = np.zeros((16, length))
    if place is not None:
      wanted[rows, place] = 1
    assert found[name].shape == (1, 1, 16, length)
    np.testing.assert_allclose(found[name][0, 0], wanted, atol=1e-6)


def test_attention_of_a_decoder_alone_is_found_in_its_prefix():
  model, params = planted_stage.decoder_only(MELODY)
  melody = np.zeros((16, 1), int)
  melody[11] = planted_stage.MARKED_CODE
  ids = tokens.IdSpace(model.spec).codes_to_ids(melody, MELODY)
  found = attention(model, params, planted_batch(model, [0] * 16, melody=ids))
  wanted = np.zeros((16, 16))
  wanted[:, 11] = 1
  np.testing.assert_allclose(found['melody'][0, 0], wanted, atol=1e-6)


@pytest.mark.slow
def test_rows_of_all_inputs_sum_to_1():
  model, params = tiny_transformer.make()
  found = attention(model, params, tiny_transformer.random_batch(model))
  assert {k: x.shape for k, x in found.items()} == {
    'melody': (2, 2, 30, 10),
    'picture': (2, 2, 30, 4),
    'style': (2, 2, 30, 1),
  }
  rows = sum(x.sum(-1) for x in found.values())
  np.testing.assert_allclose(rows, 1, atol=1e-5)


@pytest.mark.slow
def test_loops_and_kernels_change_nothing():
  model, params = tiny_transformer.make()
  batch = tiny_transformer.random_batch(model)
  other, _ = tiny_transformer.make(
    config=dataclasses.replace(
      model.network, scan_layers=True, remat=True, fused_attention=True
    )
  )
  plain = attention(model, params, batch)
  stacked = attention(other, layer_stacking.stack(params), batch)
  for name, weights in plain.items():
    assert weights.std() > 1e-3
    np.testing.assert_allclose(stacked[name], weights, atol=1e-6)


def test_what_is_not_collected_costs_nothing(monkeypatch):
  model, params = planted_stage.encoder_decoder(NEAR, FAR, STYLE)
  batch = model.example_batch(2)

  def program():
    # A new function, since traces are cached.
    def loss(params, batch, rng):
      return model.train_loss(params, {}, batch, rng)[0]

    step = jax.jit(jax.value_and_grad(loss))
    return step.lower(params, batch, jax.random.key(0)).as_text()

  with_sow = program()
  monkeypatch.setattr(layers.Attention, 'sow', lambda *args: None)
  assert program() == with_sow


@pytest.mark.slow
@tiny_transformer.BOTH_KINDS
def test_a_forced_batch_reads_what_sampling_read(spec, config):
  model, params = tiny_transformer.make(spec, config)
  inputs = model.example_inputs(2)
  given = tiny_transformer.random_batch(
    tiny_transformer.make()[0], batch_size=2
  )
  for name in inputs:
    offset = tokens.IdSpace(tiny_transformer.MIXED).offset(
      tiny_transformer.MELODY
    )
    inputs[name] = given[name] + (
      tokens.IdSpace(spec).offset(tiny_transformer.MELODY) - offset
      if name == 'encoder_inputs_melody'
      else 0
    )
  keys = jax.random.split(jax.random.key(0), 2)
  ids = model.sample_batch(
    params, inputs, keys, options.Sampling(temperature=0.0)
  )
  logits = jax.jit(model.code_logits)(params, model.forced_batch(inputs, ids))
  codes = tokens.IdSpace(spec).ids_to_codes(np.asarray(ids), spec.target)
  likeliest = np.asarray(logits).argmax(-1).reshape(codes.shape)
  np.testing.assert_array_equal(likeliest, codes)
