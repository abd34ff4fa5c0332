"""FLOPs from sizes are those of the products in the traced program."""

import dataclasses

import jax
import pytest

from tests.models import transformer_test
from v2meow_jax import specs
from v2meow_jax.models import sequence_model
from v2meow_jax.training import flops
from v2meow_jax.training import goodput

PICTURES = dataclasses.replace(
  transformer_test.MIXED,
  inputs=(
    *transformer_test.MIXED.inputs,
    specs.TokenSpec(
      name='cells', codebook_size=5, rate_hz=1.0, num_positions=9
    ),
  ),
)
LEGAL = dataclasses.replace(transformer_test.EVERYTHING, legal_loss=True)
SCANNED = dataclasses.replace(
  transformer_test.DECODER_ONLY, scan_layers=True, remat=True
)


def traced(model, differentiate=False) -> float:
  batch = model.example_batch(1)
  params = jax.eval_shape(model.init, jax.random.key(0), batch)['params']

  def loss(p):
    return model.train_loss(p, {}, batch, None)[0]

  fn = jax.grad(loss) if differentiate else loss
  return goodput.matmul_flops(fn, params)


@pytest.mark.parametrize(
  ('kind', 'spec', 'config'),
  [
    ('EncoderDecoderModel', PICTURES, transformer_test.EVERYTHING),
    ('EncoderDecoderModel', transformer_test.MIXED, LEGAL),
    ('DecoderOnlyModel', transformer_test.TOKENS, SCANNED),
  ],
)
def test_forward_flops_are_those_of_the_program(kind, spec, config):
  model = getattr(sequence_model, kind)(spec, config)
  assert flops.forward_flops(model) == traced(model)


def test_training_takes_three_times_as_many():
  model = sequence_model.DecoderOnlyModel(
    transformer_test.TOKENS, transformer_test.DECODER_ONLY
  )
  assert flops.train_flops(model) == traced(model, differentiate=True)
