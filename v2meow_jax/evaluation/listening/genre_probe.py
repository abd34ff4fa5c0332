"""A genre classifier that judges generated music and trains nothing else.

It is fitted on fresh music with features of its own (timbre, spectral contrast
and rhythm by librosa, a linear classifier), so a system cannot have learnt to
please it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import hashlib
from typing import Any

from jaxtyping import Float
import numpy as np

from v2meow_jax import media

_HOP_SAMPLES = 256
_NUM_MFCC = 20
# Autocorrelation lags up to 2 s at 16 kHz, summed four by four.
_NUM_LAGS = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenreProbe:
  """A fitted classifier.

  Attributes:
    genres: Those it can answer, sorted.
    accuracy: Share right on clips held out of its own fit, in [0, 1].
    digest: Of what it was fitted on.
    classifier: A scikit-learn pipeline from features to genres.
  """

  genres: tuple[str, ...]
  accuracy: float
  digest: str
  classifier: Any

  def predict(self, clips: Sequence[media.Audio]) -> list[str]:
    """The genre of each clip; silence gets one too, by its features."""
    if not clips:
      return []
    return self.predict_rows(np.stack([features(clip) for clip in clips]))

  def predict_rows(self, rows: Float[np.ndarray, 'clips dim']) -> list[str]:
    """The genre of each clip, from its `features`."""
    return [str(genre) for genre in self.classifier.predict(rows)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
  """Features of clips, some of them in several versions.

  Attributes:
    features: float64[rows, dim].
    owner: int64[rows], the clip that a row is of.
  """

  features: np.ndarray
  owner: np.ndarray


def features(audio: media.Audio) -> Float[np.ndarray, 'dim']:
  """Timbre, contrast, rhythm and dynamics of one clip.

  Mean and deviation of 20 MFCCs and of spectral contrast in five octaves, the
  mean tempogram (local autocorrelation of onset strength), and the deviation
  of the level, over the whole clip.

  Args:
    audio: At least a second at 16 kHz or more; it is scaled to a common level.

  Returns:
    Finite for every finite waveform, silence included.

  Raises:
    ValueError: Less than a second of audio.
  """
  import librosa

  if audio.seconds < 1.0:
    raise ValueError(
      f'a clip of {audio.seconds:g} s is too short to tell its genre; wanted'
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


def fit(
  clips: Sequence[media.Audio],
  genres: Sequence[str],
  *,
  colour: Callable[[media.Audio], media.Audio] | None = None,
  seed: int = 0,
  held_out: float = 0.25,
  progress: Callable[[Sequence], Any] = iter,
) -> GenreProbe:
  """Fits a standardised logistic regression and measures it on held-out clips.

  Args:
    clips: Music whose genre is known, some of every genre.
    genres: One per clip.
    colour: What a codec does to a waveform; every clip is then seen both as it
      is and coloured, so that the sound of the codec is not taken for a genre.
    seed: Of the split; both versions of a clip fall on one side of it.
    held_out: Share of the clips that measures `accuracy`; the classifier
      returned is then fitted on all.
    progress: Wraps the list of clips, for a progress bar.

  Returns:
    The probe, with its accuracy on held-out clips.

  Raises:
    ValueError: Clips and genres of different number, one genre only, or too
      few clips of a genre to split.
  """
  if len(genres) != len(clips):
    raise ValueError(f'{len(clips)} clips with {len(genres)} genres.')
  return fit_rows(
    rows(clips, colour=colour, progress=progress),
    genres,
    seed=seed,
    held_out=held_out,
  )


def rows(
  clips: Iterable[media.Audio],
  *,
  colour: Callable[[media.Audio], media.Audio] | None = None,
  progress: Callable[[Any], Any] = iter,
) -> Rows:
  """The features that `fit` fits to; see there."""
  found, owner = [], []
  for i, clip in enumerate(progress(clips)):
    versions = [clip] if colour is None else [clip, colour(clip)]
    found += [features(version) for version in versions]
    owner += [i] * len(versions)
  return Rows(features=np.stack(found), owner=np.array(owner))


def fit_rows(
  rows: Rows, genres: Sequence[str], *, seed: int = 0, held_out: float = 0.25
) -> GenreProbe:
  """`fit`, once the features are known; see there."""
  labels = np.array(genres)
  kinds, counts = np.unique(labels, return_counts=True)
  if len(kinds) < 2 or counts.min() < 2:
    raise ValueError(
      f'clips per genre are {dict(zip(kinds.tolist(), counts.tolist(), strict=True))};'
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
  """Indices of the held-out clips: the same share of every genre, >= 1."""
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
