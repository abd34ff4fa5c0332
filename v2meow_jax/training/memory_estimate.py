"""Estimates the memory of a training step from shapes, without compiling it.

Counts what autodiff keeps between the two passes. A compiler fuses some of it
away and adds buffers of its own: at full size its plan differs by a fifth or so,
of tiny widths by a lot.
"""

import dataclasses
import math
from typing import Any

from flax import linen as nn
import jax
import numpy as np

from v2meow_jax.models import stage_model
from v2meow_jax.models import transformer
from v2meow_jax.training import plan

# So many that what does not grow with them is lost in the division.
_ROWS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
  """Memory of one device in a step.

  Attributes:
    state_bytes: Size of its part of parameters and optimiser.
    gradient_bytes: Size of its part of gradients and their sum.
    row_bytes: Size of the activations of one row.
    rows: Rows that it computes at once.
  """

  state_bytes: int
  gradient_bytes: int
  row_bytes: int
  rows: int

  @property
  def total_bytes(self) -> int:
    """Sum of all of them."""
    return self.state_bytes + self.gradient_bytes + self.rows * self.row_bytes


def estimate(
  planned: plan.Plan,
  model: stage_model.StageModel,
  batch_size: int,
  num_microbatches: int = 1,
) -> MemoryEstimate:
  """Estimates a step of a stage; its mesh may be one of no devices.

  Args:
    planned: Plan of the run.
    model: Stage of the run.
    batch_size: Number of rows of all devices together.
    num_microbatches: Number of microbatches, computed one after another.
  """
  state = _shard_bytes(planned.shapes, planned.shardings)
  gradient = _shard_bytes(planned.shapes.params, planned.shardings.params)
  sizes = planned.shardings.step.mesh.shape
  # The devices of 'tensor' share rows, and keep the residual stream of each.
  ways = sizes['data'] * sizes['fsdp'] * num_microbatches
  return MemoryEstimate(
    state_bytes=state,
    gradient_bytes=gradient * (2 if num_microbatches > 1 else 1),
    row_bytes=row_bytes(model),
    rows=math.ceil(batch_size / ways),
  )


def row_bytes(model: stage_model.StageModel) -> int:
  """Counts the activations of one row when the gradient needs most of them.

  That is, with `remat`, either at the loss or inside of the costliest layer.
  One layer costs what a network with one more keeps more.
  """
  network = model.network
  if not isinstance(network, transformer.TransformerConfig):
    return _row_bytes_of_alike(model)
  encoder, decoder = network.num_encoder_layers, network.num_decoder_layers
  first, *each = _layers(model, network)
  kept = sum(n * size for n, size in zip((encoder, decoder), each, strict=True))
  inside = 0
  if network.remat:
    apart = dataclasses.replace(network, remat=False)
    inside = max(_layers(model, apart)[1:])
  return kept + max(first, inside)


def _row_bytes_of_alike(model: stage_model.StageModel) -> int:
  """As `row_bytes`, of a network whose layers are taken to cost the same."""
  network = model.network

  def kept(remat):
    apart = dataclasses.replace(network, remat=remat, scan_layers=False)
    return _kept_bytes(
      stage_model.StageModel(model.spec, apart, model.objective, model.sampler)
    )

  if not network.remat:
    return kept(False)
  inputs = kept(True)
  return inputs + (kept(False) - inputs) // network.num_layers


def _layers(
  model: stage_model.StageModel, network: transformer.TransformerConfig
) -> tuple[int, int, int]:
  """Bytes a row of what is no layer, of an encoder and of a decoder layer."""
  few = min(network.num_encoder_layers, 1)

  def kept(encoder, decoder):
    smaller = dataclasses.replace(
      network,
      num_encoder_layers=encoder,
      num_decoder_layers=decoder,
      scan_layers=False,
    )
    return _kept_bytes(
      stage_model.StageModel(
        model.spec, smaller, model.objective, model.sampler
      )
    )

  both = kept(few, 1)
  of_decoder = kept(few, 2) - both
  of_encoder = kept(2, 1) - both if few else 0
  return both - of_encoder - of_decoder, of_encoder, of_decoder


def _kept_bytes(model: stage_model.StageModel) -> int:
  """Bytes a row of what the backward pass takes over from the forward pass."""
  batch = {
    key: jax.ShapeDtypeStruct((_ROWS, *row.shape[1:]), row.dtype)
    for key, row in model.example_batch(1).items()
  }
  key = jax.eval_shape(lambda: jax.random.key(0))
  extras = dict(nn.unbox(jax.eval_shape(model.init, key, batch)))
  params = extras.pop('params')

  def backward(params, extras, batch, key):
    def loss(params):
      return model.train_loss(params, extras, batch, key)[0]

    return jax.vjp(loss, params)[1]

  kept = jax.eval_shape(backward, params, extras, batch, key)
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept)) // _ROWS


def _shard_bytes(shapes: Any, shardings: Any) -> int:
  """Size of one device's part of a tree."""
  parts = jax.tree.map(
    lambda x, split: math.prod(split.shard_shape(x.shape)) * x.dtype.itemsize,
    shapes,
    shardings,
  )
  return int(np.sum(jax.tree.leaves(parts)))
