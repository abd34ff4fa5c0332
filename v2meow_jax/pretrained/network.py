"""What a network that listens for the metrics is, and how audio gets to it.

Audio is mono (`files.read.read_audio` says how channels are mixed) and of any
rate; `samples_at` brings it to the network's, and `windows` cuts it.
`networks` has those there are.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
from typing import Literal
from typing import Protocol
from typing import runtime_checkable

from jaxtyping import Float
import numpy as np
import soxr

from v2meow_jax import media

# What a row is: a vector; a distribution over classes, which sums to 1; or
# the probability of each class by itself.
Output = Literal['embedding', 'softmax', 'sigmoid']


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkId:
  """Which network a figure was measured with.

  Attributes:
    name: Short, lower case; it ends the metric's name, as in 'fad/vggish'.
    digest: Of the weights. Two figures are comparable only where it and the
      name are the same.
  """

  name: str
  digest: str

  def as_dict(self) -> dict[str, str]:
    """`{'name': ..., 'digest': ...}`."""
    return dataclasses.asdict(self)


class Network(Protocol):
  """Hears a clip; deterministic, and in bounded memory however long it is."""

  @property
  def name(self) -> str:
    """As in `networks.ENTRIES`, for reports."""
    ...

  @property
  def sample_rate_hz(self) -> int:
    """What it listens at; audio at this rate is not resampled."""
    ...

  @property
  def dim(self) -> int:
    """Of a row: of the embedding, or the number of classes."""
    ...

  @property
  def output(self) -> Output:
    """What a row is."""
    ...

  @property
  def digest(self) -> str:
    """SHA-256 of the weights."""
    ...

  def __call__(self, audio: media.Audio) -> Float[np.ndarray, 'rows dim']:
    """float32, finite, at least one row, in the order of time.

    Raises:
      ValueError: The clip is too short, or not finite.
    """
    ...


@runtime_checkable
class JointNetwork(Network, Protocol):
  """A network that puts words into the space of its rows."""

  def embed_text(self, text: str) -> Float[np.ndarray, 'dim']:
    """float32, finite."""
    ...


def samples_at(
  audio: media.Audio, rate_hz: int, min_samples: int = 1
) -> np.ndarray:
  """The waveform at a rate: the one rule of resampling.

  By soxr at high quality, as `files.read.read_audio`. Loudness is left as it is.

  Args:
    audio: Of any rate.
    rate_hz: Wanted samples a second.
    min_samples: At that rate.

  Returns:
    float32[samples].

  Raises:
    ValueError: Fewer samples, or some of them not finite.
  """
  samples = np.asarray(audio.samples, np.float32)
  if not np.isfinite(samples).all():
    raise ValueError('the clip has samples that are not finite numbers.')
  if audio.rate_hz != rate_hz:
    samples = soxr.resample(samples, audio.rate_hz, rate_hz, quality='HQ')
  if len(samples) < min_samples:
    raise ValueError(
      f'the clip lasts {audio.seconds:g} s; wanted at least'
      f' {min_samples / rate_hz:g} s.'
    )
  return samples


def windows(
  samples: np.ndarray, window_samples: int
) -> Iterator[Float[np.ndarray, 'samples']]:
  """Consecutive windows: the one rule of clips of other lengths.

  A clip is at least one window. A rest of half a window or more is a window
  too, a shorter one is left out.

  Args:
    samples: float[samples], at least one.
    window_samples: Of all windows but the last, which may be shorter.

  Yields:
    float[samples].
  """
  count = max(1, (2 * len(samples) + window_samples) // (2 * window_samples))
  for i in range(count):
    yield samples[i * window_samples : (i + 1) * window_samples]


def checked(
  network: Network, rows: np.ndarray
) -> Float[np.ndarray, 'rows dim']:
  """Rows as float32; ValueError unless they are finite and of the width."""
  rows = np.asarray(rows, np.float32)
  if rows.ndim != 2 or not len(rows) or rows.shape[1] != network.dim:
    raise ValueError(
      f'{network.name} gave an array of shape {rows.shape}; wanted'
      f' [rows, {network.dim}]: these are not its weights.'
    )
  if not np.isfinite(rows).all():
    raise ValueError(
      f'{network.name} gave numbers that are not finite; get its weights again.'
    )
  return rows
