"""Attention of a stage to its inputs, laid out by stream."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.models import batch_layouts
from v2meow_jax.models import stage_model
from v2meow_jax.models.adaptors import positions
from v2meow_jax.models.blocks import layer_stacking


def input_attention(
  model: stage_model.StageModel,
  params: stage_model.Params,
  batch: stage_model.Batch,
) -> dict[str, jax.Array]:
  """How much each target id attends to each place of the inputs.

  Means over the heads of the decoder's cross-attention or, without an encoder,
  of its attention to the ids before the target; there the rest of 1 is
  attention to the target's own past and to the id that begins it all.

  Of a vector that stands for several frames, each of these has its share.

  The layers run one after the other and without a fused kernel, whatever the
  config says, because loops and kernels do not give weights. The batch is like
  that of `StageModel.forced_batch`.

  Returns:
    By stream float32[layers, b, target length, length of the stream].
  """
  network = dataclasses.replace(
    model.network, scan_layers=False, remat=False, fused_attention=False
  )
  module = network.module(model.spec)
  _, sown = module.apply(
    {'params': layer_stacking.unstack(params)},
    model.standardised(batch),
    mutable=['intermediates'],
  )
  if model.layout == batch_layouts.DELAY:
    return _of_delayed(model, sown['intermediates'])
  layers = [
    _on_inputs(model, sown['intermediates'][f'decoder_{i}']).mean(1)
    for i in range(model.network.num_decoder_layers)
  ]
  # The token inputs first, as in `positions.EncoderLayout.order`.
  streams = (*model.spec.token_inputs, *model.spec.feature_inputs)
  ends = np.cumsum([s.length(model.spec.crop_seconds) for s in streams])
  parts = jnp.split(jnp.stack(layers), ends[:-1], -1)
  return {s.name: part for s, part in zip(streams, parts, strict=True)}


def _of_delayed(
  model: stage_model.StageModel, sown: Mapping[str, Any]
) -> dict[str, jax.Array]:
  """As `input_attention`, of a `delayed_network.DelayedDecoder`."""
  network, spec = model.network, model.spec
  layers = [
    sown[f'decoder_{i}']['cross_attention']['weights'][0].mean(1)
    for i in range(network.num_decoder_layers)
  ]
  stacked = jnp.stack(layers)  # [layers, b, steps, vectors]
  repeated = jnp.repeat(stacked[..., None, :], spec.target.num_codebooks, 3)
  places = jnp.stack([batch_layouts.undelay(x) for x in repeated])
  # [layers, b, frames, levels, vectors] -> [layers, b, target length, vectors]
  places = places.reshape(*places.shape[:2], -1, places.shape[-1])
  shares = {s.name: network.shares(s, spec) for s in spec.feature_inputs}
  ends = np.cumsum([len(share) for share in shares.values()])
  parts = jnp.split(places, ends[:-1], -1)
  return {
    name: part @ jnp.asarray(share, jnp.float32)
    for (name, share), part in zip(shares.items(), parts, strict=True)
  }


def _on_inputs(
  model: stage_model.StageModel, layer: Mapping[str, Any]
) -> jax.Array:
  """float32[b, heads, target length, entries of the streams end to end]."""
  if model.network.num_encoder_layers:
    (weights,) = layer['cross_attention']['weights']
    return weights[..., np.argsort(positions.encoder_layout(model.spec).order)]
  (weights,) = layer['attention']['weights']
  # Position 0 reads the padding id, position i the id i - 1.
  num_inputs = model.decoder_length - model.target_length
  return weights[..., num_inputs:, 1 : 1 + num_inputs]
