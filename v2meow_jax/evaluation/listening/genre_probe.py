"""Fits a genre classifier that judges generated music and trains nothing else.

It is fitted on fresh music with features of its own (timbre, spectral contrast
and rhythm by librosa, a linear classifier), so no system was trained on it.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import hashlib
from typing import Any

from jaxtyping import Float
import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation.metrics import numba_cache

_HOP_SAMPLES = 256
_NUM_MFCC = 20
# Autocorrelation lags up to 2 s at 16 kHz, summed four by four.
_NUM_LAGS = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenreProbe:
  """A fitted classifier.

  Attributes:
    genres: Known genres, sorted.
    accuracy: Share right on clips held out of its own fit, in [0, 1].
    digest: Digest of the clips' features and genres that it was fitted on.
    classifier: Scikit-learn pipeline from features to genres.
  """

  genres: tuple[str, ...]
  accuracy: float
  digest: str
  classifier: Any

  def predict(self, rows: Float[np.ndarray, 'clips dim']) -> list[str]:
    """Predicts the genre of each clip, even of silence, from its `features`."""
    return [str(genre) for genre in self.classifier.predict(rows)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
  """Features of clips, some of them in several versions.

  Attributes:
    features: Features of the versions, float64[rows, dim].
    owner: Index of the clip of each row, int64[rows].
  """

  features: np.ndarray
  owner: np.ndarray


def features(audio: media.Audio) -> Float[np.ndarray, 'dim']:
  """Computes timbre, contrast, rhythm and dynamics of one clip.

  Mean and deviation of 20 MFCCs and of spectral contrast in five octaves, the
  mean tempogram (local autocorrelation of onset strength), and the deviation
  of the level, over the whole clip.

  Args:
    audio: Sound of a second or more at 16 kHz or more; scaled to one level.

  Returns:
    Finite numbers for every finite waveform, silence included.

  Raises:
    ValueError: Less than a second of audio.
  """
  librosa = numba_cache.librosa()

  if audio.seconds < 1.0:
    raise ValueError(
      f'a clip of {audio.seconds:g} s is too short to judge its genre; wanted'
      ' at least 1 s.'
    )
  y = np.asarray(audio.samples, np.float32)
  y = y / max(float(np.sqrt(np.mean(y**2))), 1e-6) * 0.1
  sr, hop = audio.rate_hz, _HOP_SAMPLES
  mel = librosa.power_to_db(
    librosa.feature.melspectrogram(
      y=y, sr=sr, n_fft=1024, hop_length=hop, n_mels=64
    )
  )
  mfcc = librosa.feature.mfcc(S=mel, n_mfcc=_NUM_MFCC)
  contrast = librosa.feature.spectral_contrast(
    y=y, sr=sr, hop_length=hop, n_bands=5
  )
  onsets = librosa.onset.onset_strength(S=mel, sr=sr, hop_length=hop)
  tempogram = librosa.feature.tempogram(
    onset_envelope=onsets, sr=sr, hop_length=hop, win_length=2 * _NUM_LAGS
  )
  rhythm = tempogram[:_NUM_LAGS].mean(axis=1).reshape(-1, 4).mean(axis=1)
  level = mel.mean(axis=0)
  parts = (
    mfcc.mean(axis=1),
    mfcc.std(axis=1),
    contrast.mean(axis=1),
    contrast.std(axis=1),
    rhythm,
    [level.std(), np.log1p(onsets.mean())],
  )
  return np.nan_to_num(np.concatenate(parts))


def rows(
  clips: Iterable[media.Audio],
  *,
  colour: Callable[[media.Audio], media.Audio] | None = None,
  progress: Callable[[Any], Any] = iter,
) -> Rows:
  """Computes the features that `fit` takes.

  Args:
    clips: Music whose genre is known.
    colour: Function that colours a sound as a codec does; every clip then
      counts plain and coloured, so that a codec's sound is not a genre.
    progress: Wrapper of the iteration, for a progress bar.

  Returns:
    Features of all clips.
  """
  vectors, owner = [], []
  for i, clip in enumerate(progress(clips)):
    versions = [clip] if colour is None else [clip, colour(clip)]
    vectors += [features(version) for version in versions]
    owner += [i] * len(versions)
  return Rows(features=np.stack(vectors), owner=np.array(owner))


def fit(
  rows: Rows, genres: Sequence[str], *, seed: int = 0, held_out: float = 0.25
) -> GenreProbe:
  """Fits a standardised logistic regression and measures it on held-out clips.

  Args:
    rows: Features of clips, some of every genre.
    genres: Genre of each clip.
    seed: Seed of the split; all versions of a clip are on one side of it.
    held_out: Share of the clips that measures `accuracy`; the classifier
      returned is then fitted on all.

  Returns:
    The probe, with its accuracy on held-out clips.

  Raises:
    ValueError: Clips and genres of different number, one genre only, or too
      few clips of a genre to split.
  """
  num_clips = int(rows.owner.max()) + 1
  if len(genres) != num_clips:
    raise ValueError(f'{num_clips} clips with {len(genres)} genres.')
  labels = np.array(genres)
  kinds, counts = np.unique(labels, return_counts=True)
  if len(kinds) < 2 or counts.min() < 2:
    per_genre = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    raise ValueError(
      f'clips per genre are {per_genre};'
      ' wanted at least two genres with two clips each.'
    )
  test = np.isin(rows.owner, _test_clips(labels, seed, held_out))
  judged = _classifier().fit(rows.features[~test], labels[rows.owner[~test]])
  return GenreProbe(
    genres=tuple(str(kind) for kind in kinds),
    accuracy=float(judged.score(rows.features[test], labels[rows.owner[test]])),
    digest=hashlib.sha256(
      rows.features.tobytes() + rows.owner.tobytes() + labels.tobytes()
    ).hexdigest(),
    classifier=_classifier().fit(rows.features, labels[rows.owner]),
  )


def _test_clips(labels: np.ndarray, seed: int, share: float) -> np.ndarray:
  """Draws the held-out clips: the same share of every genre, >= 1."""
  rng = np.random.default_rng(seed)
  chosen = []
  for kind in np.unique(labels):
    of_kind = rng.permutation(np.flatnonzero(labels == kind))
    chosen.append(of_kind[: max(1, round(share * len(of_kind)))])
  return np.concatenate(chosen)


def _classifier():
  from sklearn import linear_model
  from sklearn import pipeline
  from sklearn import preprocessing

  return pipeline.make_pipeline(
    preprocessing.StandardScaler(),
    linear_model.LogisticRegression(C=0.1, max_iter=2_000),
  )
