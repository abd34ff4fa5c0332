"""Measures an accelerator in one go, and writes a table for the documents.

python -m benchmarks.accelerator --table accelerator.md --json accelerator.json
python -m benchmarks.accelerator --tiny        # the same path, anywhere

Four parts: sampling (`benchmarks.decode`); a soundtrack of a system of the
paper's sizes with random weights (`benchmarks.generate`); half a minute of MuVi's
base size in few steps (`benchmarks.flows`); and the share of the peak of one
device, by its data sheet, that a training step of each stage of the paper's sizes
reaches in bfloat16. Each part has a process of its own, as JAX
holds what a device has until its process ends; one that fails leaves its reason
in the table, and the others run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import multiprocessing
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import decode
from benchmarks import flows
from benchmarks import generate
from benchmarks import report
from benchmarks import training
from tests.fakes import random_system
from v2meow_jax.files import atomic

# Rows of a training step of each stage: what fits 80 GB without `--remat`.
ROWS = {'semantic': 32, 'coarse': 8, 'fine': 8, 'muvi': 32}
RECIPES = {'muvi': flows.RECIPE}  # Others are in stages/.
AIMS = {
  'over_t5x': '2.0, 2.5',
  'roofline_share': '0.80',
  'mfu': '0.35',
  'mfu_muvi': '0.45',
  'flow_8': '0.3 s',  # Of an H200, for half a minute.
}
PARTS = ('sampling', 'soundtrack', 'flow', 'training')
FLOW_STEPS = 8
HEADER = ('part', 'figure', 'measured', 'aim')
_TINY_SHAPE = decode.Shape(
  sizes={
    'emb_dim': 32,
    'num_heads': 2,
    'head_dim': 16,
    'mlp_dim': 48,
    'num_encoder_layers': 1,
    'num_decoder_layers': 1,
  },
  num_inputs=7,
  num_targets=40,
  num_cpu_targets=40,
)


def check_device(tiny: bool) -> str:
  """Names the device; ValueError where full sizes would take days."""
  import jax

  if jax.default_backend() == 'cpu' and not tiny:
    raise ValueError(
      'JAX finds no accelerator here, and on a CPU these sizes take days; try'
      ' the script with --tiny, or install the jax of the device (v2meow doctor).'
    )
  return jax.local_devices()[0].device_kind


def sampling(tiny: bool, rounds: int) -> list[dict[str, Any]]:
  """Measures each shape and batch size as `benchmarks.decode` does."""
  import jax

  if tiny:  # Of this process alone.
    decode.SHAPES, decode.STREAM_SIDE = {'tiny': _TINY_SHAPE}, 64
  on_cpu = jax.default_backend() == 'cpu'
  return [
    decode.measure(name, batch_size, rounds, on_cpu)
    for name in decode.SHAPES
    for batch_size in ((2,) if tiny else decode.GPU_BATCHES)
  ]


def soundtrack(folder: str, seconds: float) -> dict[str, Any]:
  """Measures starts and a warm run of the system in a folder."""
  options = argparse.Namespace(
    system=str(pathlib.Path(folder) / 'system'),
    seconds=seconds,
    seed=7,
    repeats=3,
    skip_long=True,
  )
  return generate.measure(pathlib.Path(folder), options)


def random_batch(model: Any, num_rows: int) -> dict[str, Any]:
  """Draws legal ids and normal features for a stage."""
  from v2meow_jax import specs
  from v2meow_jax import tokens

  rng, space = np.random.default_rng(0), tokens.IdSpace(model.spec)
  if not isinstance(model.spec.target, specs.TokenSpec):
    return {
      name: np.ones(x.shape, np.float32)
      if name.endswith('weights')
      else rng.standard_normal(x.shape, np.float32)
      for name, x in model.example_batch(num_rows).items()
    }

  def draw(stream, length):
    if not isinstance(stream, specs.TokenSpec):
      shape = (num_rows, length, stream.dim)
      return rng.normal(size=shape).astype(np.float32)
    frames = length // stream.num_codebooks
    shape = (num_rows, frames, stream.num_codebooks)
    codes = rng.integers(stream.codebook_size, size=shape)
    return space.codes_to_ids(codes, stream).astype(np.int32)

  examples = model.example_inputs(1)
  inputs = {
    name: draw(stream, examples[name].shape[1])
    for stream in model.spec.inputs
    for name in (f'encoder_inputs_{stream.name}',)
  }
  ids = draw(model.spec.target, model.target_length)
  return model.forced_batch(inputs, ids)


def utilisation(
  stage: str, num_rows: int, bindings: Sequence[str], rounds: int
) -> dict[str, Any]:
  """Measures the share of one device's peak in a training step of a recipe.

  Args:
    stage: Name of a stage, one of `ROWS`.
    num_rows: Number of examples in a step.
    bindings: Bindings that are read after the recipe.
    rounds: Number of steps timed, after two that are not.

  Returns:
    'stage', 'rows', 'seconds' of the median step, 'flops' of a step, and 'mfu',
    None for a device whose peak is not known.
  """
  import jax

  from v2meow_jax import experiments
  from v2meow_jax.training.monitoring import flops
  from v2meow_jax.training.monitoring import goodput

  recipe = RECIPES.get(stage, f'stages/{stage}.gin')
  files = ('runs/train.gin', recipe)
  model = experiments.load_model(files, bindings, ('gin',))
  batch = random_batch(model, num_rows)
  step = training.our_step(model, batch)
  losses, seconds = [step(), step()], []
  for _ in range(rounds):
    start = time.perf_counter()
    losses.append(step())
    seconds.append(time.perf_counter() - start)
  if not np.isfinite(losses).all():
    raise ValueError(f'the losses of {stage} are {losses}; wanted numbers.')
  work, peak = flops.train_flops(model, batch), goodput.peak_flops()
  taken = statistics.median(seconds)
  return {
    'stage': stage,
    'rows': num_rows,
    'dtype': model.network.dtype,
    'seconds': taken,
    'flops': work,
    'mfu': peak and work / taken / (peak / jax.device_count()),
  }


def apart(function: Callable[..., Any], *args: Any) -> Any:
  """Calls a function in a process that ends with it.

  Returns:
    Its result, or of a failure {'failed': one line}.
  """
  spawn = multiprocessing.get_context('spawn')
  with futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
    try:
      return pool.submit(function, *args).result()
    except Exception as e:  # Whatever it is, other parts can be measured.
      line = f'{type(e).__name__}: {" ".join(str(e).split())}'
      return {'failed': line[:200]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Measures all parts; raises ValueError as `check_device`."""
  device = apart(check_device, options.tiny)
  if not isinstance(device, str):
    raise ValueError(device['failed'])
  parts = options.part or PARTS
  figures: dict[str, Any] = {'device': device}
  if 'sampling' in parts:
    figures['decode'] = apart(sampling, options.tiny, options.rounds)
  if 'soundtrack' in parts:
    figures['generate'] = random_soundtrack(options)
  if 'flow' in parts:
    seconds = 1.0 if options.tiny else options.flow_seconds
    figures['flow'] = apart(
      flows.measure, options.tiny, seconds, FLOW_STEPS, options.rounds
    )
  if 'training' in parts:
    figures['training'] = train(options)
  return figures


def random_soundtrack(options: argparse.Namespace) -> dict[str, Any]:
  """Measures `soundtrack` of a system with random weights."""
  seconds = 1.0 if options.tiny else options.seconds
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    made = apart(random_system.write_system, pathlib.Path(folder), options.tiny)
    if isinstance(made, pathlib.Path):
      made = apart(soundtrack, folder, seconds)
  return {'seconds_of_clip': seconds, **made}


def train(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
  """Measures `utilisation` of each stage, by its name."""
  bindings = [f'REMAT = {options.remat}']
  if options.tiny:
    bindings += random_system.TINY_STAGES
  return {
    stage: apart(
      utilisation,
      stage,
      2 if options.tiny else ROWS[stage],
      bindings,
      options.rounds,
    )
    for stage in options.stage or ROWS
  }


def table(figures: dict[str, Any]) -> list[list[str]]:
  """Makes rows of `HEADER`; of what failed, the reason."""
  rows = []
  sampled = figures.get('decode', [])
  if 'failed' in sampled:
    rows.append(['sampling', 'ms a step', _unmeasured(sampled), ''])
    sampled = []
  for row in sampled:
    what = f'{row["shape"]}, batch {row["batch"]}'
    rows.append(['sampling', f'{what}, ms a step', f'{row["ours_ms"]:.3f}', ''])
    for key, figure in (
      ('over_t5x', 'T5X over ours'),
      ('roofline_share', 'share of the roofline'),
    ):
      if row[key] is not None:
        number = f'{row[key]:.2f}'
        rows.append(['sampling', f'{what}, {figure}', number, AIMS[key]])
  played = figures.get('generate')
  if played and 'failed' in played:
    rows.append(['soundtrack', 'a clip', _unmeasured(played), ''])
  elif played:
    clip = f'a clip of {played["seconds_of_clip"]:g} s'
    rows += [
      ['soundtrack', f'{clip}, {what}', f'{seconds:.2f} s', '']
      for what, seconds in (
        ('first start', played['cold']['seconds']),
        ('second start', played['second_start']['seconds']),
        ('warm', played['warm']['seconds']),
        *played['warm']['seconds_per_part'].items(),
      )
    ]
  rows += _flow_rows(figures.get('flow'))
  for stage, trained in figures.get('training', {}).items():
    aim = AIMS.get(f'mfu_{stage}', AIMS['mfu'])
    if 'failed' in trained:
      rows.append(['training', stage, _unmeasured(trained), aim])
      continue
    what = f'{stage}, {trained["rows"]} rows, {trained["dtype"]}'
    rows.append(
      ['training', f'{what}, a step', f'{trained["seconds"]:.3f} s', '']
    )
    share = trained['mfu']
    number = 'peak unknown' if share is None else f'{share:.2f}'
    rows.append(['training', f'{what}, MFU', number, aim])
  return rows


def _flow_rows(played: dict[str, Any] | None) -> list[list[str]]:
  """Rows of what `flows.measure` found; none where it was not asked."""
  if not played:
    return []
  if 'failed' in played:
    return [['flow', 'MuVi', _unmeasured(played), AIMS['flow_8']]]
  size = f'{played["parameters"] / 1e6:.0f} M, {played["dtype"]}'
  what = f'{played["seconds_of_clip"]:g} s, {played["steps"]} steps'
  return [
    ['flow', f'{what}, {name}', f'{played[key]:.3f} s', aim]
    for name, key, aim in (
      (size, 'stage_seconds', AIMS['flow_8']),
      ('decoding', 'codec_seconds', ''),
    )
  ]


def _unmeasured(part: dict[str, Any]) -> str:
  return f'not measured: {part["failed"]}'


def markdown(figures: dict[str, Any]) -> str:
  """Writes the table as the documents have it."""
  lines = [HEADER, ('---', '---', '--:', '--:'), *table(figures)]
  rows = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
  return f'{figures["device"]}:\n\n{rows}\n'


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  parser = report.parser(
    'benchmarks.accelerator',
    'Measures sampling, a soundtrack and training at the sizes of the paper on'
    ' an accelerator, and writes a table.',
    'python -m benchmarks.accelerator --table accelerator.md',
  )
  add = parser.add_argument
  add('--table', metavar='FILE', help='also write the table in Markdown')
  add('--rounds', type=report.positive, default=10, help='turns (default 10)')
  add('--seconds', type=float, default=10.0, help='of the clip (default 10)')
  add('--flow_seconds', type=float, default=30.0, help='of a flow (default 30)')
  add('--part', action='append', choices=PARTS, help='default: all')
  add('--stage', action='append', choices=list(ROWS), help='to train: all')
  add('--remat', action='store_true', help='train in less memory, as recipes')
  add('--tiny', action='store_true', help='tiny networks, also on a CPU')
  options = parser.parse_args(argv)
  report.check_json_path(options.json)
  figures = measure(options)
  print(figures['device'])
  print(report.table(HEADER, table(figures)))
  if options.table:
    atomic.write_text(options.table, markdown(figures))
  settings = vars(options)
  report.write_json(
    options.json,
    {'benchmark': 'accelerator', **figures, 'settings': settings},
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
