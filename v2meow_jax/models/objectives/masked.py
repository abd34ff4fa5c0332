"""Masked prediction: the objective of stages that write in parallel."""

import dataclasses

import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models.objectives import losses
from v2meow_jax.models.objectives import objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedPrediction:
  """Cross-entropy of hidden codes of one level, given the coarser levels.

  As SoundStorm (https://arxiv.org/abs/2305.09636, section 3.2): a level and a
  share of its frames are drawn for each example; these and all finer levels are
  hidden, but for a beginning that is known whole.

  Attributes:
    z_loss: Weight of log(Z)^2, which keeps logits from drifting.
    prompt_rate: Share of the examples whose beginning is known, up to a frame
      drawn uniformly.
  """

  z_loss: float = 1e-4
  prompt_rate: float = 1.0

  @property
  def reads(self) -> tuple[str, ...]:
    """Logits of the ids that may stand at each place, by code."""
    return ('code_logits',)

  @property
  def ramps(self) -> bool:
    """No."""
    return False

  def corrupt(
    self, spec: specs.StageSpec, batch: objective.Batch, rng: jax.Array | None
  ) -> objective.Batch:
    """Hides codes; only those of the drawn level count in the loss.

    A row counts by its length, however much of it is hidden, so that the mean
    over a batch is that over its parts.

    In evaluation a row's key is made of its ids, so that its loss depends on
    the row alone.
    """
    num_levels = spec.target.num_codebooks
    ids = batch['decoder_target_tokens']
    frames = ids.reshape(len(ids), -1, num_levels)
    if rng is None:
      mixed = ids.astype(jnp.uint32) * (jnp.arange(ids.shape[1]) * 2 + 1)
      sums = mixed.sum(1, dtype=jnp.uint32)
      rngs = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), sums)
    else:
      rngs = jax.random.split(jax.random.fold_in(rng, 1), len(ids))
    known, asked = jax.vmap(self._draw, (0, None, None))(
      rngs, frames.shape[1], num_levels
    )
    read = jnp.where(known, frames, specs.MASK_ID).reshape(ids.shape)
    given = batch['decoder_loss_weights']
    weights = given * asked.reshape(ids.shape)
    counts = weights.sum(1, keepdims=True)
    share = given.sum(1, keepdims=True) / jnp.where(counts > 0, counts, 1.0)
    return {
      **batch,
      'decoder_input_tokens': read,
      'decoder_loss_weights': weights * share,
    }

  def _draw(self, rng, num_frames: int, num_levels: int):
    """bool[frames, levels] of one example: what is known, what is asked for."""
    which, share, begin, use, order = jax.random.split(rng, 5)
    level = jax.random.randint(which, (), 0, num_levels)
    first = jax.random.randint(begin, (), 0, num_frames)
    prompted = jax.random.bernoulli(use, self.prompt_rate)
    after = jnp.arange(num_frames) >= jnp.where(prompted, first, 0)
    hidden_share = jnp.cos(jax.random.uniform(share) * jnp.pi / 2)
    scores = jnp.where(after, jax.random.uniform(order, (num_frames,)), 2.0)
    # At least one frame is asked for.
    hidden = after & ((scores < hidden_share) | (scores == scores.min()))
    levels = jnp.arange(num_levels)
    asked = hidden[:, None] & (levels == level)
    unknown = asked | (after[:, None] & (levels > level))
    return ~unknown, asked.astype(jnp.float32)

  def __call__(
    self,
    spec: specs.StageSpec,
    outputs: objective.Outputs,
    batch: objective.Batch,
  ) -> objective.Losses:
    """Losses of the hidden codes of the level that was drawn.

    Args:
      spec: Streams of the stage.
      outputs: 'code_logits' of the corrupted batch.
      batch: Corrupted batch.

    Returns:
      Cross-entropy plus z-loss per code; 'loss' (cross-entropy only) and
      'accuracy', of all levels as they are drawn.
    """
    ids = batch['decoder_target_tokens']
    weights = batch['decoder_loss_weights'].astype(jnp.float32)
    offsets = tokens.IdSpace(spec).level_offsets(spec.target)
    targets = ids - jnp.tile(offsets, ids.shape[1] // len(offsets))
    logits = outputs['code_logits']
    loss, z = losses.cross_entropy(logits, targets)
    correct = (logits.argmax(-1) == targets).astype(jnp.float32)
    return objective.Losses(
      loss + self.z_loss * z,
      weights,
      {'loss': (loss, weights), 'accuracy': (correct, weights)},
    )
