"""Networks that know the exact velocity of a flow to Gaussian data."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax.models import batch_layouts

LATENTS = specs.FeatureSpec(name='latents', dim=2, rate_hz=4.0)
VIDEO = specs.FeatureSpec(name='video', dim=1, rate_hz=2.0)
SPEC = specs.StageSpec(
  name='music', inputs=(VIDEO,), target=LATENTS, crop_seconds=3.0
)
NUM_FRAMES = 12


@dataclasses.dataclass(frozen=True)
class Mixture:
  """Every number of a frame is drawn from the same mixture of Gaussians."""

  layout = batch_layouts.FRAMES
  scan_layers: bool = False
  shares: tuple[float, ...] = (1.0,)
  means: tuple[float, ...] = (0.0,)
  stds: tuple[float, ...] = (1.0,)
  spec: specs.StageSpec = SPEC

  def module(self, spec):
    return dataclasses.replace(self, spec=spec)

  def apply(self, variables, *args, method):
    return getattr(self, f'_{method}')(*args)

  def _condition(self, inputs, num_frames):
    """The video moves the means of the whole clip."""
    return inputs['encoder_inputs_video'].mean((1, 2))

  def _velocity(self, condition, frames, is_known, times, lengths=None):
    x, t = frames[..., None], times[:, None, None, None]
    means = jnp.array(self.means) + condition[:, None, None, None]
    stds, shares = jnp.array(self.stds), jnp.array(self.shares)
    variance = (1 - t) ** 2 + (t * stds) ** 2
    centred = x - t * means
    log_p = jnp.log(shares) - centred**2 / variance / 2 - jnp.log(variance) / 2
    post = jnp.exp(log_p - log_p.max(-1, keepdims=True))
    post = post / post.sum(-1, keepdims=True)
    slope = (t * stds**2 - (1 - t)) / variance
    return (post * (means + slope * centred)).sum(-1)


@dataclasses.dataclass(frozen=True)
class Process:
  """Frames are a stationary first-order process; known ones are conditions."""

  layout = batch_layouts.FRAMES
  scan_layers: bool = False
  correlation: float = 0.9
  spec: specs.StageSpec = SPEC

  def module(self, spec):
    return dataclasses.replace(self, spec=spec)

  def apply(self, variables, *args, method):
    return getattr(self, f'_{method}')(*args)

  def _condition(self, inputs, num_frames):
    return inputs['encoder_inputs_video'].mean((1, 2))

  def covariance(self, num_frames):
    place = np.arange(num_frames)
    return self.correlation ** np.abs(place[:, None] - place)

  def _velocity(self, condition, frames, is_known, times):
    """E[data - noise | x], of the joint Gaussian of data, noise and x.

    Where a frame is known, x holds the data itself: path (1 - t) 0 + 1.
    """
    num = frames.shape[1]
    cov = jnp.asarray(self.covariance(num))
    t = times[0]
    a = jnp.where(is_known[0] > 0, 1.0, t)  # Share of the data in x.
    b = jnp.where(is_known[0] > 0, 0.0, 1 - t)  # Share of the noise.
    of_x = a[:, None] * cov * a + jnp.diag(b**2 + 1e-6)
    of_velocity = cov * a - jnp.diag(b)
    return jnp.einsum(
      'nm,bmd->bnd',
      of_velocity @ jnp.linalg.inv(of_x),
      frames,
      precision='highest',
    )
