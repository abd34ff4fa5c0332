"""A variational autoencoder of sound, with the ends of a codec.

Where a codec quantises, latents are drawn from a Gaussian whose distance to the
standard one is a loss (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114):
few numbers a frame, none of which is far from the others, for a flow to write.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float

from v2meow_jax import specs
from v2meow_jax.codecs import arrays
from v2meow_jax.codecs.embedded import patch
from v2meow_jax.codecs.soundstream import seanet
from v2meow_jax.codecs.soundstream import soundstream

# Of log deviations: what is surer than exp(-10) is known.
_LIMIT = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class VaeConfig:
  """Sizes of an autoencoder.

  Attributes:
    ends: Sizes of encoder and decoder; the type chooses their architecture.
    latent_dim: Width of the latents.
    sample_rate_hz: Sample rate of the waveforms.
  """

  ends: patch.PatchConfig | seanet.SeanetConfig
  latent_dim: int
  sample_rate_hz: int = 16_000

  def __post_init__(self):
    soundstream.check_rate(self.ends, self.sample_rate_hz)
    if self.latent_dim < 1:
      raise ValueError(f'latent_dim is {self.latent_dim}; wanted 1 or more.')

  @property
  def latents(self) -> specs.FeatureSpec:
    """Stream of the latents."""
    return specs.FeatureSpec(
      name='latents',
      dim=self.latent_dim,
      rate_hz=self.sample_rate_hz / self.ends.hop_samples,
    )

  @property
  def stream(self) -> specs.FeatureSpec:
    """Stream that is encoded to: the latents, for there are no codes."""
    return self.latents

  def module(self) -> Vae:
    """Builds the network."""
    return Vae(self)

  def to_dict(self) -> dict[str, Any]:
    """Returns JSON data for `from_dict`."""
    return {
      'kind': soundstream.kind_of(self.ends),
      **dataclasses.asdict(self),
    }

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> VaeConfig:
    """Inverts `to_dict`; raises ValueError for an unknown kind."""
    return cls(
      ends=soundstream.ends_from_dict(data),
      latent_dim=data['latent_dim'],
      sample_rate_hz=data['sample_rate_hz'],
    )


class LatentGaussian(NamedTuple):
  """Independent Gaussians, of each number of each latent.

  Attributes:
    mean: Their means.
    log_std: Logarithms of their deviations.
  """

  mean: jax.Array
  log_std: jax.Array

  def draw(self, rng: jax.Array) -> Float[Array, 'b frames dim']:
    """Draws a latent of each frame."""
    noise = jax.random.normal(rng, self.mean.shape)
    return self.mean + jnp.exp(self.log_std) * noise

  def kl(self) -> Float[Array, 'b frames dim']:
    """KL(this || standard Gaussian) of each number, in nats.

    >>> float(LatentGaussian(jnp.array(2.0), jnp.array(0.0)).kl())
    2.0
    """
    variance = jnp.exp(2 * self.log_std)
    return (self.mean**2 + variance - 1) / 2 - self.log_std


class Vae(nn.Module):
  """Encoder, Gaussian and decoder."""

  config: VaeConfig

  def setup(self):
    """Builds the parts."""
    c = self.config
    self.encoder = c.ends.encoder()
    self.decoder = c.ends.decoder()
    self.means = nn.Dense(c.latent_dim)
    self.log_stds = nn.Dense(c.latent_dim)
    self.restored = nn.Dense(c.ends.latent_dim)

  def posterior(self, waveform: arrays.Waveform) -> LatentGaussian:
    """The Gaussian of the latents of a waveform of whole frames."""
    x = self.encoder(waveform)
    log_std = jnp.clip(self.log_stds(x), -_LIMIT, _LIMIT)
    return LatentGaussian(self.means(x), log_std)

  def __call__(
    self, waveform: arrays.Waveform, rng: jax.Array | None = None
  ) -> tuple[arrays.Waveform, LatentGaussian]:
    """Returns the reconstruction, of drawn latents or the means, and Gaussians."""
    found = self.posterior(waveform)
    latents = found.mean if rng is None else found.draw(rng)
    return self.decode_latents(latents), found

  def encode_latents(self, waveform: arrays.Waveform) -> arrays.Latents:
    """Encodes to the means."""
    return self.posterior(waveform).mean

  def decode_latents(self, latents: arrays.Latents) -> arrays.Waveform:
    """Decodes latents of any source."""
    return self.decoder(self.restored(latents))
