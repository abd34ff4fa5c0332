"""Next-token prediction, and a contrast between what is seen and what is heard.

After VMAs (Lin et al. 2024, https://arxiv.org/abs/2409.07450); the paper's form,
temperature and weight are not public, so they are ours. A US patent application
covers such a joint loss for this task: see docs/weights.md.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax.models.objectives import alignment as alignment_lib
from v2meow_jax.models.objectives import next_token
from v2meow_jax.models.objectives import objective
from v2meow_jax.models.objectives import pair_losses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Joint:
  """Loss of the ids plus a weight times the loss of the pairs of a batch.

  The negatives of a row are the other rows of the batch on all devices; where
  gradients are accumulated, those of its microbatch, and the metric 'negatives'
  says how many they are. Rows whose video was left out are in no pair.

  Attributes:
    generation: Loss of the ids.
    weight: Weight of the loss of the pairs, >= 0.
    ramp_examples: Number of examples in which the weight rises from 0; 0: at
      once.
    form: Loss of the pairs, 'info_nce' or 'sigmoid', see `pair_losses`.
    alignment: Weights of the ids near coinciding accents, and a loss of onsets.
  """

  generation: next_token.NextToken = next_token.NextToken(legal=True)
  weight: float = 0.1
  ramp_examples: int = 0
  form: Literal['info_nce', 'sigmoid'] = 'info_nce'
  alignment: alignment_lib.Alignment = alignment_lib.Alignment()

  def __post_init__(self):
    if self.form not in ('info_nce', 'sigmoid'):
      raise ValueError(
        f"form is {self.form!r}; wanted 'info_nce' or 'sigmoid'."
      )
    if not self.weight >= 0 or self.ramp_examples < 0:
      raise ValueError(
        f'weight is {self.weight} and ramp_examples is {self.ramp_examples};'
        ' wanted 0 or more of each.'
      )

  @property
  def reads(self) -> tuple[str, ...]:
    """Logits of the ids, the embeddings of both kinds, and their scale."""
    pairs = ('video_embedding', 'music_embedding', 'pair_scale', 'pair_bias')
    return (*self.generation.reads, *pairs, *self.alignment.reads)

  @property
  def ramps(self) -> bool:
    """Whether the weight rises."""
    return self.ramp_examples > 0

  def corrupt(
    self, spec: specs.StageSpec, batch: objective.Batch, rng: jax.Array | None
  ) -> objective.Batch:
    """As `NextToken.corrupt`."""
    return self.generation.corrupt(spec, batch, rng)

  def __call__(
    self,
    spec: specs.StageSpec,
    outputs: objective.Outputs,
    batch: objective.Batch,
  ) -> objective.Losses:
    """Losses of the ids, each with a share of its row's loss of the pair.

    Args:
      spec: Streams of the stage.
      outputs: Outputs that `reads` names.
      batch: Batch with 'decoder_*' and the inputs.

    Returns:
      Values of which the mean over a batch is the mean of both losses; metrics
      of `NextToken` and, over the rows in pairs, 'pair_loss', 'video_to_music'
      and 'music_to_video' (share of the rows that find their own), 'negatives'
      and 'pair_scale'.
    """
    generated = self.generation(spec, outputs, batch)
    paired = _paired(spec, batch)
    video, music = outputs['video_embedding'], outputs['music_embedding']
    split = pair_losses.row_split(len(video))
    scaled = video * outputs['pair_scale']
    if self.form == 'info_nce':
      rows = pair_losses.info_nce_rows(scaled, music, paired, split)
    else:
      bias = outputs['pair_bias']
      rows = pair_losses.sigmoid_rows(scaled, music, bias, paired, split)
    nearest = pair_losses.is_nearest
    ones = jnp.ones_like(rows)
    metrics = {
      'pair_loss': (rows, paired),
      'video_to_music': (nearest(scaled, music, paired, split), paired),
      'music_to_video': (nearest(music, scaled, paired, split), paired),
      'negatives': (ones * jnp.maximum(paired.sum() - 1, 0), ones),
      'pair_scale': (ones * outputs['pair_scale'], ones),
    }
    values = generated.values
    if self.alignment.accent_weight:
      values = values * self.alignment.id_weights(spec, batch)
    values = values + self._weight(batch) * rows[:, None]
    if self.alignment.onset_weight:
      onsets = paired * self.alignment.onset_losses(spec, outputs, batch)
      values = values + self.alignment.onset_weight * onsets[:, None]
      metrics['onset_loss'] = (onsets, paired)
    metrics |= generated.metrics
    return generated._replace(values=values, metrics=metrics)

  def _weight(self, batch: objective.Batch) -> float | jax.Array:
    if not self.ramps or objective.EXAMPLES_SEEN not in batch:
      return self.weight
    seen = batch[objective.EXAMPLES_SEEN].astype(jnp.float32)
    return self.weight * jnp.minimum(seen / self.ramp_examples, 1.0)


def _paired(spec: specs.StageSpec, batch: objective.Batch) -> jax.Array:
  """float32[b], 1 for rows that have a target and something to see."""
  there = (batch['decoder_loss_weights'] > 0).any(1)
  seen = jnp.zeros_like(there)
  for s in spec.moving_inputs:
    x = batch[f'encoder_inputs_{s.name}']
    seen |= (x != 0).any(tuple(range(1, x.ndim)))
  return (there & seen).astype(jnp.float32)
