"""The one training loop: any stage, the codec, the style embedding."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import itertools
import json
import time
from typing import Any
from typing import Protocol

from absl import logging
from etils import epath
import jax
import numpy as np
import optax
import tqdm

import v2meow_jax
from v2meow_jax.models import trainable
from v2meow_jax.training import checkpoints
from v2meow_jax.training import schedules
from v2meow_jax.training import step as step_lib
from v2meow_jax.training import train_state


class Batches(Protocol):
  """Batches from a step on; batch k is a function of (seed, k) alone."""

  def __call__(self, start_step: int) -> Iterator[Mapping[str, np.ndarray]]:
    """An iterator whose first batch is that of `start_step`."""
    ...


def train(
  *,
  model_dir: epath.PathLike,
  model: trainable.Trainable,
  train_batches: Batches,
  eval_batches: Batches | None = None,
  schedule: schedules.Schedule,
  make_optimizer: Callable[
    [schedules.Schedule], optax.GradientTransformation
  ] = schedules.adamw,
  train_steps: int,
  seed: int = 0,
  save_every: int = 500,
  eval_every: int = 500,
  num_eval_batches: int = 8,
  log_every: int = 50,
  tensorboard: bool = True,
  config_text: str = '',
) -> train_state.TrainState:
  """Trains to `train_steps`, going on from the newest checkpoint.

  Writes `model_dir`/checkpoints, `model_dir`/config.gin, TensorBoard events and
  `model_dir`/metrics.jsonl.

  Args:
    model_dir: Of the run; made when missing.
    model: What to train.
    train_batches: Its data.
    eval_batches: Held-out data; always the same first batches.
    schedule: Learning rate by step; given to the optimiser and logged.
    make_optimizer: From the schedule to an optax transformation.
    train_steps: Total, over all resumes.
    seed: Of initial parameters and of everything random in a step.
    save_every: Steps between checkpoints; the last step is always saved.
    eval_every: Steps between evaluations; the last step is always evaluated.
    num_eval_batches: How many batches make an evaluation.
    log_every: Steps between lines of metrics.
    tensorboard: Writes events, where TensorFlow is installed to write them.
    config_text: The gin text of the run, kept beside the weights.

  Returns:
    The last state.
  """
  with checkpoints.Checkpoints(model_dir) as saved:
    mesh = step_lib.data_mesh()
    optimizer = make_optimizer(schedule)
    state = _initial_state(model, optimizer, train_batches, mesh, seed, saved)
    # Once it is known that they belong to what is saved here.
    saved.write_facts(config_text, model.describe())
    run = _Run(
      model=model,
      mesh=mesh,
      schedule=schedule,
      eval_batches=eval_batches,
      num_eval_batches=num_eval_batches,
      out=_MetricsOut(saved.path, tensorboard),
    )
    logging.info(
        '%.2fM parameters on %d device(s); steps %d to %d in %s',
        train_state.num_parameters(state.params) / 1e6, mesh.size,
        int(state.step), train_steps, saved.path,
    )  # fmt: skip
    train_step = step_lib.make_train_step(model, optimizer)
    run_key = jax.random.key(seed + 1)
    start = int(state.step)
    batches = train_batches(start)
    window = _Window()
    progress = tqdm.tqdm(
        range(start, train_steps), initial=start, total=train_steps,
        desc=saved.path.name, unit='step', mininterval=2.0,
    )  # fmt: skip
    for index in progress:
      batch = step_lib.shard_batch(dict(next(batches)), mesh)
      state, metrics = train_step(state, batch, run_key)
      window.add(metrics)
      done = index + 1
      if done % log_every == 0 or done == train_steps:
        progress.set_postfix_str(run.log(done, window))
      if done % eval_every == 0 or done == train_steps:
        run.evaluate(done, state)
      if done % save_every == 0 or done == train_steps:
        saved.save(state, {'version': v2meow_jax.__version__, 'step': done})
    run.out.close()
  return state


def _initial_state(model, optimizer, batches, mesh, seed, saved):
  """A fresh state, or the newest saved one, replicated over the mesh."""
  batch = step_lib.shard_batch(dict(next(batches(0))), mesh)
  replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  create = jax.jit(
    lambda rng, b: train_state.create(model, optimizer, rng, b),
    out_shardings=replicated,
  )
  if saved.latest_step() is None:
    return create(jax.random.key(seed), batch)
  shapes = jax.eval_shape(create, jax.random.key(seed), batch)
  like = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=replicated),
    shapes,
  )
  return saved.restore(like)


class _Window:
  """Metrics of the steps since the last line."""

  def __init__(self):
    self._metrics = []
    self._since = time.monotonic()

  def add(self, metrics: step_lib.Metrics) -> None:
    self._metrics.append(metrics)

  def take(self) -> dict[str, float]:
    """Means since the last call, and steps per second."""
    means = _means(self._metrics)
    now = time.monotonic()
    means['steps_per_second'] = len(self._metrics) / (now - self._since)
    self._metrics, self._since = [], now
    return means


class _Run:
  """What a run logs and evaluates with."""

  def __init__(
    self, *, model, mesh, schedule, eval_batches, num_eval_batches, out
  ):
    self._mesh = mesh
    self._schedule = schedule
    self._eval_batches = eval_batches
    self._num_eval_batches = num_eval_batches
    self._eval_step = step_lib.make_eval_step(model)
    self.out = out

  def log(self, step: int, window: _Window) -> str:
    means = window.take()
    means['learning_rate'] = float(self._schedule(step - 1))
    self.out.write(step, 'train', means)
    return f'loss {means["loss"]:.3f}'

  def evaluate(self, step: int, state: train_state.TrainState) -> None:
    if self._eval_batches is None:
      return
    batches = itertools.islice(self._eval_batches(0), self._num_eval_batches)
    metrics = _means(
      [
        self._eval_step(state, step_lib.shard_batch(dict(b), self._mesh))
        for b in batches
      ]
    )
    self.out.write(step, 'eval', metrics)
    logging.info('Step %d: eval loss %.4f', step, metrics['loss'])


class _MetricsOut:
  """Scalars to metrics.jsonl and, where that can be written, to TensorBoard."""

  def __init__(self, path: epath.Path, tensorboard: bool):
    self._file = (path / 'metrics.jsonl').open('a')
    self._writer = None
    if tensorboard:
      try:
        from clu import metric_writers
      except ImportError:
        logging.info('No TensorBoard events: pip install v2meow_jax[train]')
      else:
        self._writer = metric_writers.SummaryWriter(str(path))

  def write(self, step: int, prefix: str, scalars: Mapping[str, Any]) -> None:
    named = {f'{prefix}/{k}': round(float(v), 6) for k, v in scalars.items()}
    self._file.write(json.dumps({'step': step, **named}) + '\n')
    self._file.flush()
    if self._writer is not None:
      self._writer.write_scalars(step, named)

  def close(self) -> None:
    self._file.close()
    if self._writer is not None:
      self._writer.close()


def _means(metrics: list[step_lib.Metrics]) -> dict[str, float]:
  host = jax.device_get(metrics)
  return {k: float(np.mean([m[k] for m in host])) for k in host[0]}
