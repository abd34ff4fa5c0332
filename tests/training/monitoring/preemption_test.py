"""A run that is stopped, kindly or not, ends as one that was not."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

from etils import epath
import jax
import numpy as np
import pytest

from tests.fakes import planted_model
from v2meow_jax.training import loop
from v2meow_jax.training import schedules
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.monitoring import health
from v2meow_jax.training.monitoring import preemption

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STEPS = 60
# As `undisturbed`, for the command line.
RECIPE = f"""
from __gin__ import dynamic_registration
import __main__ as planted_model
from v2meow_jax.training.monitoring import health
from v2meow_jax.training import loop
from v2meow_jax.training import schedules

MODEL_DIR = %gin.REQUIRED
loop.train:
  model_dir = %MODEL_DIR
  model = @planted_model.LinearModel()
  train_batches = @planted_model.batches
  eval_batches = @eval/planted_model.batches
  schedule = @schedules.warmup_rsqrt()
  train_steps = {STEPS}
  save_every = 7
  log_every = 5
  eval_every = 20
  num_eval_batches = 2
  tensorboard = False
  num_microbatches = 2
  ema_decay = 0.9
  spikes = @health.SpikeSkip()
planted_model.batches.seconds = 0.05
eval/planted_model.batches.seconds = 0.0
schedules.warmup_rsqrt:
  peak = 0.05
  warmup_steps = 20
"""


@pytest.mark.parametrize('number', SIGNALS)
@pytest.mark.usefixtures('heeded_signals')
def test_a_signal_is_noted_once_and_only_inside(number):
  before = [signal.getsignal(s) for s in SIGNALS]
  with preemption.Notice() as notice:
    assert not notice.reached(1)
    os.kill(os.getpid(), number)
    assert notice.reached(2)
    # The next one ends the process.
    assert {signal.getsignal(s) for s in SIGNALS} == {signal.SIG_DFL}
  assert [signal.getsignal(s) for s in SIGNALS] == before


def test_a_signal_that_is_ignored_stays_so():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with preemption.Notice() as notice:
      os.kill(os.getpid(), signal.SIGHUP)
      assert not notice.reached(1)
  finally:
    signal.signal(signal.SIGHUP, before)


def undisturbed(model_dir):
  return loop.train(
    model_dir=model_dir,
    model=planted_model.LinearModel(),
    train_batches=planted_model.batches,
    eval_batches=planted_model.batches,
    schedule=schedules.warmup_rsqrt(0.05, 20),
    train_steps=STEPS,
    save_every=7,
    log_every=5,
    eval_every=20,
    num_eval_batches=2,
    tensorboard=False,
    num_microbatches=2,
    ema_decay=0.9,
    spikes=health.SpikeSkip(),
  )


def start(root, recipe, model_dir, **variables):
  return subprocess.Popen(
    [
      sys.executable, '-m', 'tests.fakes.planted_model', f'--gin_file={recipe}',
      f"--gin.MODEL_DIR='{model_dir}'",
    ],
    cwd=root,
    env={**os.environ, **variables},
    stderr=subprocess.PIPE,
    text=True,
  )  # fmt: skip


def told(model_dir):
  """(step, kind, loss) of each line of the metrics."""
  path = model_dir / 'metrics.jsonl'
  lines = path.read_text().splitlines() if path.exists() else []
  return [
    (m['step'], kind, m[f'{kind}/loss'])
    for m in map(json.loads, lines)
    for kind in ('train', 'eval')
    if f'{kind}/loss' in m
  ]


def wait_for_step(process, model_dir, step):
  while not any(s >= step for s, *_ in told(model_dir)):
    assert process.poll() is None, process.stderr.read()
    time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
  ('kill', 'code'),
  [(signal.SIGTERM, preemption.Preempted.exit_code), (signal.SIGKILL, -9)],
)
def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path, root, kill, code):
  recipe = tmp_path / 'planted_model.gin'
  recipe.write_text(RECIPE)
  stopped = tmp_path / 'stopped'
  process = start(root, recipe, stopped)
  wait_for_step(process, stopped, 15)
  process.send_signal(kill)
  _, errors = process.communicate(timeout=600)
  assert process.returncode == code, errors
  if kill == signal.SIGTERM:
    saved = checkpoints.restore_variables(stopped)[1]
    assert f'step {saved} is saved' in errors
  process = start(root, recipe, stopped)
  _, errors = process.communicate(timeout=600)
  assert process.returncode == 0, errors

  straight = undisturbed(tmp_path / 'straight')
  with checkpoints.Checkpoints(epath.Path(stopped)) as saved:
    like = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      straight,
    )
    resumed = saved.restore(like)
  for a, b in zip(
    jax.tree.leaves(straight), jax.tree.leaves(resumed), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  steps = [(step, kind) for step, kind, _ in told(stopped)]
  assert len(steps) == len(set(steps))
  # A window that was cut is told of its second part only.
  wanted = {(s, k): loss for s, k, loss in told(tmp_path / 'straight')}
  assert set(steps) <= set(wanted)
  late = [t for t in told(stopped) if t[0] > 40]
  assert late == [(s, k, wanted[s, k]) for s, k, _ in late]
  assert len(late) == 5


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_processes_of_a_job_stop_at_the_same_step(tmp_path, root):
  recipe = tmp_path / 'planted_model.gin'
  recipe.write_text(RECIPE.replace('seconds = 0.05', 'seconds = 0.5'))
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  folder = tmp_path / 'run'
  job = [
    start(
        root, recipe, folder,
        V2MEOW_COORDINATOR=f'localhost:{port}',
        V2MEOW_NUM_PROCESSES='2',
        V2MEOW_PROCESS_ID=str(i),
    )
    for i in range(2)
  ]  # fmt: skip
  wait_for_step(job[0], folder, 5)
  job[1].send_signal(signal.SIGTERM)
  errors = [process.communicate(timeout=600)[1] for process in job]
  wanted = [preemption.Preempted.exit_code] * 2
  assert [process.returncode for process in job] == wanted, errors
  saved = checkpoints.restore_variables(folder)[1]
  assert 5 <= saved < STEPS
  assert all(f'step {saved} is saved' in e for e in errors), errors
