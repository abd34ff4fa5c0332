"""The protocol of an autoencoder: waveform to latents and back."""

from collections.abc import Iterator
from typing import Protocol

from jaxtyping import Float
import numpy as np

from v2meow_jax import specs
from v2meow_jax.codecs import arrays


class Autoencoder(Protocol):
  """A neural audio codec without its quantiser: both ways through latents.

  Latents are as the encoder gives them; a stage that writes them standardises
  each channel by the moments of its records, and keeps those.

  Attributes:
    stream: Stream of its latents, 'latents'.
    sample_rate_hz: Sample rate of the waveforms.
    hop_samples: Number of samples per frame of latents.
  """

  stream: specs.FeatureSpec
  sample_rate_hz: int
  hop_samples: int

  def encode(self, waveform: arrays.Waveform) -> arrays.Latents:
    """Encodes a waveform of whole frames."""
    ...

  def decode(self, latents: arrays.Latents) -> arrays.Waveform:
    """Decodes latents, its own or those that a stage wrote."""
    ...

  def decode_in_pieces(
    self, latents: Float[np.ndarray, 'b frames dim'], piece_frames: int
  ) -> Iterator[Float[np.ndarray, 'b samples']]:
    """Decodes as `decode`, piece by piece, without seams between them."""
    ...
