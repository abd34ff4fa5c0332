"""The judges of generated music: what is heard, scored against what is true."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Protocol

import numpy as np

from v2meow_jax import media
from v2meow_jax import progress as progress_lib
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.synthetic import held_out

METRICS = ('tempo_accuracy', 'tempo_octave', 'beat_f', 'genre_accuracy')
# Clips of each genre that the classifier is fitted on.
PROBE_PER_GENRE = 40


class Truth(Protocol):
  """What is true of a clip, such as a `synthetic.scene.Scene`."""

  @property
  def genre(self) -> str:
    """Of the music."""
    ...

  @property
  def tempo_bpm(self) -> float:
    """0 where there is no pulse, which nothing agrees with."""
    ...

  @property
  def beat_times(self) -> Sequence[float]:
    """Seconds, rising."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
  """One clip of music as the judges hear it."""

  genre: str
  beats: beat_scores.Beats


def listen(
  clips: Sequence[media.Audio], probe: genre_probe.GenreProbe
) -> list[Heard]:
  """Estimates genre, tempo and beats of each clip from its sound alone."""
  return [
    Heard(genre=genre, beats=beat_scores.track(clip))
    for genre, clip in zip(probe.predict(clips), clips, strict=True)
  ]


def grids(
  heard: Sequence[Heard], scenes: Sequence[Truth]
) -> dict[str, np.ndarray]:
  """Each metric of every clip against the truth of every scene.

  Args:
    heard: Clips.
    scenes: The truths.

  Returns:
    For each of METRICS a float64[clips, scenes]: 0 or 1, or F in [0, 1].
  """
  made = {m: np.zeros((len(heard), len(scenes))) for m in METRICS}
  for i, clip in enumerate(heard):
    tempo_bpm = clip.beats.tempo_bpm
    for j, truth in enumerate(scenes):
      made['tempo_accuracy'][i, j] = beat_scores.tempo_agrees(
        tempo_bpm, truth.tempo_bpm
      )
      made['tempo_octave'][i, j] = beat_scores.tempo_octave(
        tempo_bpm, truth.tempo_bpm
      )
      made['beat_f'][i, j] = beat_scores.beat_f(
        clip.beats.times, np.asarray(truth.beat_times)
      )
      made['genre_accuracy'][i, j] = clip.genre == truth.genre
  return made


def fit_probe(
  codec: Any,
  *,
  per_genre: int,
  seconds: float,
  seed: int,
  rows: Callable[
    [Callable[[], genre_probe.Rows]], genre_probe.Rows
  ] = lambda compute: compute(),
) -> genre_probe.GenreProbe:
  """Fits the genre classifier on scenes of its own, plain and coded.

  Args:
    codec: A `codecs.codec.Codec`, whose colour the classifier must not mind.
    per_genre: Scenes of each genre, at least 2.
    seconds: Of each.
    seed: Of the scenes and of the split.
    rows: Calls what it is given, or knows what that gave before.

  Returns:
    The classifier.
  """
  scenes = held_out.probe_scenes(seed, per_genre, seconds)
  return genre_probe.fit_rows(
    rows(
      lambda: genre_probe.rows(
        (held_out.music(scene) for scene in scenes),
        colour=lambda clip: round_trip(codec, clip),
        progress=lambda clips: progress_lib.bar(
          clips, desc='genre judge', total=len(scenes)
        ),
      )
    ),
    [scene.genre for scene in scenes],
    seed=seed,
  )


def round_trip(codec: Any, clip: media.Audio) -> media.Audio:
  """A clip, at the codec's rate, through all its levels; the length is kept."""
  hop = round(codec.sample_rate_hz / codec.stream.rate_hz)
  n = len(clip.samples)
  padded = np.pad(clip.samples, (0, -n % hop)).astype(np.float32)
  decoded = np.asarray(codec.decode(codec.encode(padded[None])))[0, :n]
  return media.Audio(samples=decoded, rate_hz=clip.rate_hz)


def matched(grid: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
  """Mean and interval of each metric over clips with their own scene."""
  return each(lambda g: bootstrap.mean_interval(np.diagonal(g)), grid)


def each(
  interval: Callable[[np.ndarray], bootstrap.Interval],
  grid: dict[str, np.ndarray],
) -> dict[str, dict[str, float]]:
  """`{mean, low, high}` of each metric by one of `bootstrap`'s intervals."""
  return {m: interval(grid[m]).as_dict() for m in METRICS}
