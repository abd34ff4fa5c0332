"""FLOPs from sizes are those of the products in the traced program."""

import dataclasses
import math

import jax
from jax.extend import core
import pytest

from tests.models import transformer_test
from v2meow_jax import specs
from v2meow_jax.models import sequence_model
from v2meow_jax.training import flops

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


def product_flops(jaxpr) -> int:
  """Of every dot_general in a program without loops."""
  total = 0
  for eqn in jaxpr.eqns:
    assert eqn.primitive.name not in ('scan', 'while')
    if eqn.primitive.name == 'dot_general':
      contracted, _ = eqn.params['dimension_numbers']
      shape = eqn.invars[0].aval.shape
      depth = math.prod(shape[axis] for axis in contracted[0])
      total += 2 * depth * math.prod(eqn.outvars[0].aval.shape)
    for value in eqn.params.values():
      if isinstance(value, core.ClosedJaxpr):
        total += product_flops(value.jaxpr)
      elif isinstance(value, core.Jaxpr):
        total += product_flops(value)
  return total


def traced(model, differentiate=False) -> int:
  batch = model.example_batch(1)
  params = jax.eval_shape(model.init, jax.random.key(0), batch)['params']

  def loss(p):
    return model.train_loss(p, {}, batch, None)[0]

  fn = jax.grad(loss) if differentiate else loss
  return product_flops(jax.make_jaxpr(fn)(params).jaxpr)


@pytest.mark.parametrize(
  ('kind', 'spec', 'config'),
  [
    ('EncoderDecoderModel', PICTURES, transformer_test.EVERYTHING),
    ('EncoderDecoderModel', transformer_test.MIXED, LEGAL),
    ('DecoderOnlyModel', transformer_test.TOKENS, transformer_test.DECODER_ONLY),
  ],
)  # fmt: skip
def test_forward_flops_are_those_of_the_program(kind, spec, config):
  model = getattr(sequence_model, kind)(spec, config)
  assert flops.forward_flops(model) == traced(model)


def test_training_takes_three_times_as_many():
  model = sequence_model.DecoderOnlyModel(
    transformer_test.TOKENS, transformer_test.DECODER_ONLY
  )
  assert flops.train_flops(model) == traced(model, differentiate=True)
