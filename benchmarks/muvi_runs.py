"""Trains the runs that benchmarks.muvi compares.

Runs, records and systems that are whole stay, so that the same call goes on
where one was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import dataclasses
import pathlib

from benchmarks import muvi_scenes
from benchmarks import parallel
from benchmarks import report

ADAPTORS = ('sigmoid', 'attention', 'average')
_RECIPES = 'systems/muvi/'
_MUSIC = 'tiny'
# Name of the records -> folder of the clips, and flags that make them.
_WORLDS = {
  'muvi_world': ('world', ('--seed', 0)),
  'muvi_contrary': ('contrary', ('--seed', 1, '--surprise', 1)),
}
_PREPARATION = '--gin_file=prepare/muvi_tiny.gin'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One training.

  Attributes:
    recipe: Recipe in `systems/muvi`, without its ending.
    steps: Name of the option that says how long.
    sources: Runs whose weights it begins with, the last of which wins.
    bindings: Bindings of gin besides.
    is_system: Whether it becomes a system that makes music.
  """

  recipe: str
  steps: str
  sources: tuple[str, ...] = ()
  bindings: tuple[str, ...] = ()
  is_system: bool = True


def _with_adaptor(kind: str) -> dict[str, Run]:
  bindings = (f"ADAPTOR = '{kind}'",)
  return {
    f'synchrony_{kind}': Run(
      recipe='tiny_synchrony',
      steps='synchrony_steps',
      bindings=bindings,
      is_system=False,
    ),
    kind: Run(
      recipe=_MUSIC,
      steps='train_steps',
      sources=('pretraining', f'synchrony_{kind}'),
      bindings=bindings,
    ),
  }


def table(adaptors: Sequence[str]) -> dict[str, Run]:
  """Lists the runs in their order, sources first.

  Args:
    adaptors: Adaptors that are trained besides the softmax gate.
  """
  runs = {
    'pretraining': Run(
      recipe='tiny_pretraining', steps='pretraining_steps', is_system=False
    ),
    'synchrony': Run(
      recipe='tiny_synchrony', steps='synchrony_steps', is_system=False
    ),
    'muvi': Run(
      recipe=_MUSIC,
      steps='train_steps',
      sources=('pretraining', 'synchrony'),
    ),
    'few_steps': Run(
      recipe='tiny_few_steps', steps='few_steps', sources=('muvi',)
    ),
    'in_context': Run(
      recipe='tiny_in_context',
      steps='context_steps',
      sources=('muvi',),
    ),
    'no_synchrony': Run(
      recipe=_MUSIC, steps='ablation_steps', sources=('pretraining',)
    ),
    'early': Run(
      recipe=_MUSIC, steps='early_steps', sources=('pretraining', 'synchrony')
    ),
    'early_no_synchrony': Run(
      recipe=_MUSIC, steps='early_steps', sources=('pretraining',)
    ),
  }
  for kind in adaptors:
    runs |= _with_adaptor(kind)
  return runs


def train(
  folder: pathlib.Path,
  world: int,
  adaptors: Sequence[str],
  steps: Mapping[str, int],
  at_once: int,
) -> tuple[dict[str, pathlib.Path], dict[str, pathlib.Path]]:
  """Makes what is missing in a folder.

  Args:
    folder: Folder of the world, its records, runs and systems.
    world: Number of clips to learn from.
    adaptors: Adaptors that are trained besides the softmax gate.
    steps: Number of steps by the option that says it; 0 leaves a run out.
    at_once: Number of trainings at a time: networks as small as these keep one
      core busy each.

  Returns:
    Folders of MuVi's systems by the name of their run, and of systems with a
    stage of masked codes by theirs.
  """
  folder.mkdir(parents=True, exist_ok=True)
  for name in _WORLDS:
    _prepare(folder, name, world)
  work = folder / 'masked'
  if steps['masked_steps']:
    parallel.prepare(work, world)
  runs = {n: r for n, r in table(adaptors).items() if steps[r.steps]}
  pool = futures.ThreadPoolExecutor(at_once)
  done: dict[str, futures.Future] = {}
  try:
    for (
      name,
      run,
    ) in runs.items():  # Sources first, so that none waits for ever.
      begin = {s: done[s] for s in run.sources if s in done}
      num_steps = steps[run.steps]
      done[name] = pool.submit(_train, folder, name, run, num_steps, begin)
    masked = pool.submit(_train_masked, work, steps['masked_steps'])
    for future in done.values():
      future.result()
    systems_of_codes = masked.result()
  finally:
    pool.shutdown(cancel_futures=True)  # Stopped, nothing else is begun.
  systems = {
    name: _export(folder, name, steps[run.steps])
    for name, run in runs.items()
    if run.is_system
  }
  return systems, systems_of_codes


def _train_masked(
  work: pathlib.Path, num_steps: int
) -> dict[str, pathlib.Path]:
  """Systems with a stage of masked codes, as of benchmarks.parallel, if any."""
  if not num_steps:
    return {}
  parallel.train(work, 'acoustic', num_steps)
  return {
    'masked': parallel.pack(work, 'parallel'),
    'masked, few passes': parallel.pack(work, 'few passes'),
  }


def _prepare(folder: pathlib.Path, name: str, num_clips: int) -> None:
  clips_name, flags = _WORLDS[name]
  clips, records = folder / clips_name, folder / name
  if not (clips / 'manifest.jsonl').exists():
    report.verb(
      folder, 'data', 'synth', clips, '--num', num_clips, '--seconds',
      muvi_scenes.SECONDS,
      *flags,
    )  # fmt: skip
  if not (records / 'moments.json').exists():
    report.verb(
      folder, 'data', 'prepare', clips / 'manifest.jsonl', records, _PREPARATION
    )


def _train(
  folder: pathlib.Path,
  name: str,
  run: Run,
  num_steps: int,
  sources: Mapping[str, futures.Future],
) -> None:
  for source in sources.values():
    source.result()
  done = folder / name / f'done_{num_steps}'
  if done.exists():
    return
  paths = tuple(str(folder / source) for source in sources)
  report.verb(
    folder,
    *('train', '--gin_file=runs/train.gin'),
    f'--gin_file={_RECIPES}{run.recipe}.gin',
    *(f'--gin.{line.replace(" = ", "=", 1)}' for line in run.bindings),
    f"--gin.MODEL_DIR='{folder / name}'",
    f'--gin.TRAIN_STEPS={num_steps}',
    f'--gin.WARMUP_STEPS={min(50, num_steps // 6)}',
    f'--gin.loop.train.warm_start={paths or None}',
    '--gin.loop.train.tensorboard=False',
    '--gin.loop.train.save_every=100',
    '--gin.loop.train.eval_every=250',
  )
  done.touch()


def _export(folder: pathlib.Path, name: str, num_steps: int) -> pathlib.Path:
  system = folder / 'systems' / f'{name}_{num_steps}'
  if not system.exists():
    system.parent.mkdir(exist_ok=True)
    report.verb(
      folder, 'export', system, '--stages', folder / name, _PREPARATION
    )
  return system
