"""Measures whole films: memory by length, seams between windows, themes.

python -m benchmarks.films --json out.json
python -m benchmarks.films --parts seams themes    # without the two-hour film

Memory is what the operating system saw of `v2meow generate` in a fresh process, on
films of one small picture a second. Seams are ranks of the changes where windows
meet among those elsewhere (`evaluation/metrics/seams.py`). Themes are sections of
equal tempo, key and prompt that share a label, against those that do not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import fractions
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks import generate
from benchmarks import report
from tests.fakes import scene_clips
from v2meow_jax import media
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import seams as seams_lib
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files import write

PARTS = ('memory', 'seams', 'themes')
AIMS = {'memory_long_over_short': 1.15, 'seam_rank': 0.5}
_SHOT_SECONDS = (5, 40)
_BPM = 120.0
_SECTION_SECONDS = 16.0
_LABELS = 'ABCABC'
_WINDOW, _HOP = 4096, 640  # Of chroma: 40 ms at 16 kHz.
_LOWEST_HZ, _HIGHEST_HZ = 55.0, 2000.0


def write_film(path: pathlib.Path, seconds: int) -> None:
  """Writes a silent film of one picture of 64 by 48 pixels a second."""

  def pictures():
    rng = np.random.default_rng(0)
    left = 0
    for i in range(seconds):
      if not left:
        left, colour = rng.integers(*_SHOT_SECONDS), rng.integers(30, 225, 3)
      left -= 1
      picture = np.full((48, 64, 3), colour, np.uint8)
      x = 7 * i % 48
      picture[10:30, x : x + 16] = 255 - colour
      yield picture

  write.write_video(path, pictures(), rate_hz=fractions.Fraction(1))


def measure_memory(
  folder: pathlib.Path, options: argparse.Namespace
) -> dict[str, Any]:
  """Peak memory and seconds of films of two lengths, and the ratio of peaks."""
  out = folder / f'out{options.suffix}'
  clips = {}
  for seconds in (options.short_seconds, options.long_seconds):
    clips[seconds] = folder / f'{seconds}.mp4'
    write_film(clips[seconds], seconds)
  # The first run compiles, which takes memory of its own.
  short = clips[options.short_seconds]
  command = generate.generate_command(short, out, options.system)
  generate.measure_command(command, folder / 'cache')
  return generate.measure_lengths(clips, out, options.system)


def measure_seams(system: Any, folder: pathlib.Path, seconds: float):
  """Ranks of the changes at the borders of each stage's windows."""
  from v2meow_jax.inference import windows as windows_lib

  clip = folder / 'scene.mp4'
  scene_clips.write(clip, seconds, 7)
  audio = system.generate(clip)
  borders = {}
  for stage, windows in zip(system.stages, system.windows, strict=True):
    starts = windows_lib.window_starts(
      seconds, stage.spec.crop_seconds, windows.prefix_seconds
    )
    borders[stage.spec.name] = [s + windows.prefix_seconds for s in starts[1:]]
  everywhere = sorted({b for some in borders.values() for b in some})
  figures = {}
  for name, some in borders.items():
    others = [b for b in everywhere if b not in some]
    changes = seams_lib.changes(audio.samples, audio.rate_hz)
    figures[name] = {'borders': len(some)}
    for kind, change in changes.items():
      ranks = seams_lib.ranks(change, some, others)
      interval = bootstrap.mean_interval(ranks)
      figures[name][kind] = {
        **dataclasses.asdict(interval),
        'percentiles_10_50_90': np.percentile(ranks, [10, 50, 90]).tolist(),
      }
  return figures


def themed_plan() -> plan_lib.MusicPlan:
  """Sections of eight bars, of one tempo, key and prompt, of which some return."""
  seconds = len(_LABELS) * _SECTION_SECONDS
  count = round(seconds * _BPM / 60)
  return plan_lib.MusicPlan(
    seconds=seconds,
    tempo_bpm=_BPM,
    beats_per_bar=4,
    source='given',
    beats=tuple(
      plan_lib.Beat(seconds=i * 60 / _BPM, downbeat=i % 4 == 0, energy=0.5)
      for i in range(count)
    ),
    sections=tuple(
      plan_lib.Section(
        start_seconds=i * _SECTION_SECONDS,
        mood='',
        energy=0.5,
        prompt='bright house',
        label=label,
      )
      for i, label in enumerate(_LABELS)
    ),
    key='C major',
  )


def measure_themes(system: Any, num_seeds: int) -> dict[str, Any]:
  """Likeness of sections that share a label, and of those that do not."""
  plan = themed_plan()
  times = np.arange(0.0, plan.seconds)
  frames = np.random.default_rng(0).integers(
    0, 255, (len(times), 32, 32, 3), np.uint8
  )
  video = media.Video(frames=frames, times=times, seconds=plan.seconds)
  values: dict[str, dict[str, list[float]]] = {
    kind: {'same': [], 'different': []} for kind in ('chroma', 'onsets')
  }
  for seed in report.progress(range(num_seeds), 'themes'):
    audio = system.generate(video, seed=seed, plan=plan)
    sections = np.split(audio.samples, len(_LABELS))
    features = [
      {'chroma': chroma(s, audio.rate_hz), 'onsets': onsets(s, audio.rate_hz)}
      for s in sections
    ]
    for i, one in enumerate(_LABELS):
      for j, other in enumerate(_LABELS[:i]):
        group = 'same' if one == other else 'different'
        for kind in values:
          likeness = _LIKENESSES[kind](features[i][kind], features[j][kind])
          values[kind][group].append(likeness)
  return {
    kind: {
      group: dataclasses.asdict(bootstrap.mean_interval(np.array(some)))
      for group, some in groups.items()
    }
    for kind, groups in values.items()
  }


def chroma(samples: np.ndarray, rate_hz: int) -> np.ndarray:
  """Energy of the twelve pitch classes every 40 ms, float[frames, 12]."""
  windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
  power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) ** 2
  hertz = np.fft.rfftfreq(_WINDOW, 1 / rate_hz)
  used = (hertz >= _LOWEST_HZ) & (hertz <= _HIGHEST_HZ)
  classes = np.round(12 * np.log2(hertz[used] / _LOWEST_HZ)).astype(int) % 12
  return np.sqrt(power[:, used] @ np.eye(12)[classes])


def onsets(samples: np.ndarray, rate_hz: int) -> np.ndarray:
  """Spectral flux every 10 ms, float[frames]."""
  return seams_lib.changes(samples, rate_hz)['flux']


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
  """Mean cosine of frames at the same time in two sections."""
  products = (one * other).sum(1)
  norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
  return float(np.mean(products / np.maximum(norms, 1e-9)))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
  return float(np.corrcoef(one, other)[0, 1])


_LIKENESSES = {'chroma': _cosine, 'onsets': _correlation}


def measure(folder: pathlib.Path, options: argparse.Namespace):
  """Measures the parts that are asked for."""
  figures: dict[str, Any] = {}
  # Fresh processes come first: Linux counts the memory of a parent as the start
  # of its child's peak.
  if 'memory' in options.parts:
    figures['memory'] = measure_memory(folder, options)
  if {'seams', 'themes'} & set(options.parts):
    from v2meow_jax.inference import system as system_lib

    system = system_lib.load(options.system)
    if 'seams' in options.parts:
      figures['seams'] = measure_seams(system, folder, options.seconds)
    if 'themes' in options.parts:
      figures['themes'] = measure_themes(system, options.seeds)
    figures['system_sha256'] = system.digest
  return figures


def show(figures: dict[str, Any]) -> str:
  """Prints the figures as a table."""
  rows = []
  if memory := figures.get('memory'):
    for seconds, wall, peak in zip(
      memory['video_seconds'],
      memory['seconds'],
      memory['peak_bytes'],
      strict=True,
    ):
      rows.append(
        [f'film of {seconds} s', f'{peak / 1e6:.0f} MB, {wall:.0f} s']
      )
    aim = AIMS['memory_long_over_short']
    met = 'met' if memory['ratio'] < aim else 'MISSED'
    rows.append(
      ['memory, long over short', f'{memory["ratio"]:.3f} (< {aim}: {met})']
    )
  for name, stage in figures.get('seams', {}).items():
    for kind in ('flux', 'loudness'):
      low, middle, high = stage[kind]['percentiles_10_50_90']
      rows.append(
        [
          f'{kind} at {stage["borders"]} borders of {name}, rank',
          f'{_interval(stage[kind])}; 10, 50, 90 %: {low:.2f} {middle:.2f}'
          f' {high:.2f}',
        ]
      )
  for kind, groups in figures.get('themes', {}).items():
    for group, interval in groups.items():
      rows.append(
        [f'{kind} of sections with {group} label(s)', _interval(interval)]
      )
  return report.table(['figure', 'measured'], rows)


def _interval(interval: dict[str, float]) -> str:
  fields = {name: interval[name] for name in ('mean', 'low', 'high')}
  return str(bootstrap.Interval(**fields))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.films',
    'Measures whole films: memory by length, seams between windows, themes.',
    'python -m benchmarks.films --parts seams themes --json out.json',
  )
  report.add_system(parser)
  add = parser.add_argument
  add('--parts', nargs='+', choices=PARTS, default=PARTS, help='default: all')
  add('--short_seconds', type=report.positive, default=300, help='default 300')
  add('--long_seconds', type=report.positive, default=7200, help='default 7200')
  add('--suffix', default='.wav', help='of the outputs (default .wav)')
  add('--seconds', type=float, default=120.0, help='for seams (default 120)')
  add('--seeds', type=report.positive, default=4, help='of themes (default 4)')
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    figures = measure(pathlib.Path(folder), options)
  print(show(figures))
  report.write_json(
    options.json,
    {'benchmark': 'films', **figures, 'settings': vars(options)},
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
