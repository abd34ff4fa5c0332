"""Encodes the sound and harmony of each frame of music as one code.

Stands in for w2v-BERT and its k-means: hand-made features of sound (timbre,
level, onsets) and of harmony (bass and chord pitch classes). Each has its own
clusters and a code is a pair of them, so that it distinguishes drums and chords
better than 512 joint clusters.
"""

from collections.abc import Mapping
import dataclasses

import jax
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.clusters import kmeans
from v2meow_jax.clusters import standardize
from v2meow_jax.pretrained.audio import mel

SAMPLE_RATE_HZ = 16_000
# Chords: a bass root and the pitch classes above it.
NUM_HARMONIES = 16

_NUM_BANDS = 32
_NUM_CEPSTRA = 12
# Bands whose onsets count together; at 32 bands: up to about 200 Hz (kick,
# bass), 1 kHz (toms, chords), 4 kHz (snare), 8 kHz (hats).
_ONSET_EDGES = (0, 3, 10, 23, 32)
# Weights of the standardised groups in the distance; an onset must not drown
# in a dozen dimensions of timbre.
_LEVEL_WEIGHT = 1.0
_CEPSTRA_WEIGHT = 0.5
_ONSET_WEIGHT = 0.8


def sound_features(audio: media.Audio, rate_hz: float) -> np.ndarray:
  """Computes timbre, level and onsets.

  Args:
    audio: Audio at `SAMPLE_RATE_HZ`.
    rate_hz: Frames a second.

  Returns:
    float32[frames, 21]: level, 12 cepstra, and onsets in 4 bands in each half
    of the frame. The whole item's loudness does not matter: levels are relative
    to its loud frames.
  """
  hop = _hop(audio, rate_hz * 2)
  num_frames = max(1, round(audio.seconds * rate_hz))
  bands = mel.log_mel(audio.samples, audio.rate_hz, hop, 640, _NUM_BANDS)
  bands = fit_rows(bands, 2 * num_frames)
  loud = np.percentile(bands.max(1), 95)
  # 60 dB below the loud frames is silence.
  bands = np.maximum(bands - loud, -13.8)
  onsets = np.sqrt(mel.onset_flux(bands, _ONSET_EDGES))
  frames = bands.reshape(num_frames, 2, _NUM_BANDS).mean(1)
  level = frames.max(1, keepdims=True)
  cepstra = frames @ _cosines()
  return np.concatenate(
    [level, cepstra, onsets.reshape(num_frames, -1)], 1
  ).astype(np.float32)


def harmony_features(audio: media.Audio, rate_hz: float) -> np.ndarray:
  """Computes pitch classes of the bass and the rest: float32[frames, 24]."""
  num_frames = max(1, round(audio.seconds * rate_hz))
  power = mel.power_spectrum(audio.samples, _hop(audio, rate_hz), 4096)
  bass = mel.chroma(power, audio.rate_hz, 40.0, 260.0)
  rest = mel.chroma(power, audio.rate_hz, 130.0, 2000.0)
  both = fit_rows(np.concatenate([bass, rest], 1), num_frames)
  # A chord lasts longer than a note: a mean over five frames.
  padded = np.pad(both, ((2, 2), (0, 0)), mode='edge')
  shifted = [padded[i : i + num_frames] for i in range(5)]
  return np.mean(shifted, axis=0)


def _hop(audio: media.Audio, rate_hz: float) -> int:
  if audio.rate_hz != SAMPLE_RATE_HZ or SAMPLE_RATE_HZ % rate_hz:
    raise ValueError(
      f'audio at {audio.rate_hz} Hz for frames at {rate_hz} Hz; wanted'
      f' {SAMPLE_RATE_HZ} Hz audio and a frame rate that divides it; resample'
      ' the audio or change the stream.'
    )
  return round(SAMPLE_RATE_HZ / rate_hz)


def fit_rows(rows: np.ndarray, count: int) -> np.ndarray:
  """Returns the first `count` rows, repeating the last if there are fewer."""
  return rows[np.minimum(np.arange(count), len(rows) - 1)]


def _cosines() -> np.ndarray:
  """float64[bands, cepstra]: an orthonormal DCT-II without its constant."""
  order = np.arange(1, _NUM_CEPSTRA + 1)
  band = np.arange(_NUM_BANDS)[:, None] + 0.5
  return np.sqrt(2 / _NUM_BANDS) * np.cos(np.pi * order * band / _NUM_BANDS)


def fit(
  sound: np.ndarray, harmony: np.ndarray, codebook_size: int, *, seed: int
) -> dict[str, np.ndarray]:
  """Fits parameters of `SemanticTokens` to features of many clips.

  Args:
    sound: float[rows, 21] of `sound_features`.
    harmony: float[rows, 24] of `harmony_features`.
    codebook_size: Number of codes, a multiple of `NUM_HARMONIES`.
    seed: Seed of the clusterings.

  Returns:
    'mean' and 'std' (weights included) of the sound, 'sound_centroids',
    'harmony_centroids'.

  Raises:
    ValueError: The codebook cannot be divided.
  """
  if codebook_size % NUM_HARMONIES:
    raise ValueError(
      f'codebook_size is {codebook_size}; wanted a multiple of'
      f' {NUM_HARMONIES}, for each sound with each harmony.'
    )
  params = standardize.fit(sound)
  weights = np.full(sound.shape[1], _ONSET_WEIGHT, np.float32)
  weights[0] = _LEVEL_WEIGHT
  weights[1 : 1 + _NUM_CEPSTRA] = _CEPSTRA_WEIGHT
  params['std'] = params['std'] / weights
  sound_rng, harmony_rng = jax.random.split(jax.random.key(seed))
  clusters = kmeans.fit(
    standardize.apply(sound, params),
    codebook_size // NUM_HARMONIES,
    rng=sound_rng,
  )
  chords = kmeans.fit(harmony, NUM_HARMONIES, rng=harmony_rng)
  params['sound_centroids'] = clusters.centroids
  params['harmony_centroids'] = chords.centroids
  return params


@dataclasses.dataclass(frozen=True)
class SemanticTokens:
  """Emits one code a frame: harmony * num_sounds + sound.

  Attributes:
    stream: Stream to emit; its codebook_size is the product of the two numbers
      of centroids.
    params: Parameters from `fit`.
  """

  reads = 'audio'
  sample_rate_hz = SAMPLE_RATE_HZ

  stream: specs.TokenSpec
  params: Mapping[str, np.ndarray]

  def __post_init__(self):
    sounds = len(self.params['sound_centroids'])
    harmonies = len(self.params['harmony_centroids'])
    if self.stream.codebook_size != sounds * harmonies:
      raise ValueError(
        f'stream {self.stream.name!r} has {self.stream.codebook_size} codes,'
        f' but {sounds} sounds and {harmonies} harmonies were fitted; fit'
        ' them again for this stream.'
      )

  def __call__(self, item: media.Audio) -> np.ndarray:
    """int32[frames, 1]."""
    sound = standardize.apply(
      sound_features(item, self.stream.rate_hz), self.params
    )
    harmony = harmony_features(item, self.stream.rate_hz)
    sounds = self.params['sound_centroids']
    codes = _nearest(harmony, self.params['harmony_centroids']) * len(sounds)
    return (codes + _nearest(sound, sounds)).astype(np.int32)[:, None]


def _nearest(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
  """int64[n]: `kmeans_assign.assign` without a compilation per clip length."""
  scores = rows @ centroids.T - 0.5 * (centroids**2).sum(1)
  return scores.argmax(1)
