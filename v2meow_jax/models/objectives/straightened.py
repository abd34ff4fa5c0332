"""Few steps: a flow that is straight from each window of its time to the next.

Piecewise rectified flow (Yan et al. 2024, https://arxiv.org/abs/2405.07510): the
time of the flow is cut into windows, a teacher walks through one from a point of
the path, with its guidance, and the student learns the straight line from there
to where the teacher arrived. A step of the student is then a whole window.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from v2meow_jax.models.objectives import flow_matching
from v2meow_jax.models.objectives import objective

# (frames, times) -> velocity of a teacher: float32[b, frames, dim], float32[b].
TeacherVelocity = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Straightened(flow_matching.FlowMatching):
  """Squared error of the velocity along the chords of a teacher's path.

  Attributes:
    num_windows: Number of windows of time, the fewest steps to take later.
    teacher_steps: Number of steps of the teacher in a window.
    guidance: Guidance of the teacher by the video, which the student then has
      in its own velocity; 1: none.
    start_share: Share of the times of a window that lie at its very beginning,
      which is all that a step a window asks about.
  """

  num_windows: int = 4
  teacher_steps: int = 4
  guidance: float = 1.0
  start_share: float = 0.5

  def __post_init__(self):
    super().__post_init__()
    for name in ('num_windows', 'teacher_steps'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name} is {getattr(self, name)}; wanted 1 or more.')
    if not 0 <= self.start_share < 1:
      raise ValueError(
        f'start_share is {self.start_share}; wanted 0 or more, and less than 1.'
      )

  def straightened(
    self, batch: objective.Batch, velocity: TeacherVelocity
  ) -> objective.Batch:
    """Moves a corrupted batch from the path onto chords of a teacher's.

    Args:
      batch: Batch of `corrupt`.
      velocity: Velocity of the teacher, guided.

    Returns:
      The batch, its points, times and velocities those of the chords.
    """
    times, pieces = batch['flow_times'], self.num_windows
    starts = jnp.minimum(jnp.floor(times * pieces), pieces - 1) / pieces
    share = (times - starts) * pieces - self.start_share
    share = jnp.maximum(share, 0.0) / (1 - self.start_share)
    known = batch['decoder_is_known'][..., None] > 0
    path = batch['flow_target']

    def moved(frames, amount, along):
      step = jnp.broadcast_to(amount, times.shape)[:, None, None] * along
      return frames + jnp.where(known, 0.0, step)

    first = moved(batch['decoder_input_frames'], starts - times, path)
    step = 1 / (pieces * self.teacher_steps)
    last = jax.lax.fori_loop(
      0,
      self.teacher_steps,
      lambda i, x: moved(x, step, velocity(x, starts + i * step)),
      first,
    )
    chord = jax.lax.stop_gradient(last - first) * pieces
    return {
      **batch,
      'decoder_input_frames': moved(first, share / pieces, chord),
      'flow_times': starts + share / pieces,
      'flow_target': chord,
    }
