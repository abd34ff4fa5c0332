"""A stage of a flow that learns from another to take few steps, unguided."""

from typing import Any

import jax
import jax.numpy as jnp

from v2meow_jax.models import stage_model
from v2meow_jax.models.objectives import objective as objective_lib
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

# The collection of the parameters that are learnt from, and stay as they are.
TEACHER = 'teacher'


class DistilledStageModel(stage_model.StageModel):
  """Trains by `straightened.Straightened`; released, it is a `StageModel`.

  Its teacher is a network of the same sizes, whose parameters are among the
  variables of a run and come with its warm start, as the student's own do.
  """

  def init(
    self, rng: jax.Array, batch: stage_model.Batch
  ) -> dict[str, stage_model.Params]:
    """{'params': ..., 'teacher': ...}, boxed; see `StageModel.init`."""
    variables = super().init(rng, batch)
    copies = jax.tree.map(jnp.copy, variables['params'])
    return {**variables, TEACHER: copies}

  def corrupted(
    self,
    batch: stage_model.Batch,
    rng: jax.Array | None,
    extras: dict[str, Any] | None,
  ) -> stage_model.Batch:
    """On chords of the teacher's path; without `extras` on the path itself."""
    batch = super().corrupted(batch, rng, extras)
    if extras is None:
      return batch
    return self._straightened(extras[TEACHER], batch)

  def _straightened(
    self, teacher: stage_model.Params, batch: objective_lib.Batch
  ) -> objective_lib.Batch:
    """The batch on chords of the teacher's path, which is guided."""
    module, variables = self.module, {'params': teacher}
    sampling = options.Sampling(video_guidance=self.objective.guidance)
    inputs, weights = guidance.branches(
      self.spec,
      self.standardised(self.inputs_of(batch)),
      guidance.active(sampling, self.spec),
    )
    frames = batch['decoder_input_frames'].shape[1]
    condition = module.apply(variables, inputs, frames, method='condition')
    known, lengths = (
      guidance.repeat(batch[name], weights)
      for name in ('decoder_is_known', 'decoder_lengths')
    )

    def velocity(x, times):
      v = module.apply(
        variables,
        condition,
        guidance.repeat(x, weights),
        known,
        guidance.repeat(times, weights),
        lengths,
        method='velocity',
      )
      return guidance.combine(v, weights)

    return self.objective.straightened(batch, velocity)
