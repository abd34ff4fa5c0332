"""Measures music for real videos, where nobody knows the true music.

python -m benchmarks.real_video CLIP... --seeds 1 2 --json out.json

  same_opening       share of pairs of clips with the same first two seconds
  pulse, key         clarity of pulse and key
  loudness_follows_motion, loudness_follows_other_motion
                     rank correlation over half-seconds with the motion of the
                     clip, and with that of the others
  onset_rate_follows_motion
                     rank correlation over clips
  cut_hit            share of cuts with an onset or beat within 70 ms, less the
                     same by chance; clips with cuts and a montage of all clips
  silence            share of half-seconds below -40 dB
  tempo_following    share of music in a tempo that was asked for by --bpm, and
                     by a prompt, within 4 %, octaves apart
  key_following      share of music in a key that was asked for by --key, or in
                     its relative key, which has the same notes
  prompt_following   share of music of the genre that a prompt names, for a
                     classifier fitted on held-out music of the drawn world, or
                     of songs (--judge); everyday_prompt_following: of prompts
                     that have other words, all of them for each clip

Means over clips, of the mean over seeds, with 95 % bootstrap intervals.
`--no_plan` measures the same without a plan.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
import sys
import time
from typing import Any

import numpy as np

from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import soundtrack_figures
from v2meow_jax.extractors.planning import analysis
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import read
from v2meow_jax.synthetic import held_out

_ASKED_BPM = (96.0, 132.0)
_ASKED_KEYS = ('C major', 'Eb minor', 'A minor', 'F major')
_KEYS_A_CLIP = 2
_PROMPTS_A_CLIP = 2
_MAX_SIDE = 128
_MONTAGE = 'montage'
_SHOTS = 10
_SHOT_SECONDS = (0.8, 2.2)
_RATE_HZ, _HEIGHT, _WIDTH = 25, 72, 128
_PROBE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """A clip that music is made for.

  Attributes:
    name: Name in the figures.
    video: Decoded frames.
    seen: Analysis of its picture.
    cuts: Times of its cuts, in seconds.
  """

  name: str
  video: media.Video
  seen: analysis.Analysis
  cuts: np.ndarray


def clips_of(paths: Sequence[str]) -> list[Clip]:
  """Reads clips, and appends a montage of all of them, whose cuts are known."""
  clips = []
  for path in report.progress(paths, 'reading'):
    video = read.read_video(path, max_side=_MAX_SIDE)
    seen = analysis.analyse(video.pieces(10.0))
    name = pathlib.Path(path).stem
    clips.append(Clip(name=name, video=video, seen=seen, cuts=seen.cuts))
  video, cuts = montage([clip.video for clip in clips])
  seen = analysis.analyse([video])
  return [*clips, Clip(name=_MONTAGE, video=video, seen=seen, cuts=cuts)]


def montage(
  videos: Sequence[media.Video], seed: int = 0
) -> tuple[media.Video, np.ndarray]:
  """Ten shots of random lengths, from the videos in turn; times of the cuts."""
  rng = np.random.default_rng(seed)
  frames, lengths = [], []
  for shot in range(_SHOTS):
    video = videos[shot % len(videos)]
    count = round(rng.uniform(*_SHOT_SECONDS) * _RATE_HZ)
    start = rng.uniform(0, max(video.seconds - count / _RATE_HZ, 0))
    shown = video.at(start + np.arange(count) / _RATE_HZ)
    rows = np.arange(_HEIGHT) * shown.shape[1] // _HEIGHT
    columns = np.arange(_WIDTH) * shown.shape[2] // _WIDTH
    frames.append(shown[:, rows][:, :, columns])
    lengths.append(count)
  joined = np.concatenate(frames)
  times = np.arange(len(joined)) / _RATE_HZ
  made = media.Video(frames=joined, times=times, seconds=len(joined) / _RATE_HZ)
  return made, np.cumsum(lengths)[:-1] / _RATE_HZ


def measure(system: Any, options: argparse.Namespace) -> dict[str, Any]:
  """Makes music for all clips and judges it.

  Args:
    system: An `inference.system.System`, or anything with its `generate`.
    options: Options `clips`, `seeds`, `no_plan`, `probe_per_genre` and `judge`
      of the command line.

  Returns:
    The figures, as in the json.
  """
  clips = clips_of(options.clips)
  plan = None if options.no_plan else planner.FROM_PICTURE
  jobs = [(clip, seed) for clip in clips for seed in options.seeds]
  made = {
    (clip.name, seed): system.generate(clip.video, seed=seed, plan=plan)
    for clip, seed in report.progress(jobs, 'generating')
  }
  rows = {
    clip.name: [_row(clip, made[clip.name, seed]) for seed in options.seeds]
    for clip in clips
  }
  real = [clip for clip in clips if clip.name != _MONTAGE]
  means = {
    name: {
      key: float(np.mean([r[key] for r in of_seeds])) for key in of_seeds[0]
    }
    for name, of_seeds in rows.items()
  }
  figures = {
    key: _interval([means[clip.name][key] for clip in real])
    for key in ('pulse', 'key', 'silence', 'loudness_follows_motion')
  }
  figures['loudness_follows_other_motion'] = _interval(
    [_follows_others(clip, real, made, options.seeds) for clip in real]
  )
  figures['loudness_own_less_other'] = _interval(
    [
      means[clip.name]['loudness_follows_motion']
      - _follows_others(clip, real, made, options.seeds)
      for clip in real
    ]
  )
  cut = [means[c.name] for c in clips if len(c.cuts)]
  for key in ('cut_hit', 'cut_hit_by_chance', 'cut_hit_above_chance'):
    figures[key] = _interval([row[key] for row in cut])
  if len(real) > 1:
    figures['same_opening'] = _interval(
      [
        soundtrack_figures.same_openings([made[c.name, s] for c in real])
        for s in options.seeds
      ]
    )
    figures['onset_rate_follows_motion'] = {
      'mean': soundtrack_figures.rank_correlation(
        np.array([means[c.name]['onset_rate'] for c in real]),
        np.array([c.seen.motion.mean() for c in real]),
      )
    }
  figures |= _tempo_following(system, real, options)
  if not options.no_plan:
    figures['key_following'] = _key_following(system, real, options)
  if options.probe_per_genre:
    figures |= _prompts_following(system, real, options)
  return {'figures': figures, 'clips': means}


def _row(clip: Clip, audio: media.Audio) -> dict[str, float]:
  """Figures of one soundtrack."""
  level = soundtrack_figures.loudness(audio)
  motion = _motion(clip, len(level))
  onsets = beat_coverage.onsets(audio)
  row = {
    'pulse': soundtrack_figures.pulse_clarity(audio),
    'key': soundtrack_figures.key_clarity(audio),
    'silence': soundtrack_figures.silence(audio),
    'loudness_follows_motion': soundtrack_figures.rank_correlation(
      level, motion
    ),
    'onset_rate': len(onsets) / audio.seconds,
  }
  if len(clip.cuts):
    events = np.concatenate([onsets, beat_scores.track(audio).times])
    hit, chance = soundtrack_figures.cut_hits(events, clip.cuts, audio.seconds)
    row |= {
      'cut_hit': hit,
      'cut_hit_by_chance': chance,
      'cut_hit_above_chance': hit - chance,
    }
  return row


def _motion(clip: Clip, num_steps: int) -> np.ndarray:
  return soundtrack_figures.steps_of(
    clip.seen.motion, analysis.RATE_HZ, num_steps
  )


def _follows_others(
  clip: Clip,
  clips: Sequence[Clip],
  made: Mapping[tuple[str, int], media.Audio],
  seeds: Sequence[int],
) -> float:
  """Mean correlation of a clip's music with the motion of the other clips."""
  values = []
  for seed in seeds:
    level = soundtrack_figures.loudness(made[clip.name, seed])
    for other in clips:
      if other is not clip:
        num_steps = int(other.seen.seconds / soundtrack_figures.STEP_SECONDS)
        motion = _motion(other, max(1, num_steps))
        values.append(soundtrack_figures.rank_correlation(level, motion))
  return float(np.mean(values)) if values else 0.0


def _tempo_following(
  system: Any, clips: Sequence[Clip], options: argparse.Namespace
) -> dict[str, Any]:
  """Share of music in a tempo that a wish or a prompt asks for."""
  ways: dict[str, list[list[bool]]] = {'prompt': []}
  if not options.no_plan:
    ways['bpm'] = []
  jobs = [(way, clip) for way in ways for clip in clips]
  for way, clip in report.progress(jobs, 'asking for tempi'):
    followed = []
    for bpm in _ASKED_BPM:
      plan = None if options.no_plan else planner.FROM_PICTURE
      prompt = None
      if way == 'bpm':
        plan = planner.Wishes(bpm=bpm)
      else:
        prompt = f'music at {bpm:g} bpm'
      audio = system.generate(
        clip.video, prompt=prompt, seed=options.seeds[0], plan=plan
      )
      tempo_bpm = beat_scores.track(audio).tempo_bpm
      followed.append(soundtrack_figures.plays_tempo(tempo_bpm, bpm))
    ways[way].append(followed)
  return {
    f'tempo_following_{way}': _interval([np.mean(f) for f in values])
    for way, values in ways.items()
  }


def _key_following(
  system: Any, clips: Sequence[Clip], options: argparse.Namespace
) -> dict[str, float] | None:
  """Share of music in the key of a wish; different keys for each clip."""
  followed = []
  for number, clip in enumerate(report.progress(clips, 'asking for keys')):
    asked = _turns(_ASKED_KEYS, number, _KEYS_A_CLIP)
    followed.append(
      [
        soundtrack_figures.plays_key(
          system.generate(
            clip.video, seed=options.seeds[0], plan=planner.Wishes(key=key)
          ),
          plan_lib.TONICS.index(key.split()[0]),
          key.split()[1],
        )
        for key in asked
      ]
    )
  return _interval([np.mean(f) for f in followed])


def _prompts_following(
  system: Any, clips: Sequence[Clip], options: argparse.Namespace
) -> dict[str, Any]:
  """Share of music of a prompt's genre; different prompts for each clip."""
  probe = judges.fit_probe(
    system.codec,
    per_genre=options.probe_per_genre,
    seconds=_PROBE_SECONDS,
    seed=options.seeds[0],
    world=options.judge,
  )
  ways = {
    'prompt_following': (tuple(held_out.PROMPTS.items()), _PROMPTS_A_CLIP),
    'everyday_prompt_following': (held_out.EVERYDAY_PROMPTS, None),
  }
  return {
    way: _interval(
      [
        _follows(system, probe, clip, asked, options)
        for clip, asked in report.progress(
          [
            (clip, _turns(prompts, number, count or len(prompts)))
            for number, clip in enumerate(clips)
          ],
          'asking by prompts',
        )
      ]
    )
    for way, (prompts, count) in ways.items()
  }


def _follows(
  system: Any,
  probe: genre_probe.GenreProbe,
  clip: Clip,
  asked: Sequence[tuple[str, str]],
  options: argparse.Namespace,
) -> float:
  """Share of music for a clip of the genres of some prompts."""
  plan = None if options.no_plan else planner.FROM_PICTURE
  heard = [
    genre_probe.features(
      system.generate(
        clip.video, prompt=prompt, seed=options.seeds[0], plan=plan
      )
    )
    for _, prompt in asked
  ]
  judged = probe.predict(np.stack(heard))
  return float(
    np.mean([a == genre for a, (genre, _) in zip(judged, asked, strict=True)])
  )


def _turns(values: Sequence[Any], number: int, count: int) -> list[Any]:
  """`count` of some values, those of clip `number` in turn."""
  return [values[(count * number + i) % len(values)] for i in range(count)]


def _interval(values: Sequence[Any]) -> dict[str, float] | None:
  if not len(values):
    return None
  interval = bootstrap.mean_interval(np.array(values, np.float64))
  return dataclasses.asdict(interval)


def show(measured: dict[str, Any]) -> str:
  """Prints the figures as a table, and those of each clip."""
  cells = [
    [name, *(f'{value[k]:.3f}' if k in value else '' for k in _ENDS)]
    for name, value in measured['figures'].items()
    if value is not None
  ]
  keys = ('pulse', 'key', 'loudness_follows_motion', 'onset_rate', 'cut_hit')
  clips = [
    [name, *(f'{row[k]:.2f}' if k in row else '' for k in keys)]
    for name, row in measured['clips'].items()
  ]
  return '\n'.join(
    [
      report.table(['figure', 'mean', 'from', 'to'], cells),
      '',
      report.table(['clip', *keys], clips),
    ]
  )


_ENDS = ('mean', 'low', 'high')


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.real_video',
    'Measures pulse, key, loudness, cuts and tempo of music for real videos.',
    'python -m benchmarks.real_video a.mp4 b.mp4 --seeds 1 2 --json out.json',
  )
  report.add_system(parser)
  parser.add_argument('clips', nargs='+', metavar='CLIP', help='video files')
  parser.add_argument(
    '--seeds', nargs='+', type=int, default=[1, 2], help='default: 1 2'
  )
  parser.add_argument(
    '--probe_per_genre',
    type=int,
    default=20,
    help=(
      'clips per genre that the classifier of prompt_following is fitted on;'
      ' 0: do not measure it (default 20)'
    ),
  )
  parser.add_argument(
    '--judge', default='songs', choices=sorted(judges.WORLDS),
    help='music that the classifier hears: as the system learnt (default songs)',
  )  # fmt: skip
  parser.add_argument(
    '--no_plan', action='store_true', help='make music without a plan'
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  names = [pathlib.Path(path).stem for path in options.clips]
  if len(set(names)) < len(names) or _MONTAGE in names:
    raise ValueError(
      f'the clips are called {names}; wanted different names, none of them'
      f' {_MONTAGE!r}.'
    )
  from v2meow_jax.inference import system as system_lib

  start = time.perf_counter()
  system = system_lib.load(options.system)
  measured = measure(system, options)
  print(show(measured))
  report.write_json(
    options.json,
    {
      'benchmark': 'real_video',
      **measured,
      'settings': vars(options),
      'system_sha256': system.digest,
      'seconds': round(time.perf_counter() - start, 1),
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
