"""Defines networks that map audio to rows, and prepares audio for them.

Audio is mono, as mixed by `files.read.read_audio`, and of any rate;
`samples_at` resamples it to the network's rate, and `windows` cuts it.
"""

from collections.abc import Iterator
import dataclasses
from typing import Literal
from typing import Protocol
from typing import runtime_checkable

from jaxtyping import Float
import numpy as np
import soxr

from v2meow_jax import media

# Meaning of a row: a vector; a distribution over classes, which sums to 1; or
# the probability of each class by itself.
Output = Literal['embedding', 'softmax', 'sigmoid']


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkId:
  """Identifies the network that a figure was measured with.

  Attributes:
    name: Short lower-case name, the end of a metric's name as in 'fad/vggish'.
    digest: SHA-256 of the weights. Figures are comparable only if it and the
      name are equal.
  """

  name: str
  digest: str

  def as_dict(self) -> dict[str, str]:
    """`{'name': ..., 'digest': ...}`."""
    return dataclasses.asdict(self)


class AudioNetwork(Protocol):
  """Maps a clip of any length to rows; deterministic, in bounded memory."""

  @property
  def name(self) -> str:
    """Name in reports."""
    ...

  @property
  def sample_rate_hz(self) -> int:
    """Sample rate, in Hz; audio at this rate is not resampled."""
    ...

  @property
  def dim(self) -> int:
    """Width of a row: of the embedding, or number of classes."""
    ...

  @property
  def output(self) -> Output:
    """Meaning of a row."""
    ...

  @property
  def digest(self) -> str:
    """SHA-256 of the weights."""
    ...

  def __call__(self, audio: media.Audio) -> Float[np.ndarray, 'rows dim']:
    """Returns at least one row of finite float32, in order of time.

    Raises:
      ValueError: The clip is too short, or not finite.
    """
    ...


@runtime_checkable
class JointNetwork(AudioNetwork, Protocol):
  """An audio network that also embeds text in the space of its rows."""

  def embed_text(self, text: str) -> Float[np.ndarray, 'dim']:
    """Returns finite float32."""
    ...


def samples_at(
  audio: media.Audio, rate_hz: int, min_samples: int = 1
) -> np.ndarray:
  """Resamples audio by soxr at high quality, as `files.read.read_audio` does.

  Args:
    audio: Audio of any rate.
    rate_hz: Sample rate of the result, in Hz.
    min_samples: Least number of samples at that rate.

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
  """Cuts a clip into consecutive windows, at least one.

  A rest of half a window or more is a window too; a shorter one is left out.

  Args:
    samples: float[samples], at least one.
    window_samples: Length of all windows but the last, which may be shorter.

  Yields:
    float[samples].
  """
  count = max(1, (2 * len(samples) + window_samples) // (2 * window_samples))
  for i in range(count):
    yield samples[i * window_samples : (i + 1) * window_samples]


def checked(
  network: AudioNetwork, rows: np.ndarray
) -> Float[np.ndarray, 'rows dim']:
  """Returns rows as float32; ValueError unless finite and of the width."""
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
