"""Video and Audio: arrays with their times and rates."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import mmap
from typing import Protocol

import numpy as np

# Suffixes of the files that are looked for, and of those that are written.
VIDEO_SUFFIXES = (
  *('.mp4', '.mov', '.mkv', '.webm', '.avi', '.m4v', '.3gp', '.ts', '.m2ts'),
  *('.mpg', '.vob', '.flv', '.wmv'),
)
AUDIO_SUFFIXES = (
  *('.wav', '.flac', '.mp3', '.ogg', '.opus', '.m4a', '.aac', '.aiff'),
)
# ours: what stays below it counts as silence: -60 dB of full scale, 33 steps of
# 16 bits, above what dither and the noise of a sound card move by.
SILENCE = 1e-3
# ours: what was cut off at 1 stays within this of it when it is coded.
FULL_SCALE = 0.999
# ours: a loud master has a few such peaks, not one every thousand samples.
CLIPPED_SHARE = 1e-3
# Samples that are worked on at once: 1.4 s at 48 kHz.
PIECE_SAMPLES = 1 << 16
WRITTEN_VIDEO_SUFFIX = '.mp4'
WRITTEN_AUDIO_SUFFIXES = ('.wav', '.flac')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Video:
  """A stretch of decoded video.

  Attributes:
    frames: uint8[num_frames, height, width, 3], RGB, upright.
    times: Presentation times of the frames, float64[num_frames], rising, in
      seconds from the start of the clip (not of this stretch).
    start_seconds: Start of this stretch in the clip, in seconds.
    seconds: Length of the stretch, in seconds; frames with times in
      [start_seconds, start_seconds + seconds) belong to it. One frame from
      before the start may lead, so that differences are defined.
  """

  frames: np.ndarray
  times: np.ndarray
  seconds: float
  start_seconds: float = 0.0

  def __post_init__(self):
    if self.frames.ndim != 4 or self.frames.shape[-1] != 3:
      raise ValueError(
        f'frames have shape {self.frames.shape}; wanted [frames, h, w, 3].'
      )
    if len(self.frames) == 0 or len(self.frames) != len(self.times):
      raise ValueError(
        f'{len(self.frames)} frames with {len(self.times)} times; wanted one'
        ' time per frame and at least one frame.'
      )

  def at(self, times: np.ndarray) -> np.ndarray:
    """The frames on screen at `times` (clip seconds): uint8[n, h, w, 3]."""
    shown = np.searchsorted(self.times, np.asarray(times) + 1e-9, 'right') - 1
    return self.frames[np.clip(shown, 0, len(self.frames) - 1)]

  def num_steps(self, rate_hz: float) -> int:
    """Number of frames of a stream of `rate_hz` in this stretch, at least 1."""
    return max(1, round(self.seconds * rate_hz))

  def middles(self, rate_hz: float) -> np.ndarray:
    """Middle of each of these frames, in clip seconds: float64[num_steps]."""
    middles = (np.arange(self.num_steps(rate_hz)) + 0.5) / rate_hz
    return self.start_seconds + middles

  def pieces(self, piece_seconds: float) -> Iterator[Video]:
    """Consecutive stretches, each led by the last frame of the one before."""
    end = self.start_seconds + self.seconds
    start = self.start_seconds
    while start < end - 1e-9:
      stop = min(start + piece_seconds, end)
      first = int(np.searchsorted(self.times, start - 1e-9))
      last = int(np.searchsorted(self.times, stop - 1e-9))
      lead = max(first - 1, 0)
      yield Video(
        frames=self.frames[lead : max(last, lead + 1)],
        times=self.times[lead : max(last, lead + 1)],
        seconds=stop - start,
        start_seconds=start,
      )
      start = stop


class Sound(Protocol):
  """Sound in pieces, which are the same each time that they are asked for."""

  @property
  def rate_hz(self) -> int:
    """Sample rate, in Hz."""
    ...

  @property
  def num_channels(self) -> int:
    """Number of channels: 1, or 2 for left and right."""
    ...

  @property
  def has_equal_channels(self) -> bool:
    """Whether every channel is known to be the same."""
    ...

  @property
  def num_samples(self) -> int:
    """Number of samples of each channel."""
    ...

  def pieces(self) -> Iterator[np.ndarray]:
    """Its samples from the start: float32[num_channels, n] each."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audio:
  """A mono waveform.

  Attributes:
    samples: float32[num_samples], in [-1, 1]. Those of a film may lie in a file,
      as a `np.memmap`: `pieces` and `blocks` need memory for one at a time.
    rate_hz: Sample rate, in Hz.
    full_scale_share: Share of samples at full scale in the channel that has
      most of them, before channels were mixed and resampled; None: not known.
  """

  samples: np.ndarray
  rate_hz: int
  full_scale_share: float | None = None

  def __post_init__(self):
    if self.samples.ndim != 1:
      raise ValueError(
        f'samples have shape {self.samples.shape}; wanted one channel,'
        ' [samples].'
      )
    if self.rate_hz <= 0:
      raise ValueError(f'rate_hz is {self.rate_hz}; wanted more than 0.')

  @property
  def seconds(self) -> float:
    """Duration."""
    return len(self.samples) / self.rate_hz

  @property
  def num_channels(self) -> int:
    """One, as in every `Audio`."""
    return 1

  @property
  def has_equal_channels(self) -> bool:
    """Whether every channel is the same, as one is."""
    return True

  @property
  def num_samples(self) -> int:
    """Number of samples."""
    return len(self.samples)

  def pieces(self) -> Iterator[np.ndarray]:
    """Its samples from the start: float32[1, n] each."""
    for _, block in self.blocks():
      # A copy, as it may be held on to.
      yield np.array(block[None], np.float32)

  @property
  def is_silent(self) -> bool:
    """Whether nothing in it can be heard."""
    return not self.peak > SILENCE

  @property
  def peak(self) -> float:
    """Largest magnitude of its samples."""
    peaks = [np.abs(block).max() for _, block in self.blocks()]
    return float(np.max(peaks, initial=0.0))

  @property
  def clipped_share(self) -> float:
    """Share of samples at full scale, of the channel that has most."""
    if self.full_scale_share is not None:
      return self.full_scale_share
    num_full = sum(
      np.count_nonzero(np.abs(block) >= FULL_SCALE)
      for _, block in self.blocks()
    )
    return num_full / max(1, len(self.samples))

  def blocks(
    self, block_samples: int = PIECE_SAMPLES
  ) -> Iterator[tuple[int, np.ndarray]]:
    """Goes through the samples.

    Args:
      block_samples: Number of samples of a block; the last may have fewer.

    Yields:
      Number of the first sample, and a view of the block, which may be written
      to; what it maps of a file leaves the memory before the next.
    """
    for start in range(0, len(self.samples), block_samples):
      block = self.samples[start : start + block_samples]
      yield start, block
      release(block)

  def fitted(self, num_samples: int) -> Audio:
    """The first `num_samples` of it, with silence after its end."""
    if len(self.samples) == num_samples:
      return self
    samples = self.samples[:num_samples]
    samples = np.pad(samples, (0, num_samples - len(samples)))
    return dataclasses.replace(self, samples=samples)


def release(samples: np.ndarray) -> None:
  """Lets what an array maps of a file leave the memory; it stays in the file."""
  mapped = getattr(samples, '_mmap', None)
  if mapped is not None and hasattr(mmap, 'MADV_DONTNEED'):
    mapped.madvise(mmap.MADV_DONTNEED)
