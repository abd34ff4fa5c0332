"""Video-beat alignment: what counts more near coincidences, and what is predicted.

After VMAs (Lin et al. 2024, https://arxiv.org/abs/2409.07450), which matches
beats of the music with low-level motion and does not say how: the form is ours.
"""

import dataclasses

import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax.models import batch_layouts
from v2meow_jax.models.objectives import objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alignment:
  """Two parts of an objective, each off with a weight of 0.

  Attributes:
    accent_weight: Number by which the weight of an id grows where a strong
      onset of the music and a strong accent of the picture coincide.
    onset_weight: Weight of the loss of the onsets that the network predicts
      from what it sees.
    onsets: Name of the guide of the music's onsets, in [0, 1].
    accents: Name of the guide of the picture's accents, in [0, 1].
  """

  accent_weight: float = 0.0
  onset_weight: float = 0.0
  onsets: str = 'onsets'
  accents: str = 'accents'

  def __post_init__(self):
    if not (self.accent_weight >= 0 and self.onset_weight >= 0):
      raise ValueError(
        f'accent_weight is {self.accent_weight} and onset_weight is'
        f' {self.onset_weight}; wanted 0 or more of each.'
      )

  @property
  def reads(self) -> tuple[str, ...]:
    """Logits of the onsets, where these are predicted."""
    return ('onset_logits',) if self.onset_weight else ()

  def id_weights(
    self, spec: specs.StageSpec, batch: objective.Batch
  ) -> jax.Array:
    """Weights of the ids of a target, float32[b, length], of mean 1 in a row.

    An onset coincides with an accent of its own frame of the guide or of the
    one before or after: at 10 Hz, of up to 0.1 s beside it.
    """
    onsets = self._guide(spec, batch, self.onsets)
    accents = self._guide(spec, batch, self.accents)
    if onsets.shape != accents.shape:
      raise ValueError(
        f'the guides {self.onsets!r} and {self.accents!r} have'
        f' {onsets.shape[1]} and {accents.shape[1]} frames a crop; record both'
        ' at one rate.'
      )
    around = jnp.pad(accents, ((0, 0), (1, 1)))
    near = jnp.maximum(jnp.maximum(around[:, :-2], accents), around[:, 2:])
    weights = 1 + self.accent_weight * onsets * near
    frames = spec.target.num_frames(spec.crop_seconds)
    # The frame of the guide that holds the middle of each of the target.
    places = (2 * jnp.arange(frames) + 1) * onsets.shape[1] // (2 * frames)
    weights = jnp.repeat(weights[:, places], spec.target.num_codebooks, 1)
    return weights / weights.mean(1, keepdims=True)

  def onset_losses(
    self,
    spec: specs.StageSpec,
    outputs: objective.Outputs,
    batch: objective.Batch,
  ) -> jax.Array:
    """Cross-entropy of the strongest onset in each frame, float32[b].

    log(2) when the logits say nothing.
    """
    logits = outputs['onset_logits']
    onsets = self._guide(spec, batch, self.onsets)
    ratio, rest = divmod(onsets.shape[1], logits.shape[1])
    if rest or not ratio:
      raise ValueError(
        f'the guide {self.onsets!r} has {onsets.shape[1]} frames a crop, which'
        f' do not divide among the {logits.shape[1]} that are seen; record it at'
        ' a multiple of the rate of the patches.'
      )
    strongest = onsets.reshape(len(onsets), -1, ratio).max(2)
    return (jax.nn.softplus(logits) - strongest * logits).mean(1)

  def _guide(
    self, spec: specs.StageSpec, batch: objective.Batch, name: str
  ) -> jax.Array:
    key = f'{batch_layouts.GUIDE}{name}'
    if key not in batch:
      raise ValueError(
        f'stage {spec.name!r} has the guides {[s.name for s in spec.guides]},'
        f' and its objective reads {name!r}; add it, or set accent_weight and'
        ' onset_weight to 0.'
      )
    return jnp.asarray(batch[key], jnp.float32)[..., 0]
