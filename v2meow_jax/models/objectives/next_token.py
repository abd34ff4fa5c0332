"""Next-token prediction: the objective of autoregressive stages."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models.objectives import losses
from v2meow_jax.models.objectives import objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class NextToken:
  """Cross-entropy of each id of the target, given the true ids before it.

  Attributes:
    z_loss: Weight of log(Z)^2, which keeps logits from drifting.
    history_drop_rate: Share of the training examples whose decoder does not
      see all of the ids before: see `corrupt`.
    legal: Whether the softmax is over the ids that may stand at a position, as
      in sampling, and not over the whole vocabulary.
  """

  z_loss: float = 1e-4
  history_drop_rate: float = 0.0
  legal: bool = False

  @property
  def reads(self) -> tuple[str, ...]:
    """Logits of all ids, or of the legal ones by code."""
    return ('code_logits',) if self.legal else ('logits',)

  @property
  def ramps(self) -> bool:
    """No."""
    return False

  def corrupt(
    self, spec: specs.StageSpec, batch: objective.Batch, rng: jax.Array | None
  ) -> objective.Batch:
    """Word dropout (Bowman et al. 2016, https://arxiv.org/abs/1511.06349).

    A few ids of music tell its genre and its pulse better than any picture, so
    a model that always sees them learns its inputs from the first ids alone. In
    some examples each id is hidden with a probability drawn from [0, 1].
    """
    if rng is None or not self.history_drop_rate:
      return batch
    ids = batch['decoder_input_tokens']
    rows, length = ids.shape
    which, rates, draws = jax.random.split(jax.random.fold_in(rng, 1), 3)
    chosen = jax.random.bernoulli(which, self.history_drop_rate, (rows, 1))
    rate = chosen * jax.random.uniform(rates, (rows, 1))
    hidden = jax.random.uniform(draws, ids.shape) < rate
    # Position n reads the id before it: the first of a target has no history.
    history = np.arange(length) > length - _target_length(spec)
    shown = jnp.where(hidden & history, specs.PAD_ID, ids)
    return {**batch, 'decoder_input_tokens': shown}

  def __call__(
    self,
    spec: specs.StageSpec,
    outputs: objective.Outputs,
    batch: objective.Batch,
  ) -> objective.Losses:
    """Losses of the target's ids; ids that stand before it are not predicted.

    Args:
      spec: Streams of the stage.
      outputs: 'logits' or, of `legal` ones, 'code_logits'.
      batch: Batch with 'decoder_target_tokens' and 'decoder_loss_weights'.

    Returns:
      Cross-entropy plus z-loss per id; 'loss' (cross-entropy only), 'accuracy',
      and of several levels 'loss_level_<k>' and 'accuracy_level_<k>'.
    """
    length = _target_length(spec)
    targets = batch['decoder_target_tokens'][:, -length:]
    weights = batch['decoder_loss_weights'][:, -length:].astype(jnp.float32)
    (logits,) = (outputs[name] for name in self.reads)
    if self.legal:
      offsets = tokens.IdSpace(spec).level_offsets(spec.target)
      targets = targets - jnp.tile(offsets, length // len(offsets))
    loss, z = losses.cross_entropy(logits, targets)
    correct = (logits.argmax(-1) == targets).astype(jnp.float32)
    levels = spec.target.num_codebooks
    places = {'': slice(None)}
    if levels > 1:
      places |= {f'_level_{k}': slice(k, None, levels) for k in range(levels)}
    return objective.Losses(
      loss + self.z_loss * z,
      weights,
      {
        name + suffix: (values[:, ids], weights[:, ids])
        for suffix, ids in places.items()
        for name, values in (('loss', loss), ('accuracy', correct))
      },
    )


def _target_length(spec: specs.StageSpec) -> int:
  return spec.target.length(spec.crop_seconds)
