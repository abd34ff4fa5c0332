"""Flow matching: the objective of stages that write continuous frames."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax.models.objectives import flow_schedule
from v2meow_jax.models.objectives import objective

_SHARES = (
  'prefix_rate',
  'max_prefix_share',
  'blind_rate',
  'short_rate',
  'min_length_share',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowMatching:
  """Squared error of the velocity from noise to the frames of the target.

  A beginning of the target may be known, so that a model goes on from it: from
  the window before, or from music whose style it is to take up. Rows may be cut
  short, so that a model knows lengths up to its crop.

  Attributes:
    schedule: Path, times and weights.
    prefix_rate: Share of the examples whose beginning is known.
    max_prefix_share: Longest beginning, as a share of the crop; the length is
      uniform up to it.
    blind_rate: Share of the known beginnings during which the video is not
      seen, as with a prompt of music that goes with no picture.
    short_rate: Share of the examples that are cut to a random length.
    min_length_share: Shortest length, as a share of the crop.
  """

  schedule: flow_schedule.FlowSchedule = flow_schedule.FlowSchedule()
  prefix_rate: float = 0.5
  max_prefix_share: float = 0.5
  blind_rate: float = 0.5
  short_rate: float = 0.0
  min_length_share: float = 0.25

  def __post_init__(self):
    for name in _SHARES:
      value = getattr(self, name)
      if not 0 <= value <= 1:
        raise ValueError(f'{name} is {value}; wanted a share in [0, 1].')
    if self.max_prefix_share >= 1:
      raise ValueError('max_prefix_share is 1; wanted less, to leave a target.')

  @property
  def reads(self) -> tuple[str, ...]:
    """The velocity of each frame."""
    return ('velocity',)

  @property
  def ramps(self) -> bool:
    """No."""
    return False

  def corrupt(
    self, spec: specs.StageSpec, batch: objective.Batch, rng: jax.Array | None
  ) -> objective.Batch:
    """Mixes noise into the target, all but a beginning that may be known.

    In evaluation a row's key is made of its target, so that its noise and its
    time depend on the row alone; nothing is known and nothing cut.

    Args:
      spec: Streams of the stage.
      batch: Batch with 'decoder_target_frames' and 'decoder_loss_weights';
        'decoder_prefix_rates' float32[b], where it is there, takes the place of
        `prefix_rate`.
      rng: Key of the draws; None to evaluate.

    Returns:
      The batch with 'decoder_input_frames' float32[b, frames, dim], the known
      ones clean; 'decoder_is_known' float32[b, frames]; 'decoder_lengths'
      int32[b]; 'flow_times' float32[b]; and 'flow_target' float32[b, frames,
      dim], the velocity.
    """
    data = batch['decoder_target_frames'].astype(jnp.float32)
    given = batch['decoder_loss_weights'].astype(jnp.float32)
    rows, frames = given.shape
    if rng is None:
      rngs = jax.vmap(_row_key)(data)
      known = jnp.zeros((rows, frames), bool)
      lengths = jnp.full(rows, frames)
    else:
      rngs = jax.random.split(jax.random.fold_in(rng, 1), rows)
      rates = batch.get('decoder_prefix_rates')
      if rates is None:
        rates = jnp.full(rows, self.prefix_rate)
      draw = jax.vmap(self._draw, (0, 0, None))
      known, blind, lengths = draw(rngs, rates, frames)
      batch = _blinded(spec, batch, known.sum(1), blind)
    there = (given > 0) & (jnp.arange(frames) < lengths[:, None])
    times = jax.vmap(self.schedule.draw_times)(_folded(rngs, 2))
    noise = jax.vmap(lambda r: jax.random.normal(r, data.shape[1:]))(
      _folded(rngs, 3)
    )
    mixed = self.schedule.point(noise, data, times[:, None, None])
    weights = given * (there & ~known)
    counts = weights.sum(1, keepdims=True)
    # A row counts by its length, however much of it is asked for.
    share = given.sum(1, keepdims=True) / jnp.where(counts > 0, counts, 1.0)
    return {
      **batch,
      'decoder_input_frames': jnp.where(known[..., None], data, mixed),
      'decoder_is_known': known.astype(jnp.float32),
      'decoder_lengths': there.sum(1).astype(jnp.int32),
      'decoder_loss_weights': weights * share,
      'flow_times': times,
      'flow_target': self.schedule.target(noise, data),
    }

  def _draw(self, rng, prefix_rate: jax.Array, num_frames: int):
    """Known frames, whether they are blind, and the length of one example."""
    use, size, blind, cut, length = jax.random.split(rng, 5)
    longest = round(self.max_prefix_share * num_frames)
    prefix = jax.random.randint(size, (), 0, longest + 1)
    prefixed = jax.random.bernoulli(use, prefix_rate)
    prefix = jnp.where(prefixed, prefix, 0)
    # A known beginning leaves something to write.
    least = max(1, round(self.min_length_share * num_frames))
    short = jax.random.randint(length, (), least, num_frames + 1)
    short = jnp.maximum(short, jnp.minimum(prefix + 1, num_frames))
    is_short = jax.random.bernoulli(cut, self.short_rate)
    return (
      jnp.arange(num_frames) < prefix,
      jax.random.bernoulli(blind, self.blind_rate),
      jnp.where(is_short, short, num_frames),
    )

  def __call__(
    self,
    spec: specs.StageSpec,
    outputs: objective.Outputs,
    batch: objective.Batch,
  ) -> objective.Losses:
    """Losses of the frames that are asked for.

    Args:
      spec: Streams of the stage.
      outputs: 'velocity' float[b, frames, dim] of the corrupted batch.
      batch: Corrupted batch.

    Returns:
      Weighted mean squared error of each frame; 'loss', the error of the
      velocity without the weight of its time.
    """
    del spec  # The frames say it all.
    weights = batch['decoder_loss_weights']
    error = outputs['velocity'].astype(jnp.float32) - batch['flow_target']
    loss = jnp.mean(error**2, -1)
    scale = self.schedule.weight(batch['flow_times'])[:, None]
    return objective.Losses(loss * scale, weights, {'loss': (loss, weights)})


def _row_key(frames: jax.Array) -> jax.Array:
  """A key that is made of the bits of float32[frames, dim]."""
  bits = jax.lax.bitcast_convert_type(frames, jnp.uint32)
  places = jnp.arange(bits.size, dtype=jnp.uint32).reshape(bits.shape)
  mixed = (bits * (2 * places + 1)).sum(dtype=jnp.uint32)
  return jax.random.fold_in(jax.random.key(0), mixed)


def _folded(rngs: jax.Array, number: int) -> jax.Array:
  return jax.vmap(jax.random.fold_in, (0, None))(rngs, number)


def _blinded(
  spec: specs.StageSpec,
  batch: objective.Batch,
  prefix_frames: jax.Array,
  blind: jax.Array,
) -> objective.Batch:
  """A batch without what is seen during the known beginnings of blind rows.

  Args:
    spec: Streams of the stage.
    batch: Batch of the stage.
    prefix_frames: int32[b], known frames of the target.
    blind: bool[b].

  Returns:
    The batch; frames of continuous inputs that lie in the beginning are zeros,
    as those of a stream that was left out.
  """
  target = typing.cast(specs.FeatureSpec, spec.target)
  ends = jnp.where(blind, prefix_frames, 0) / target.rate_hz
  changed = dict(batch)
  for s in spec.moving_inputs:
    key = f'encoder_inputs_{s.name}'
    x = batch[key]
    middles = (np.arange(x.shape[1]) + 0.5) / s.rate_hz
    hidden = middles < ends[:, None]
    hidden = hidden.reshape(*hidden.shape, *(1,) * (x.ndim - 2))
    changed[key] = jnp.where(hidden, 0.0, x)
  return changed
