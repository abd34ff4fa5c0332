"""Held-out scenes that benchmarks.muvi makes music for, and what is heard in it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import codec as codec_benchmark
from benchmarks import correspondence
from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.synthetic import held_out

SECONDS = 10.0
_ROWS = 8  # Clips whose windows share calls, where no time is taken.


class Scenes:
  """Held-out scenes, their videos, and their judge.

  Attributes:
    scenes: The scenes.
    truths: Their music.
    coded: Their music after the codec.
    probe: Classifier of genres.
  """

  def __init__(self, codec: Any, options: argparse.Namespace):
    """Draws the scenes, and fits the judge of genres."""
    self.scenes = held_out.scenes(options.seed, options.num, SECONDS)
    self.truths = [
      held_out.music(s) for s in report.progress(self.scenes, 'true music')
    ]
    self.probe = judges.fit_probe(
      codec,
      per_genre=options.probe_per_genre,
      seconds=SECONDS,
      seed=options.seed,
    )
    self.coded = [judges.round_trip(codec, clip) for clip in self.truths]
    self._seed = options.seed

  def judge(self, clips: Sequence[media.Audio]) -> dict[str, np.ndarray]:
    """Every clip against the truth of every scene, or of the first ones."""
    judged = correspondence.judge(clips, self.probe)
    return judges.grids(judged, self.scenes[: len(clips)])

  def generate(
    self,
    system: Any,
    what: str,
    num: int | None = None,
    blank: bool = False,
    styles: Sequence[media.Audio] | None = None,
    **kwargs: Any,
  ) -> list[media.Audio]:
    """Music for the first scenes, several clips at a time."""
    from v2meow_jax.inference import requests as requests_lib

    scenes = self.scenes[:num]
    first_seed = 100_000 * self._seed
    clips: list[media.Audio] = []
    for start in report.progress(range(0, len(scenes), _ROWS), what):
      with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
        requests = [
          requests_lib.Request(
            video=held_out.write_video(
              scenes[i], pathlib.Path(folder), blank=blank
            ),
            seed=first_seed + i,
            style_audio=styles[i] if styles else None,
          )
          for i in range(start, min(start + _ROWS, len(scenes)))
        ]
        made = system.run_batch(requests, rows=_ROWS, **kwargs)
      clips += [soundtrack.audio for soundtrack in made]
    return clips

  def real(self, system: Any, what: str, **kwargs: Any) -> dict[str, Any]:
    """Music for the scenes, against their truth; see `generate`."""
    clips = self.generate(system, what, **kwargs)
    return say(what, correspondence.matched(self.judge(clips)))

  def in_context(self, system: Any) -> dict[str, Any]:
    """Music that goes on from another genre's: whose genre does it have?"""
    own = [s.genre for s in self.scenes]
    others = [held_out.other_genre(i, genre) for i, genre in enumerate(own)]
    prompts = self._prompts({*others})
    styles = [prompts[genre] for genre in others]
    clips = self.generate(system, 'in context', styles=styles)
    judged = correspondence.judge(clips, self.probe)
    followed, kept = (
      _mean([clip.genre == w for clip, w in zip(judged, wanted, strict=True)])
      for wanted in (others, own)
    )
    print('genre of the prompt', bootstrap.Interval(**followed), flush=True)
    grid = judges.grids(judged, self.scenes)
    return {
      **say('in context', correspondence.matched(grid)),
      'genre_of_the_prompt': followed,
      'genre_of_the_picture': kept,
    }

  def _prompts(self, genres: set[str]) -> dict[str, media.Audio]:
    """Music of each genre, of scenes that nothing else is made of."""
    scenes = held_out.scenes(self._seed + 1, 64, SECONDS)
    first = {s.genre: s for s in reversed(scenes)}
    return {genre: held_out.music(first[genre]) for genre in sorted(genres)}

  def coverages(
    self, made: Mapping[str, Sequence[media.Audio]]
  ) -> dict[str, dict[str, float]]:
    """BCS and BHS of MuVi's form, by the name of the music."""

    def bins(clips):
      return [beat_coverage.bins(clip, 'unadjusted') for clip in clips]

    wanted, found = bins(self.truths), {}
    for name, clips in made.items():
      # A picture a little longer than its scene has longer music.
      cut = [
        clip.fitted(len(truth.samples))
        for truth, clip in zip(self.truths, clips, strict=True)
      ]
      scored = beat_coverage.beat_coverage(wanted, bins(cut), form='unadjusted')
      found[name] = {metric: score.value for metric, score in scored.items()}
    return found

  def take_times(
    self, calls: Mapping[str, Callable[..., Any]], turns: int
  ) -> dict[str, float]:
    """Median seconds of a clip that is made alone, by turns with the others.

    Args:
      calls: What makes music of a video and a seed, by its name.
      turns: Number of turns that are timed, after one that compiles.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
      video = held_out.write_video(
        self.scenes[0], pathlib.Path(folder), blank=False
      )
      for seed in report.progress(range(turns + 1), 'taking turns'):
        for name, generate in calls.items():
          start = time.perf_counter()
          generate(video, seed=seed)
          times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t[1:]) for name, t in times.items()}


def say(name: str, row: dict[str, Any]) -> dict[str, Any]:
  """Prints a row as soon as it is known, and returns it."""
  cells = [f'{m} {bootstrap.Interval(**row[m])}' for m in judges.METRICS]
  print(name, *cells, sep='  ', flush=True)
  return row


def round_trip_error(clips: Sequence[media.Audio], codec: Any) -> float:
  """Mean error of log-mel spectra of what a codec plays again, in dB."""
  errors = [
    codec_benchmark.log_mel_error(
      clip.samples, judges.round_trip(codec, clip).samples, clip.rate_hz
    )
    for clip in clips
  ]
  return float(np.mean(errors))


def _mean(values: Sequence[bool]) -> dict[str, float]:
  return dataclasses.asdict(bootstrap.mean_interval(np.array(values)))
