"""Semantic encoders: networks that hear music, one vector for each frame.

They stand in for the w2v-BERT of MusicLM and V2Meow: `musicfm`, `w2v_bert`,
`mert`. Clusters of the vectors are the semantic tokens.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Protocol

import numpy as np
import soxr

from v2meow_jax import media


class SemanticEncoder(Protocol):
  """Turns audio of any rate and length into frames; frozen."""

  @property
  def sample_rate_hz(self) -> int:
    """Of the waveforms that its network hears; other audio it resamples."""
    ...

  @property
  def rate_hz(self) -> float:
    """Frames a second."""
    ...

  @property
  def dim(self) -> int:
    """Numbers of a frame."""
    ...

  def __call__(self, audio: media.Audio) -> np.ndarray:
    """float32[frames, dim], round(audio.seconds * rate_hz) frames, at least 1.

    The audio is resampled to `sample_rate_hz`. Frame i stands for the time
    around i / rate_hz to (i + 1) / rate_hz. Long audio is heard as `Stretches`
    tells, in memory that one stretch bounds.
    """
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stretches:
  """How long audio is cut for a network that hears all that it is given.

  Audio of up to `seconds` is heard whole. Longer audio is heard in stretches of
  exactly that length which overlap by twice the context; a frame within
  `context_seconds` of where two stretches were cut is taken from the other one.
  The last stretch ends where the audio does.

  So a frame depends on audio within `seconds` of it alone, and frames that lie
  `seconds` or more before the end of a clip stay as they are when it goes on.
  A network that hears no further than the context gives what it would give of
  the whole.

  Attributes:
    seconds: What the network hears at once.
    context_seconds: At least so much is heard around a frame, but at the ends
      of the audio.
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
  hear: Callable[[np.ndarray], np.ndarray],
  audio: media.Audio,
  stretches: Stretches,
) -> np.ndarray:
  """Frames of audio of any rate and length.

  Args:
    encoder: Whose rates and width these are; a frame is a whole number of its
      samples.
    hear: float32[frames * hop], one or more whole frames of samples ->
      float32[frames or more, dim], of which the first frames count.
    audio: What to hear; silence completes the last frame, and a rest of less
      than half a frame is left out.
    stretches: What `hear` is given at once.

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
    heard = hear(samples[first * hop : last * hop])
    stop = last if last == num_frames else last - context
    frames[done:stop] = heard[done - first : stop - first]
    done = stop
  return frames


def _resampled(audio: media.Audio, rate_hz: int) -> np.ndarray:
  """float32[samples] at `rate_hz`."""
  samples = audio.samples.astype(np.float32)
  if audio.rate_hz == rate_hz or not len(samples):
    return samples
  return soxr.resample(samples, audio.rate_hz, rate_hz, quality='HQ')
