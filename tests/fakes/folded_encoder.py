"""An encoder whose frames are its samples."""

import dataclasses

import numpy as np

from v2meow_jax import media

RATE = 100


@dataclasses.dataclass(frozen=True)
class Folded:
  """Four samples at 100 Hz are a frame of four numbers at 25 Hz."""

  sample_rate_hz: int = RATE
  rate_hz: float = 25.0
  dim: int = 4

  def __call__(self, audio):
    num_frames = max(1, round(audio.seconds * self.rate_hz))
    samples = np.pad(audio.samples, (0, 4))[: num_frames * 4]
    return samples.reshape(num_frames, 4).astype(np.float32)


def audio_of(frames):
  samples = np.asarray(frames, np.float32).reshape(-1)
  return media.Audio(samples=samples, rate_hz=RATE)
