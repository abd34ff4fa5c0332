"""Turns a plan into the picture of a drawn scene that pulses at its beats.

A stage that was trained on drawn scenes follows a plan that comes as the motion
of such a picture, whatever the picture of the clip is.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import fractions
import math

import numpy as np
import numpy.typing as npt

from v2meow_jax import media
from v2meow_jax.extractors.planning import mood
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import render
from v2meow_jax.synthetic import scene as scene_lib

RATE_HZ = fractions.Fraction(25)
_SIZE = (96, 54)  # Twice the pixels on which motion is measured.
_TRIPLE = 'waltz'
_BEFORE = -1e-3  # Position before the first beat: no pulse is left there.


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedScene(scene_lib.Scene):
  """A scene whose beats are those of a plan.

  Attributes:
    downbeats: Whether each of `beat_times` begins a bar.
  """

  downbeats: tuple[bool, ...]

  def beats_at(self, times: npt.ArrayLike) -> np.ndarray:
    """Position in beats from the first: float64, as `times`."""
    times = np.asarray(times, np.float64)
    if not self.beat_times:
      return np.full(times.shape, _BEFORE)
    beats = np.array(self.beat_times)
    inside = np.interp(times, beats, np.arange(len(beats)))
    # After the last beat none follows; before the first none was.
    late = np.minimum(
      np.maximum(times - beats[-1], 0) / self.beat_seconds, 0.99
    )
    return np.where(times < beats[0], _BEFORE, inside + late)

  def is_downbeat(self, beats: npt.ArrayLike) -> np.ndarray:
    """Whether whole positions of `beats_at` are the first of a bar."""
    index = np.asarray(beats).astype(int)
    downbeats = np.array([*self.downbeats, False])
    return downbeats[np.clip(index, -1, len(self.downbeats))]


def scene(plan: plan_lib.MusicPlan, seconds: float) -> PlannedScene:
  """The scene that shows a plan for `seconds`, which may be beyond its end.

  Beats go on after the clip at the plan's tempo, unless the music rings out.
  """
  beats = plan_lib.continued(plan, seconds).beats
  times = tuple(beat.seconds for beat in beats)
  look = genres.GENRES[_look(plan)]
  palette = [(hue, look.saturation, look.brightness) for hue in look.hues]
  return PlannedScene(
    seed=0,
    index=0,
    seconds=seconds,
    genre=_look(plan),
    look_genre=_look(plan),
    tempo_bpm=plan.tempo_bpm,
    first_beat_seconds=times[0] if times else 0.0,
    first_beat_in_bar=0,
    first_chord=0,
    beat_times=times,
    downbeats=tuple(beat.downbeat for beat in beats),
    cut_times=tuple(s.start_seconds for s in plan.sections[1:]),
    key='C',
    mode='major',
    palette=(*palette, (0.1, 0.95, 0.9)),
    shapes=look.shape,
    texture=look.texture,
    activity=tuple(_activity(section.energy) for section in plan.sections),
    rate_hz=RATE_HZ,
    size=_SIZE,
  )


def _look(plan: plan_lib.MusicPlan) -> str:
  """The genre whose scenes have this metre and the nearest tempo."""
  if plan.beats_per_bar == 3:
    return _TRIPLE
  others = [g for g in genres.GENRES if g != _TRIPLE]
  return mood.genre_of_tempo(dict.fromkeys(others, 1.0), plan.tempo_bpm)


def _activity(energy: float) -> float:
  low, high = min(genres.ACTIVITIES), max(genres.ACTIVITIES)
  return low + (high - low) * energy


def video(
  plan: plan_lib.MusicPlan, seconds: float, piece_seconds: float
) -> Iterator[media.Video]:
  """The picture of a plan, piece by piece, each led by the frame before.

  Args:
    plan: Plan to show.
    seconds: Length of the picture, in seconds.
    piece_seconds: Length of a piece, a whole number of frames, in seconds.

  Yields:
    Pieces as of `files.read.iter_video`.
  """
  shown = scene(plan, seconds)
  per_piece = round(piece_seconds * RATE_HZ)
  held: list[np.ndarray] = []
  first = 0
  num_frames = math.ceil(seconds * RATE_HZ - 1e-9)
  for number, frame in enumerate(render.frames(shown), 1):
    held.append(frame)
    if number % per_piece and number != num_frames:
      continue
    start = float(((number - 1) // per_piece) * per_piece / RATE_HZ)
    yield media.Video(
      frames=np.stack(held),
      times=(first + np.arange(len(held))) / float(RATE_HZ),
      start_seconds=start,
      seconds=min(per_piece / float(RATE_HZ), seconds - start),
    )
    held, first = held[-1:], number - 1
