"""Measures a training step against T5X and against the machine.

python -m benchmarks.training --json out.json

Two stages of width 256 with 4 + 4 layers in float32: 21 ids in and 250 out, as
stage 1 has frames and tokens, and 271 in and 1,000 out, as stage 2 with sight.
Our step and that of T5X's trainer on T5X's own T5.1.1 network of the same sizes
take turns in one process, so that whatever else the machine does hits both. The
peak is that of a large matrix product. Without T5X (docs/t5x.md) only our own
side is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import statistics
import sys
import time
from typing import Any

import numpy as np

from benchmarks import report

SHAPES = ((21, 250, 1), (271, 1000, 4))
SECONDS = 10.0
SIZES = {
  'emb_dim': 256,
  'num_heads': 4,
  'head_dim': 64,
  'mlp_dim': 1024,
  'num_encoder_layers': 4,
  'num_decoder_layers': 4,
  'dropout_rate': 0.1,
}
AIMS = {'over_t5x': 1.2, 'of_peak': 0.6}
_MATMUL = 2048


def stage_model(
  num_inputs: int, num_targets: int, levels: int, sizes: Any = SIZES
) -> Any:
  """Makes an encoder-decoder of ours for numbers of input and target ids."""
  from v2meow_jax import specs
  from v2meow_jax.models import stage_model as stage_models
  from v2meow_jax.models import transformer
  from v2meow_jax.models.objectives import next_token
  from v2meow_jax.models.sampling import autoregressive

  spec = specs.StageSpec(
    name='benchmark',
    inputs=(
      specs.TokenSpec(
        name='read', codebook_size=1024, rate_hz=num_inputs / SECONDS
      ),
    ),
    target=specs.TokenSpec(
      name='written',
      codebook_size=1024,
      num_codebooks=levels,
      rate_hz=num_targets / levels / SECONDS,
    ),
    crop_seconds=SECONDS,
  )
  config = transformer.TransformerConfig(**sizes)
  return stage_models.StageModel(
    spec, config, next_token.NextToken(), autoregressive.Autoregressive()
  )


def random_batch(model: Any, batch_size: int) -> dict[str, np.ndarray]:
  """Draws ids in the range of each level, as in training."""
  from v2meow_jax import tokens

  rng = np.random.default_rng(0)
  spec = model.spec

  def ids(stream):
    shape = (
      batch_size,
      stream.num_frames(spec.crop_seconds),
      stream.num_codebooks,
    )
    codes = rng.integers(stream.codebook_size, size=shape)
    return tokens.IdSpace(spec).codes_to_ids(codes, stream).astype(np.int32)

  targets = ids(spec.target)
  return {
    'encoder_inputs_read': ids(spec.inputs[0]),
    'decoder_input_tokens': np.pad(targets[:, :-1], ((0, 0), (1, 0))),
    'decoder_target_tokens': targets,
    'decoder_loss_weights': np.ones(targets.shape, np.float32),
  }


def our_step(model: Any, batch: dict[str, Any]) -> Callable[[], float]:
  """Makes a function that trains one step and returns its loss."""
  import jax

  from v2meow_jax.training import schedules
  from v2meow_jax.training import step as step_lib
  from v2meow_jax.training import train_state

  optimizer = schedules.adamw(schedules.warmup_cosine(1e-3, 10, 1000))
  state = train_state.create(model, optimizer, jax.random.key(0), batch)
  train_step = step_lib.make_train_step(model, optimizer)
  key, arrays = jax.random.key(1), jax.device_put(batch)

  def run() -> float:
    nonlocal state
    state, metrics = train_step(state, arrays, key)
    return float(metrics['loss'])

  return run


def t5x_network(model: Any) -> Any:
  """Makes T5X's T5.1.1 network of the sizes of a stage of ours."""
  import jax.numpy as jnp
  from t5x.examples.t5 import network

  from v2meow_jax import tokens

  c = model.network
  return network.Transformer(
    network.T5Config(
      vocab_size=tokens.IdSpace(model.spec).vocab_size,
      dtype=jnp.float32,
      emb_dim=c.emb_dim,
      num_heads=c.num_heads,
      head_dim=c.head_dim,
      mlp_dim=c.mlp_dim,
      num_encoder_layers=c.num_encoder_layers,
      num_decoder_layers=c.num_decoder_layers,
      mlp_activations=('gelu', 'linear'),
      dropout_rate=c.dropout_rate,
      logits_via_embedding=False,
    )
  )


def t5x_step(model: Any, batch: dict[str, np.ndarray]) -> Callable[[], float]:
  """The same of T5X; ImportError where it is not installed."""
  # First of all, since reading TensorFlow and SeqIO takes seconds.
  network = t5x_network(model)
  import jax
  import seqio
  from t5x import models
  from t5x import optimizers
  from t5x import train_state as t5x_train_state
  from t5x import trainer

  from v2meow_jax import tokens
  from v2meow_jax.training import schedules

  spec = model.spec
  schedule = schedules.warmup_cosine(1e-3, 10, 1000)
  vocabulary = seqio.PassThroughVocabulary(size=tokens.IdSpace(spec).vocab_size)
  theirs = models.EncoderDecoderModel(
    network,
    vocabulary,
    vocabulary,
    optimizers.OptaxWrapper(schedules.adamw(schedule)),
    z_loss=model.objective.z_loss,
  )
  renamed = {
    'encoder_input_tokens': batch['encoder_inputs_read'],
    **{k: v for k, v in batch.items() if k.startswith('decoder')},
  }
  shapes = {k: v.shape for k, v in renamed.items()}
  variables = jax.jit(lambda key: theirs.get_initial_variables(key, shapes))(
    jax.random.key(0)
  )
  state = t5x_train_state.FlaxOptimTrainState.create(
    theirs.optimizer_def, variables
  )

  def step(state, batch, number):
    rng = jax.random.fold_in(jax.random.key(1), number)
    return trainer.train_with_lr(
      state, batch, schedule(number), rng, theirs, num_microbatches=None
    )

  train_step = jax.jit(step, donate_argnums=0)
  arrays = jax.device_put(renamed)
  number = 0

  def run() -> float:
    nonlocal state, number
    state, metrics = train_step(state, arrays, number)
    number += 1
    return float(metrics['loss'].compute())

  return run


def seconds_in_turn(
  runs: dict[str, Callable[[], Any]], rounds: int
) -> dict[str, list[float]]:
  """Times each run in each round, after one that compiles them."""
  for run in runs.values():
    run()
  taken: dict[str, list[float]] = {name: [] for name in runs}
  for _ in report.progress(range(rounds), 'rounds'):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      taken[name].append(time.perf_counter() - start)
  return taken


def matmul() -> Callable[[], None]:
  """Makes a large float32 matrix product, the machine's own speed."""
  import jax
  import jax.numpy as jnp

  x = jnp.ones((_MATMUL, _MATMUL), jnp.float32)
  product = jax.jit(jnp.matmul)

  def run() -> None:
    product(x, x).block_until_ready()

  return run


def measure(shape: tuple[int, int, int], batch_size: int, rounds: int):
  """Measures one shape; figures against T5X are None without it."""
  from v2meow_jax.training.monitoring import flops

  model = stage_model(*shape)
  batch = random_batch(model, batch_size)
  runs: dict[str, Callable[[], Any]] = {
    'ours': our_step(model, batch),
    'peak': matmul(),
  }
  try:
    runs['t5x'] = t5x_step(model, batch)
  except ImportError as e:
    print(f'without T5X ({e}); see docs/t5x.md', file=sys.stderr)
  taken = seconds_in_turn(runs, rounds)
  work = flops.train_flops(model, batch)
  peak = 2 * _MATMUL**3
  rates = [
    work / ours / (peak / best)
    for ours, best in zip(taken['ours'], taken['peak'], strict=True)
  ]
  ratios = [
    theirs / ours
    for ours, theirs in zip(taken['ours'], taken.get('t5x', []), strict=False)
  ]
  return {
    'inputs': shape[0],
    'targets': shape[1],
    'seconds': {k: statistics.median(v) for k, v in taken.items()},
    'gflops': work / statistics.median(taken['ours']) / 1e9,
    'of_peak': statistics.median(rates),
    'over_t5x': statistics.median(ratios) if ratios else None,
    'over_t5x_rounds': ratios,
  }


def show(figures: Sequence[dict[str, Any]]) -> str:
  """Prints the figures as a table."""
  rows = []
  for f in figures:
    ratio, seconds = f['over_t5x'], f['seconds']
    rows.append(
      [
        f'{f["inputs"]} -> {f["targets"]}',
        f'{seconds["ours"]:.2f} s',
        f'{seconds["t5x"]:.2f} s' if ratio else '-',
        f'{ratio:.2f}' if ratio else '-',
        f'{f["gflops"]:.0f}',
        f'{f["of_peak"]:.2f}',
      ]
    )
  header = ['ids', 'our step', 'T5X', 'T5X / ours', 'GFLOP/s', 'of the peak']
  aims = ['aim', '', '', f'>= {AIMS["over_t5x"]}', '', f'>= {AIMS["of_peak"]}']
  return report.table(header, [*rows, aims])


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.training',
    "Times a training step against T5X's and against the machine's peak.",
    'python -m benchmarks.training --json out.json',
  )
  parser.add_argument(
    '--batch_size', type=report.positive, default=4, help='rows (default 4)'
  )
  parser.add_argument(
    '--rounds', type=report.positive, default=12, help='turns (default 12)'
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  figures = [measure(s, options.batch_size, options.rounds) for s in SHAPES]
  print(show(figures))
  report.write_json(
    options.json,
    {'benchmark': 'training', 'shapes': figures, 'settings': vars(options)},
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
