"""What a traced function computes in which type."""

import jax
from jax.extend import core


def is_outer_product(equation):
  """Whether it sums nothing: a broadcast."""
  if equation.primitive.name != 'dot_general':
    return False
  (contracted, _), _ = equation.params['dimension_numbers']
  return not contracted


def operand_types(jaxpr):
  """Types of the first operand of each equation, by its primitive."""
  types = {}
  for equation in jaxpr.eqns:
    if equation.invars and not is_outer_product(equation):
      kind = equation.invars[0].aval.dtype
      types.setdefault(equation.primitive.name, []).append(kind)
    for inner in jax.tree.leaves(list(equation.params.values())):
      if isinstance(inner, core.ClosedJaxpr):
        for name, kinds in operand_types(inner.jaxpr).items():
          types.setdefault(name, []).extend(kinds)
  return types


def loop_lengths(jaxpr):
  """Number of turns of each outermost loop, in order."""
  lengths = []
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'scan':
      lengths.append(equation.params['length'])
      continue
    for inner in jax.tree.leaves(list(equation.params.values())):
      if isinstance(inner, core.ClosedJaxpr):
        lengths += loop_lengths(inner.jaxpr)
  return lengths
