"""Rules can only split axes that have a known name."""

import flax.linen as nn
import jax

from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax.models import logical_axes
from v2meow_jax.training import mesh


def test_every_axis_of_a_parameter_has_a_name_that_rules_know():
  model = token_stage.make(tiny_transformer.MIXED, tiny_transformer.EVERYTHING)
  boxed = jax.eval_shape(model.init, jax.random.key(0), model.example_batch(1))
  specs = jax.tree.leaves(
    nn.get_partition_spec(boxed),
    is_leaf=lambda x: isinstance(x, jax.sharding.PartitionSpec),
  )
  named = {axis for spec in specs for axis in spec if axis is not None}
  assert {logical_axes.EMBED, logical_axes.HEADS, logical_axes.MLP} <= named
  assert named <= set(logical_axes.NAMES)


def test_the_rules_are_of_axes_that_there_are():
  assert {name for name, _ in mesh.DEFAULT_RULES} <= set(logical_axes.NAMES)
