"""Describes text and music as fixed vectors for the style embedding."""

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors import vocabulary
from v2meow_jax.pretrained.audio import mel

SAMPLE_RATE_HZ = 16_000
NUM_BUCKETS = 2048
MUSIC_DIM = 233
_HOP, _WINDOW, _NUM_BANDS = 320, 1024, 32  # 50 frames a second.
# Groups of bands with a rhythm of their own, and lags of 0.26 to 1.1 s: beats
# of 55 to 230 a minute.
_RHYTHM_EDGES = (0, 4, 18, 32)
_LAGS = np.unique(np.round(np.geomspace(13, 55, 26)).astype(int))


def text_features(text: str) -> np.ndarray:
  """Counts hashed words, pairs of words and letter triples.

  Triples relate an unknown word to similar ones. Hashes are CRC-32 of UTF-8,
  the same everywhere. Words after the 256th are left out.

  Args:
    text: Any string.

  Returns:
    float32[2048] that sums to 1; 0 where there is no word.
  """
  words = vocabulary.words(text)
  pairs = [f'{a} {b}' for a, b in zip(words, words[1:], strict=False)]
  counts = np.zeros(NUM_BUCKETS, np.float32)
  for gram in words + pairs:
    counts[_bucket(gram)] += 1.0
  for word in words:
    triples = vocabulary.triples(word)
    for triple in triples:
      counts[_bucket(triple)] += 1.0 / len(triples)
  return counts / max(counts.sum(), 1e-9)


def _bucket(gram: str) -> int:
  return vocabulary.crc32(gram) % NUM_BUCKETS


def music_features(audio: media.Audio) -> np.ndarray:
  """Describes timbre, rhythm and harmony of music, whatever its loudness.

  Args:
    audio: About 10 s at `SAMPLE_RATE_HZ`.

  Returns:
    float32[233], not standardised: mean, deviation and two quantiles of 32 mel
    bands, autocorrelation of the onsets in three groups of bands, onset rates,
    and the mean and deviation of sorted chroma.
  """
  if audio.rate_hz != SAMPLE_RATE_HZ:
    raise ValueError(
      f'audio at {audio.rate_hz} Hz; wanted {SAMPLE_RATE_HZ} Hz; resample it.'
    )
  bands = mel.log_mel(audio.samples, audio.rate_hz, _HOP, _WINDOW, _NUM_BANDS)
  bands = np.maximum(bands - np.percentile(bands.max(1), 95), -13.8)
  low, high = np.percentile(bands, [10, 90], axis=0)
  onsets = np.sqrt(mel.onset_flux(bands, _RHYTHM_EDGES))
  power = mel.power_spectrum(audio.samples, 4 * _HOP, 4096)
  chroma = mel.chroma(power, audio.rate_hz, 60.0, 2000.0)
  # Sorted, so that the key does not matter.
  chroma = chroma[:, np.argsort(-chroma.mean(0), kind='stable')]
  parts = [
    bands.mean(0),
    bands.std(0),
    low,
    high,
    _autocorrelation(onsets).ravel(),
    onsets.mean(0),
    onsets.std(0),
    chroma.mean(0),
    chroma.std(0),
  ]
  return np.concatenate(parts).astype(np.float32)


def _autocorrelation(onsets: np.ndarray) -> np.ndarray:
  """float[frames, groups] -> float[lags, groups], in about [-1, 1]."""
  centred = onsets - onsets.mean(0)
  energy = (centred**2).mean(0) + 1e-3
  rows = []
  for lag in _LAGS:
    a, b = centred[lag:], centred[: max(len(centred) - lag, 0)]
    rows.append((a * b).mean(0) / energy if len(a) else np.zeros(len(energy)))
  return np.stack(rows)
