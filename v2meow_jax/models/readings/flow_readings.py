"""What a stage that follows a flow looks at, and how it would move otherwise."""

import dataclasses
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp

from v2meow_jax.models import stage_model
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.objectives import flow_schedule

# Where along the path a velocity is asked for: what is coarse in music is
# settled first, what is fine last.
TIMES = (0.25, 0.5, 0.75)


def gates(
  model: stage_model.StageModel,
  params: stage_model.Params,
  inputs: stage_model.Batch,
) -> dict[str, jax.Array]:
  """Weights of the patches of each frame in the adaptor; see `PatchAdaptor`.

  Args:
    model: Model whose network is a `dit.Dit`.
    params: Parameters of the network.
    inputs: 'encoder_inputs_<stream>' of every input, one whole crop.

  Returns:
    By stream float32[b, frames, patches]; without the streams of one patch, and
    those of which the class token alone is read.
  """
  module, variables, num_frames = _parts(model, params)
  _, sown = module.apply(
    variables,
    model.standardised(inputs),
    num_frames,
    method='condition',
    mutable=['intermediates'],
  )
  found = traverse_util.flatten_dict(dict(sown).get('intermediates', {}))
  by_adaptor = {
    path[0]: x[0] for path, x in found.items() if path[-1] == 'gates'
  }
  return {
    s.name: by_adaptor[f'adaptors_{s.name}']
    for s in model.spec.moving_inputs
    if f'adaptors_{s.name}' in by_adaptor
  }


def velocities(
  model: stage_model.StageModel,
  params: stage_model.Params,
  inputs: stage_model.Batch,
  target: jax.Array,
  is_known: jax.Array,
) -> jax.Array:
  """Velocities on the way to a target that was drawn, without guidance.

  The noise is always the same, so that two calls differ by their inputs alone.

  Args:
    model: Model whose network is a `dit.Dit`.
    params: Parameters of the network.
    inputs: 'encoder_inputs_<stream>' of every input, one whole crop.
    target: float[b, frames, dim], as the stage wrote it.
    is_known: bool[frames], frames that were known when it did.

  Returns:
    float32[times, b, frames, dim], one for each of `TIMES`, in deviations of
    the target.
  """
  module, variables, num_frames = _parts(model, params)
  inputs = model.standardised(inputs)
  target = model.scaled_target(target)
  schedule = flow_schedule.FlowSchedule()
  noise = jax.random.normal(jax.random.key(0), target.shape[1:])
  known = jnp.asarray(is_known)
  condition = module.apply(variables, inputs, num_frames, method='condition')

  def at(time):
    point = schedule.point(noise, target, time)
    return module.apply(
      variables,
      condition,
      jnp.where(known[:, None], target, point),
      jnp.broadcast_to(known.astype(jnp.float32), target.shape[:2]),
      jnp.full(len(target), time, jnp.float32),
      method='velocity',
    )

  return jax.vmap(at)(jnp.float32(TIMES))


def _parts(model: stage_model.StageModel, params: Any):
  """The network with layers apart, its variables, and frames of a crop."""
  network = dataclasses.replace(model.network, scan_layers=False)
  num_frames = model.spec.target.num_frames(model.spec.crop_seconds)
  variables = {'params': layer_stacking.unstack(params)}
  return network.module(model.spec), variables, num_frames
