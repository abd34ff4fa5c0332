"""The protocol of a codec: waveform to codes and back."""

from collections.abc import Iterator
from typing import Protocol

from jaxtyping import Float
from jaxtyping import Int
import numpy as np

from v2meow_jax import specs
from v2meow_jax.codecs import arrays


class Codec(Protocol):
  """A neural audio codec with residual vector quantisation.

  Attributes:
    stream: Stream of its codes, all levels, 'acoustic'.
    sample_rate_hz: Sample rate of the waveforms.
    hop_samples: Number of samples per code frame.
  """

  stream: specs.TokenSpec
  sample_rate_hz: int
  hop_samples: int

  def encode(self, waveform: arrays.Waveform) -> arrays.Codes:
    """Encodes a waveform of whole frames."""
    ...

  def decode(self, codes: arrays.Codes) -> arrays.Waveform:
    """Decodes the first `levels` levels; fewer than all are allowed."""
    ...

  def decode_in_pieces(
    self, codes: Int[np.ndarray, 'b frames levels'], piece_frames: int
  ) -> Iterator[Float[np.ndarray, 'b samples']]:
    """Decodes as `decode`, piece by piece, without seams between them."""
    ...
