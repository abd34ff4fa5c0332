"""Semantic encoders: networks that turn music into one vector for each frame.

`musicfm`, `w2v_bert` and `mert` stand in for the w2v-BERT of MusicLM and
V2Meow; clusters of their vectors are the semantic tokens.
"""

from collections.abc import Callable
import dataclasses
from typing import Protocol

import numpy as np
import soxr

from v2meow_jax import media


class SemanticEncoder(Protocol):
  """A frozen network that turns audio of any rate and length into frames."""

  @property
  def sample_rate_hz(self) -> int:
    """Sample rate of the network, in Hz; other audio is resampled."""
    ...

  @property
  def rate_hz(self) -> float:
    """Frames a second."""
    ...

  @property
  def dim(self) -> int:
    """Width of a frame."""
    ...

  def __call__(self, audio: media.Audio) -> np.ndarray:
    """float32[frames, dim], round(audio.seconds * rate_hz) frames, at least 1.

    The audio is resampled to `sample_rate_hz`. Frame i stands for the time
    around i / rate_hz to (i + 1) / rate_hz. Long audio is cut into `Stretches`,
    so that memory is bounded by one stretch.
    """
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stretches:
  """Cuts long audio for a network that attends to all of its input.

  Audio of up to `seconds` is not cut. Longer audio is cut into stretches of
  exactly that length, which overlap by twice the context; a frame within
  `context_seconds` of a cut is taken from the other stretch. The last stretch
  ends with the audio.

  So a frame depends on audio within `seconds` of it alone, and frames that lie
  `seconds` or more before the end of a clip do not change when the clip goes
  on. For a network whose receptive field is within the context, the result
  equals that of the uncut audio.

  Attributes:
    seconds: Longest stretch that the network gets at once, in seconds.
    context_seconds: Least context on either side of a frame, in seconds, except
      at the ends of the audio.
  """

  seconds: float
  context_seconds: float

  def __post_init__(self):
    if not 0 <= 2 * self.context_seconds < self.seconds:
      raise ValueError(
        f'{self}: stretches must be longer than twice their context, which is'
        ' at least 0.'
      )


def in_stretches(
  encoder: SemanticEncoder,
  network: Callable[[np.ndarray], np.ndarray],
  audio: media.Audio,
  stretches: Stretches,
) -> np.ndarray:
  """Runs an encoder over audio of any rate and length.

  Args:
    encoder: Encoder whose rates and width count; a frame is a whole number of
      its samples.
    network: Network: float32[frames * hop], one or more whole frames of samples
    ->
      float32[frames or more, dim], of which the first frames count.
    audio: Audio to encode; silence completes the last frame, and a rest of less
      than half a frame is left out.
    stretches: Stretches to cut long audio into.

  Returns:
    float32[frames, dim].
  """
  num_frames = max(1, round(audio.seconds * encoder.rate_hz))
  hop = round(encoder.sample_rate_hz / encoder.rate_hz)
  samples = _resampled(audio, encoder.sample_rate_hz)[: num_frames * hop]
  samples = np.pad(samples, (0, num_frames * hop - len(samples)))
  length = min(round(stretches.seconds * encoder.rate_hz), num_frames)
  context = round(stretches.context_seconds * encoder.rate_hz)
  frames = np.empty((num_frames, encoder.dim), np.float32)
  done = 0
  while done < num_frames:
    first = min(max(done - context, 0), num_frames - length)
    last = first + length
    outputs = network(samples[first * hop : last * hop])
    stop = last if last == num_frames else last - context
    frames[done:stop] = outputs[done - first : stop - first]
    done = stop
  return frames


def _resampled(audio: media.Audio, rate_hz: int) -> np.ndarray:
  """float32[samples] at `rate_hz`."""
  samples = audio.samples.astype(np.float32)
  if audio.rate_hz == rate_hz or not len(samples):
    return samples
  return soxr.resample(samples, audio.rate_hz, rate_hz, quality='HQ')
