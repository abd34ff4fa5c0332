"""Counts the FLOPs of a training step in its traced program.

Counts as PaLM does for utilisation (Chowdhery et al. 2022, appendix B,
https://arxiv.org/abs/2204.02311): matrix products only, a multiplication and an
addition are two, attention covers the whole square although a decoder masks
half of it, and training costs three forward passes. Rematerialisation does not
count: it is work, not progress.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import math
from typing import Any

import flax.linen as nn
import jax
from jax.extend import core

from v2meow_jax.models import trainable


def train_flops(model: trainable.Trainable, batch: Mapping[str, Any]) -> int:
  """Counts FLOPs of a training step on a batch of arrays or shapes."""
  variables = dict(
    nn.unbox(jax.eval_shape(model.init, jax.random.key(0), batch))
  )
  params = variables.pop('params')

  def loss(params, extras, batch):
    return model.train_loss(params, extras, batch, None)[0]

  # Backward is twice forward.
  return round(3 * matmul_flops(loss, params, variables, batch))


def matmul_flops(fn: Callable[..., Any], *args: Any) -> float:
  """Counts FLOPs of matrix products and convolutions in a call of a function.

  Loops count as often as they run; a conditional counts its most costly branch,
  a `while` one iteration. The compiler does not change the number.

  Args:
    fn: Any traceable function.
    *args: Arguments of the function, arrays or shapes.
  """
  return _count(jax.make_jaxpr(fn)(*args).jaxpr)


def _count(jaxpr: core.Jaxpr) -> float:
  return float(sum(map(_count_one, jaxpr.eqns)))


def _count_one(eqn: Any) -> float:
  results = eqn.outvars[:1]  # None, of an equation that only has an effect.
  out = math.prod(getattr(results[0].aval, 'shape', ())) if results else 0
  if eqn.primitive.name == 'dot_general':
    (contracted, _), _ = eqn.params['dimension_numbers']
    if not contracted:  # A broadcast, written as an outer product.
      return 0.0
    shape = eqn.invars[0].aval.shape
    return 2.0 * out * math.prod(shape[axis] for axis in contracted)
  if eqn.primitive.name == 'conv_general_dilated':
    kernel = eqn.invars[1].aval.shape
    outputs = kernel[eqn.params['dimension_numbers'].rhs_spec[0]]
    return 2.0 * out * math.prod(kernel) / outputs
  if eqn.primitive.name.startswith('dot_product_attention_fwd'):
    # cuDNN's fused kernel: query and key are [b, length, heads, head_dim].
    query, key = (x.aval.shape for x in eqn.invars[:2])
    return 4.0 * math.prod(query) * key[1]
  inner = [_count(jaxpr) for jaxpr in _jaxprs(eqn.params.values())]
  if eqn.primitive.name == 'cond':
    return max(inner)
  return sum(inner) * eqn.params.get('length', 1)


def _jaxprs(values: Any) -> Iterator[core.Jaxpr]:
  for value in values:
    if isinstance(value, core.ClosedJaxpr):
      yield value.jaxpr
    elif isinstance(value, core.Jaxpr):
      yield value
    elif isinstance(value, (tuple, list)):
      yield from _jaxprs(value)
