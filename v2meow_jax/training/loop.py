"""Trains any stage, codec or embedding: the one training loop."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import functools
import itertools
from typing import Any
from typing import Protocol

from absl import logging
from etils import epath
import jax
import numpy as np
import optax

from v2meow_jax import media
from v2meow_jax import progress as progress_lib
from v2meow_jax.models import trainable
from v2meow_jax.training import distributed
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import plan
from v2meow_jax.training import prefetch
from v2meow_jax.training import schedules
from v2meow_jax.training import step as step_lib
from v2meow_jax.training import train_state
from v2meow_jax.training.checkpoints import checkpoints as checkpoints_lib
from v2meow_jax.training.checkpoints import fine_tuning
from v2meow_jax.training.monitoring import flops
from v2meow_jax.training.monitoring import goodput
from v2meow_jax.training.monitoring import health
from v2meow_jax.training.monitoring import metrics_out
from v2meow_jax.training.monitoring import preemption
from v2meow_jax.training.monitoring import watchdog

OnEval = Callable[
  [int, Mapping[str, Any]], Mapping[str, media.Audio | np.ndarray]
]


class BatchSource(Protocol):
  """Batches from any step on; batch k depends on seed and k alone.

  `shard` is passed only where processes read different rows. Batches may have
  `describe() -> JSON data` of what determines their order, which a resumed run
  compares.
  """

  def __call__(
    self, start_step: int, shard: tuple[int, int] = (0, 1)
  ) -> Iterator[Mapping[str, np.ndarray]]:
    """Iterates over batches from that of `start_step` on.

    Args:
      start_step: Number of steps before the first batch.
      shard: (i, n): the i-th of n equal, disjoint slices of every batch.

    Returns:
      Iterator of {key: array[rows, ...]}; 'example_ids', if present, names the
      rows.
    """
    ...


def train(
  *,
  model_dir: epath.PathLike,
  model: trainable.Trainable,
  train_batches: BatchSource,
  eval_batches: BatchSource | None = None,
  schedule: schedules.Schedule,
  make_optimizer: Callable[
    [schedules.Schedule], optax.GradientTransformation
  ] = schedules.adamw,
  train_steps: int,
  seed: int = 0,
  save_every: int = 500,
  keep_every: int | None = None,
  eval_every: int = 500,
  num_eval_batches: int = 8,
  log_every: int = 50,
  tensorboard: bool = True,
  config_text: str = '',
  mesh: jax.sharding.Mesh | None = None,
  rules: mesh_lib.Rules = mesh_lib.DEFAULT_RULES,
  num_microbatches: int = 1,
  ema_decay: float | None = None,
  spikes: health.SpikeSkip | None = None,
  max_skipped_in_row: int = 5,
  watchdog_seconds: float = 600.0,
  peak_flops: float | None = None,
  on_eval: OnEval | None = None,
  warm_start: epath.PathLike | Sequence[epath.PathLike] | None = None,
) -> train_state.TrainState:
  """Trains to `train_steps`, resuming from the newest checkpoint.

  Writes `model_dir`/checkpoints, `model_dir`/config.gin, TensorBoard events and
  `model_dir`/metrics.jsonl.

  Args:
    model_dir: Directory of the run, created if missing.
    model: Model to train.
    train_batches: Training data.
    eval_batches: Held-out data; every evaluation uses the same first batches.
    schedule: Learning rate by step, for the optimiser and the log.
    make_optimizer: Function from the schedule to an optax transformation.
    train_steps: Total number of steps, over all resumes.
    seed: Seed of initial parameters and of everything random in a step.
    save_every: Steps between checkpoints; the last step is always saved.
    keep_every: Steps between permanent checkpoints; None: only the newest stay.
    eval_every: Steps between evaluations; the last step is always evaluated.
    num_eval_batches: Number of batches in an evaluation.
    log_every: Steps between lines of metrics.
    tensorboard: Whether to write events, if TensorFlow is installed.
    config_text: Gin text of the run, stored beside the weights.
    mesh: Mesh from `mesh.make_mesh`; None: all devices split the batch.
    rules: Mesh axes of the logical axes.
    num_microbatches: Number of microbatches, one after another to save memory.
    ema_decay: Decay of an average of the parameters, which is then evaluated
      and released; None: no average.
    spikes: Rule for steps to skip because loss or gradient jump; None: only
      non-finite steps are skipped.
    max_skipped_in_row: Number of skipped steps in a row that ends the run.
    watchdog_seconds: Time without a finished step before stacks are printed.
    peak_flops: FLOP/s of all devices, for MFU; None: those of known chips.
    on_eval: Function from step and variables to sounds and pictures for
      TensorBoard, called in every process at each evaluation.
    warm_start: MODEL_DIR of a run whose weights a new run starts from, where
      they fit, or several, the last of which wins; a resumed run ignores it.

  Returns:
    The last state.

  Raises:
    preemption.Preempted: A signal stopped the run; the step is saved.
    health.Unhealthy: Too many steps in a row were skipped.
    ValueError: The mesh, the batches or a checkpoint do not fit.
  """
  clock = goodput.Clock()
  with clock.on('start'):
    mesh = mesh_lib.make_mesh() if mesh is None else mesh
    split = mesh_lib.batch_sharding(mesh, rules)
    # Before a directory is created: data may be missing.
    first = distributed.together(
      lambda: next(_read(train_batches, 0, split)), 'reading the first batch'
    )
  with (
    checkpoints_lib.Checkpoints(
      model_dir, keep_every=keep_every
    ) as checkpoints,
    watchdog.Watchdog(watchdog_seconds) as dog,
  ):
    with clock.on('start'):
      example = _put(first, split)
      planned = plan.plan(
        model,
        example,
        schedule=schedule,
        mesh=mesh,
        make_optimizer=make_optimizer,
        rules=rules,
        num_microbatches=num_microbatches,
        ema_decay=ema_decay,
        spikes=spikes,
      )
      order: dict[str, Any] = {'batch_size': _num_rows(example), 'seed': seed}
      if hasattr(train_batches, 'describe'):
        order['data'] = distributed.together(
          train_batches.describe, 'describing the data'
        )
      state = _initial_state(planned, example, order, checkpoints)
      if warm_start and checkpoints.latest_step() is None:
        several = isinstance(warm_start, list | tuple)
        for source in warm_start if several else [warm_start]:
          state = fine_tuning.begin(state, model, source, planned.shardings)
      run_key = jax.random.key(seed + 1)
      train_step = planned.train_step
      start = int(state.step)
      if start < train_steps:
        train_step = train_step.lower(state, example, run_key).compile()
      # Only after the checkpoint, if any, was found to fit.
      checkpoints.write_facts(config_text, model.describe())
    logging.info(
        '%.2fM parameters on a mesh of %s; steps %d to %d in %s',
        train_state.num_parameters(state.params) / 1e6, dict(mesh.shape),
        start, train_steps, checkpoints.path,
    )  # fmt: skip
    monitor = health.Monitor(checkpoints.path, max_skipped_in_row)
    evaluate = _Evaluation(
      model, eval_batches, num_eval_batches, split, on_eval
    )
    with (
      # Before, there is nothing to save: a signal ends the process.
      preemption.Notice() as notice,
      contextlib.closing(
        distributed.together(
          functools.partial(
            metrics_out.MetricsOut, checkpoints.path, start, tensorboard
          ),
          'opening the metrics',
        )
      ) as out,
      contextlib.closing(
        prefetch.Prefetched(
          _read(train_batches, start, split),
          functools.partial(_put, split=split),
        )
      ) as batches,
      progress_lib.bar(
          initial=start, total=train_steps, desc=checkpoints.path.name,
          unit='step', disable=jax.process_index() > 0,
      ) as bar,
    ):  # fmt: skip
      speed = _Speed(model, example, clock, peak_flops)
      metrics, window = None, []
      for done in range(start + 1, train_steps + 1):
        if not batches.is_ready:
          jax.block_until_ready(metrics)
        with clock.on('data'):
          host, batch = _next(batches, done, train_steps)
        state, metrics = train_step(state, batch, run_key)
        monitor.add(done, metrics, host)
        window.append(metrics)
        at_end = done == train_steps
        stop = notice.reached(done) and not at_end
        if done % log_every == 0 or at_end:
          scalars = metrics_out.summary(window) | speed.since(len(window))
          out.write(done, 'train', scalars)
          bar.set_postfix_str(metrics_out.line(scalars), refresh=False)
          window = []
        if (done % eval_every == 0 and not stop) or at_end:
          with clock.on('eval', after=metrics):
            evaluate(done, state, out)
        if done % save_every == 0 or at_end or stop:
          with clock.on('save', after=metrics):
            position = done * order['batch_size']
            facts = {**order, 'data_position': position}
            _save(checkpoints, state, facts, is_last=at_end or stop)
        if stop:
          raise preemption.Preempted(
            f'asked to stop; step {done} is saved in {checkpoints.path}, and the'
            ' same command goes on from there.'
          )
        with _some_failures():
          checkpoints.check()
        dog.restart()
        bar.update()
      monitor.check()
  return state


def _save(
  checkpoints: checkpoints_lib.Checkpoints,
  state: train_state.TrainState,
  facts: Mapping[str, Any],
  is_last: bool,
) -> None:
  """Starts saving a state; the last one is saved, or else the run fails."""
  with _some_failures():
    checkpoints.wait()
  is_saved = False
  while not is_saved:
    with _some_failures():
      checkpoints.save(state, facts)
      if is_last:
        checkpoints.wait()
      is_saved = True
    if not is_last:
      return


@contextlib.contextmanager
def _some_failures() -> Iterator[None]:
  """Logs a failed save; raises once too many in a row have failed."""
  try:
    yield
  except checkpoints_lib.SaveError as e:
    if e.in_a_row >= checkpoints_lib.MAX_FAILED_SAVES:
      raise
    logging.error('%s. The run goes on, and the next save is tried.', e)


def _read(
  batches: BatchSource, start: int, split: jax.sharding.NamedSharding
) -> Iterator[Mapping[str, np.ndarray]]:
  """Reads this process's rows of the batches from a step on."""
  part, parts = mesh_lib.process_shard(split)
  if parts == 1:
    return iter(batches(start))
  return iter(batches(start, shard=(part, parts)))


def _put(
  batch: Mapping[str, np.ndarray], split: jax.sharding.NamedSharding
) -> trainable.Batch:
  arrays = {k: v for k, v in batch.items() if k != health.EXAMPLE_IDS}
  return mesh_lib.put_batch(arrays, split)


def _next(batches, step, train_steps):
  try:
    return next(batches)
  except StopIteration:
    raise ValueError(
      f'the training data ended before step {step} of {train_steps}; repeat it'
      ' or lower TRAIN_STEPS.'
    ) from None


def _initial_state(
  planned: plan.Plan,
  example: trainable.Batch,
  order: Mapping[str, int],
  checkpoints: checkpoints_lib.Checkpoints,
) -> train_state.TrainState:
  """Creates a state, or restores the newest one, laid out on the mesh."""
  if checkpoints.latest_step() is None:
    create = jax.jit(planned.create, out_shardings=planned.shardings)
    return create(jax.random.key(order['seed']), example)
  like = jax.tree.map(
    lambda x, split: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=split),
    planned.shapes,
    planned.shardings,
  )
  return checkpoints.restore(like, same=order)


def _num_rows(batch: trainable.Batch) -> int:
  return len(next(iter(batch.values())))


class _Evaluation:
  """Evaluates the held-out loss and the `on_eval` hook."""

  def __init__(self, model, batches, num_batches, split, on_eval):
    self._batches = batches
    self._num_batches = num_batches
    self._split = split
    self._on_eval = on_eval
    self._step = step_lib.make_eval_step(model, split)

  def __call__(
    self,
    step: int,
    state: train_state.TrainState,
    out: metrics_out.MetricsOut,
  ) -> None:
    if self._batches is not None:
      batches = _read(self._batches, 0, self._split)
      metrics = metrics_out.summary(
        [
          self._step(state, _put(batch, self._split))
          for batch in itertools.islice(batches, self._num_batches)
        ]
      )
      out.write(step, 'eval', metrics)
      logging.info('Step %d: eval loss %.4f', step, metrics['loss'])
    if self._on_eval is not None:
      params = train_state.best_params(state.variables)
      variables = {'params': params, **state.model_extras}
      out.write_media(step, self._on_eval(step, variables))


class _Speed:
  """Measures steps, examples and FLOPs per second, and waiting for data."""

  def __init__(self, model, batch, clock, peak_flops):
    self._clock = clock
    self._rows = _num_rows(batch)
    self._peak = goodput.peak_flops() if peak_flops is None else peak_flops
    self._flops = 0.0
    if self._peak:
      self._flops = flops.train_flops(model, batch)
    clock.window()

  def since(self, num_steps: int) -> dict[str, float]:
    """Returns the measurements over the steps since the last call."""
    seconds, waited = self._clock.window()
    rate = num_steps / seconds
    speeds = {
      'steps_per_second': rate,
      'examples_per_second': rate * self._rows,
      'data_wait': waited / seconds,
      'goodput': self._clock.goodput(),
    }
    if self._peak:
      speeds['mfu'] = rate * self._flops / self._peak
    return speeds
