"""How a batch of a stage is laid out; data makes it by the layout's name.

'encoder-decoder': every input stands apart as `encoder_inputs_<stream>`, and
the decoder reads and writes the ids of the target. 'prefix': token inputs stand
before the target's ids instead. 'parallel': as the first, but what is read of
the target is not shifted: a network that fills in masked ids. 'frames': as the
first, but the target is continuous, `decoder_target_frames`. 'delay': batches
of the first, of which a step of the decoder writes one id of each level, level k
a step after level k - 1. Streams that only an objective reads are
`guide_<stream>` in each of them.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs

ENCODER_DECODER, PREFIX = 'encoder-decoder', 'prefix'
PARALLEL, FRAMES, DELAY = 'parallel', 'frames', 'delay'
GUIDE = 'guide_'  # Prefix of what only an objective reads.


def _prefix(layout: str, spec: specs.StageSpec) -> tuple[specs.TokenSpec, ...]:
  """Streams that stand before the target."""
  return spec.token_inputs if layout == PREFIX else ()


def _encoded(layout: str, spec: specs.StageSpec) -> tuple[specs.Stream, ...]:
  """Streams that stand apart."""
  return spec.feature_inputs if layout == PREFIX else spec.inputs


def decoder_length(layout: str, spec: specs.StageSpec) -> int:
  """Ids or frames that the decoder reads in one crop."""
  lengths = spec.feature_lengths()
  return sum(lengths[s.name] for s in (*_prefix(layout, spec), spec.target))


def decoder_positions(layout: str, spec: specs.StageSpec) -> int:
  """Positions of the decoder in one crop: ids, or whole frames at once."""
  if layout in (PARALLEL, DELAY):
    frames = spec.target.num_frames(spec.crop_seconds)
    behind = spec.target.num_codebooks - 1 if layout == DELAY else 0
    return frames + behind
  return decoder_length(layout, spec)


def delay(frames: jax.Array, fill: int) -> jax.Array:
  """What each step writes of some frames: level k of frame t at step t + k.

  >>> delay(jnp.array([[[1, 2], [3, 4]]]), 0).tolist()
  [[[1, 0], [3, 2], [0, 4]]]

  Args:
    frames: [b, frames, levels].
    fill: Number for the corners, where a level has not begun or has ended.

  Returns:
    [b, frames + levels - 1, levels].
  """
  levels = frames.shape[2]
  columns = [
    jnp.pad(
      frames[:, :, k], ((0, 0), (k, levels - 1 - k)), constant_values=fill
    )
    for k in range(levels)
  ]
  return jnp.stack(columns, 2)


def undelay(steps: jax.Array) -> jax.Array:
  """The inverse of `delay`: [b, steps, levels, ...] -> [b, frames, levels, ...]."""
  levels = steps.shape[2]
  length = steps.shape[1] - levels + 1
  return jnp.stack([steps[:, k : k + length, k] for k in range(levels)], 2)


def example_streams(
  spec: specs.StageSpec, streams: tuple[specs.Stream, ...], batch_size: int
) -> dict[str, np.ndarray]:
  """Zeros of the shape and type of each 'encoder_inputs_<stream>'."""
  return {
    f'encoder_inputs_{s.name}': _zeros(spec, s, batch_size) for s in streams
  }


def example_batch(
  layout: str, spec: specs.StageSpec, batch_size: int
) -> dict[str, np.ndarray]:
  """Zeros of the shape and type of a training batch."""
  inputs = example_streams(spec, _encoded(layout, spec), batch_size)
  for s in spec.guides:
    inputs[f'{GUIDE}{s.name}'] = _zeros(spec, s, batch_size)
  shape = (batch_size, decoder_length(layout, spec))
  weights = {'decoder_loss_weights': np.zeros(shape, np.float32)}
  if layout == FRAMES:
    frames = _zeros(spec, spec.target, batch_size)
    return {**inputs, 'decoder_target_frames': frames, **weights}
  ids = {
    name: np.zeros(shape, np.int32)
    for name in ('decoder_input_tokens', 'decoder_target_tokens')
  }
  return {**inputs, **ids, **weights}


def _zeros(spec: specs.StageSpec, stream: specs.Stream, batch_size: int):
  shape = (batch_size, spec.feature_lengths()[stream.name])
  if isinstance(stream, specs.TokenSpec):
    return np.zeros(shape, np.int32)
  return np.zeros((*shape, *stream.frame_shape), np.float32)


def prompt(
  layout: str, spec: specs.StageSpec, inputs: Mapping[str, Any]
) -> jax.Array | None:
  """int32[b, p] of ids that the decoder reads before the target, or None."""
  streams = _prefix(layout, spec)
  if not streams:
    return None
  ids = [jnp.asarray(inputs[f'encoder_inputs_{s.name}']) for s in streams]
  return jnp.concatenate(ids, 1)


def inputs_of(
  layout: str, spec: specs.StageSpec, batch: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
  """'encoder_inputs_<stream>' of every input, out of a training batch."""
  inputs = {
    name: batch[name]
    for name in (f'encoder_inputs_{s.name}' for s in _encoded(layout, spec))
  }
  start = 0
  for s in _prefix(layout, spec):
    end = start + s.length(spec.crop_seconds)
    ids = batch['decoder_target_tokens'][:, start:end]
    inputs[f'encoder_inputs_{s.name}'] = ids
    start = end
  return inputs
