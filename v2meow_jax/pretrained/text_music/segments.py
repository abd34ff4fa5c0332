"""Cuts audio into segments of 10 s for joint embeddings of text and music."""

from collections.abc import Iterator

import numpy as np
import soxr

from v2meow_jax import media

SECONDS = 10.0


def of_audio(audio: media.Audio) -> list[media.Audio]:
  """Cuts audio into 10 s each; a rest of more than half of that counts."""
  length = round(SECONDS * audio.rate_hz)
  count = max(1, round(len(audio.samples) / length))
  return [
    media.Audio(
      samples=audio.samples[i * length : (i + 1) * length],
      rate_hz=audio.rate_hz,
    )
    for i in range(count)
  ]


def waveforms(audio: media.Audio, rate_hz: int) -> Iterator[np.ndarray]:
  """Yields the segments of `of_audio` at another rate, each of exactly 10 s.

  A shorter one is repeated as often as it fits, then padded with silence:
  LAION-CLAP's 'repeatpad'. Audio is resampled as a stream, so that segments
  have no edges and memory holds one of them.

  Args:
    audio: Audio of any rate; at least one sample.
    rate_hz: Sample rate of the segments, in Hz.

  Yields:
    float32[10 * rate_hz].

  Raises:
    ValueError: There is no sound at all.
  """
  if not len(audio.samples):
    raise ValueError('the audio has no samples; wanted some music to embed.')
  resampler = soxr.ResampleStream(audio.rate_hz, rate_hz, 1, quality='HQ')
  length = round(SECONDS * rate_hz)
  pieces = of_audio(audio)
  held = np.zeros(0, np.float32)
  num_whole = 0
  for i, piece in enumerate(pieces, 1):
    samples = piece.samples.astype(np.float32)
    more = resampler.resample_chunk(samples, last=i == len(pieces))
    held = np.concatenate([held, more])
    if len(held) >= length:
      yield held[:length]
      held = held[length:]
      num_whole += 1
  if num_whole < len(pieces):
    repeated = np.tile(held, length // max(len(held), 1))
    yield np.pad(repeated, (0, length - len(repeated)))
