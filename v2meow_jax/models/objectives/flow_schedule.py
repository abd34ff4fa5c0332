"""Straight paths from noise to data: times, targets and weights of a flow.

Conditional flow matching with the linear path of Lipman et al. 2023
(https://arxiv.org/abs/2210.02747) and rectified flow (Liu et al. 2023,
https://arxiv.org/abs/2209.03003): at time 0 there is noise, at time 1 data.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float

TIMES = ('uniform', 'logit_normal')
WEIGHTINGS = ('velocity', 'data', 'noise')


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSchedule:
  """What training and sampling share about the path of a flow.

  Attributes:
    times: Density of the times to train at: 'uniform' in [0, 1], or
      'logit_normal', whose logit is normal, so that the middle of the path,
      where the velocity is hardest to tell, is seen more often (Esser et al.
      2024, https://arxiv.org/abs/2403.03206).
    location: Mean of the logit; above 0 prefers times near the data.
    scale: Deviation of the logit, > 0.
    weighting: Error to minimise: that of the 'velocity', or of the 'data' or
      the 'noise' that the velocity implies.
  """

  times: str = 'logit_normal'
  location: float = 0.0
  scale: float = 1.0
  weighting: str = 'velocity'

  def __post_init__(self):
    for name, known in (('times', TIMES), ('weighting', WEIGHTINGS)):
      value = getattr(self, name)
      if value not in known:
        raise ValueError(f'{name} is {value!r}; wanted one of {known}.')
    if not (math.isfinite(self.location) and math.isfinite(self.scale)):
      raise ValueError(
        f'location is {self.location} and scale {self.scale}; wanted finite'
        ' numbers.'
      )
    if self.scale <= 0:
      raise ValueError(f'scale is {self.scale}; wanted a number above 0.')

  def draw_times(
    self, rng: jax.Array, shape: tuple[int, ...] = ()
  ) -> Float[Array, '...']:
    """Draws times in [0, 1] to train at."""
    if self.times == 'uniform':
      return jax.random.uniform(rng, shape)
    logits = self.location + self.scale * jax.random.normal(rng, shape)
    return jax.nn.sigmoid(logits)

  def point(
    self,
    noise: Float[Array, '*b dim'],
    data: Float[Array, '*b dim'],
    time: Float[Array, '...'],
  ) -> Float[Array, '*b dim']:
    """The point of the path at a time, which broadcasts: noise at 0, data at 1."""
    return (1 - time) * noise + time * data

  def target(
    self, noise: Float[Array, '*b dim'], data: Float[Array, '*b dim']
  ) -> Float[Array, '*b dim']:
    """The velocity along the path, the same at all times."""
    return data - noise

  def weight(self, time: Float[Array, '...']) -> Float[Array, '...']:
    """The weight of a squared error of the velocity, by the time."""
    if self.weighting == 'data':
      return (1 - time) ** 2
    if self.weighting == 'noise':
      return time**2
    return jnp.ones_like(time)
