"""Judges genre, tempo and beats of generated music against the truth."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any
from typing import Protocol

import numpy as np

from v2meow_jax import media
from v2meow_jax import progress as progress_lib
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.synthetic import held_out
from v2meow_jax.synthetic.songs import held_out_songs

METRICS = ('tempo_accuracy', 'tempo_octave', 'beat_f', 'genre_accuracy')
# Number of clips of each genre that the classifier is fitted on.
PROBE_PER_GENRE = 40
# A genre, and what plays a piece of it.
Piece = tuple[str, Callable[[], media.Audio]]


class Truth(Protocol):
  """True music of a clip, such as a `synthetic.scene.Scene`."""

  @property
  def genre(self) -> str:
    """Genre of the music."""
    ...

  @property
  def tempo_bpm(self) -> float:
    """Beats a minute; 0 without a pulse, with which no tempo agrees."""
    ...

  @property
  def beat_times(self) -> Sequence[float]:
    """Beat times in seconds, rising."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedClip:
  """Genre and beats estimated from a clip: a `Truth` where none is known."""

  genre: str
  beats: beat_scores.Beats

  @property
  def tempo_bpm(self) -> float:
    """Beats a minute; 0 without a pulse."""
    return self.beats.tempo_bpm or 0.0

  @property
  def beat_times(self) -> Sequence[float]:
    """Beat times in seconds, rising."""
    return self.beats.times.tolist()


def grids(
  clips: Sequence[JudgedClip], truths: Sequence[Truth]
) -> dict[str, np.ndarray]:
  """Scores every clip against every truth.

  Args:
    clips: Judged clips.
    truths: Truths of the scenes.

  Returns:
    For each of METRICS a float64[clips, truths]: 0 or 1, or F in [0, 1].
  """
  grids = {m: np.zeros((len(clips), len(truths))) for m in METRICS}
  for i, clip in enumerate(clips):
    bpm = clip.beats.tempo_bpm
    for j, truth in enumerate(truths):
      values = {
        'tempo_accuracy': beat_scores.tempo_agrees(bpm, truth.tempo_bpm),
        'tempo_octave': beat_scores.tempo_octave(bpm, truth.tempo_bpm),
        'beat_f': beat_scores.beat_f(
          clip.beats.times, np.asarray(truth.beat_times)
        ),
        'genre_accuracy': clip.genre == truth.genre,
      }
      for metric, value in values.items():
        grids[metric][i, j] = value
  return grids


def fit_probe(
  codec: Any,
  *,
  per_genre: int,
  seconds: float,
  seed: int,
  rows: Callable[
    [Callable[[], genre_probe.Rows]], genre_probe.Rows
  ] = lambda compute: compute(),
  world: str = 'drawn',
) -> genre_probe.GenreProbe:
  """Fits the genre classifier on music of its own, plain and coded.

  Args:
    codec: A `codecs.codec.Codec`, whose sound must not change the genre.
    per_genre: Number of pieces of each genre, at least 2.
    seconds: Length of each piece, in seconds.
    seed: Seed of the pieces and of the split.
    rows: Function that calls its argument, or returns a cached result of it.
    world: One of `WORLDS`: what plays the pieces.

  Returns:
    The classifier.
  """
  pieces = WORLDS[world](seed, per_genre, seconds)
  return genre_probe.fit(
    rows(
      lambda: genre_probe.rows(
        (play() for _, play in pieces),
        colour=lambda clip: round_trip(codec, clip),
        progress=lambda clips: progress_lib.bar(
          clips, desc='genre judge', total=len(pieces)
        ),
      )
    ),
    [genre for genre, _ in pieces],
    seed=seed,
  )


def _drawn(seed: int, per_genre: int, seconds: float) -> list[Piece]:
  scenes = held_out.probe_scenes(seed, per_genre, seconds)
  return [(s.genre, functools.partial(held_out.music, s)) for s in scenes]


def _songs(seed: int, per_genre: int, seconds: float) -> list[Piece]:
  songs = held_out_songs.probe_songs(seed, per_genre, seconds)
  return [
    (held_out_songs.GENRES[s.style], functools.partial(held_out_songs.music, s))
    for s in songs
  ]


WORLDS = {'drawn': _drawn, 'songs': _songs}


def round_trip(codec: Any, clip: media.Audio) -> media.Audio:
  """Encodes and decodes a clip at the codec's rate, keeping its length."""
  hop = round(codec.sample_rate_hz / codec.stream.rate_hz)
  n = len(clip.samples)
  padded = np.pad(clip.samples, (0, -n % hop)).astype(np.float32)
  decoded = np.asarray(codec.decode(codec.encode(padded[None])))[0, :n]
  return media.Audio(samples=decoded, rate_hz=clip.rate_hz)
