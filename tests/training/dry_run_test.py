"""What a dry run tells is what training takes, and it leaves no trace."""

import importlib.util
import re

import jax
import pytest

from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax.cli import main
from v2meow_jax.training import dry_run
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import schedules
from v2meow_jax.training import train_state

pytestmark = pytest.mark.slow

MODEL = token_stage.make(tiny_transformer.TOKENS, tiny_transformer.DECODER_ONLY)
RUN = {
  'model': MODEL,
  'schedule': schedules.warmup_rsqrt(1e-3, 10),
  'make_optimizer': schedules.adamw,
  'train_steps': 10**9,
}
ROWS = 8


@pytest.fixture(scope='module')
def state():
  optimizer = schedules.adamw(RUN['schedule'])
  create = jax.jit(
    lambda rng, batch: train_state.create(MODEL, optimizer, rng, batch)
  )
  return create(jax.random.key(0), MODEL.example_batch(ROWS))


def num_bytes(tree) -> int:
  return sum(x.nbytes for x in jax.tree.leaves(tree))


def test_costs_are_those_of_the_arrays_that_training_makes(state):
  costs = dry_run.costs(RUN, ROWS)
  assert costs.num_parameters == train_state.num_parameters(state.params)
  assert costs.parameter_bytes == num_bytes(state.params)
  assert costs.optimizer_bytes == num_bytes(state.opt_state)
  assert costs.data_bytes == num_bytes(MODEL.example_batch(ROWS))
  assert costs.step_flops == ROWS * dry_run.costs(RUN, 1).step_flops


def test_memory_holds_the_state_the_batch_and_something_between(state):
  memory = dry_run.memory(RUN, ROWS)
  key_bytes = 8
  batch_bytes = num_bytes(MODEL.example_batch(ROWS)) // jax.device_count()
  held = num_bytes(state) + batch_bytes + key_bytes
  assert memory.argument_bytes == pytest.approx(held, rel=0.01)
  assert memory.temporary_bytes > num_bytes(state.params)
  assert memory.total_bytes > held


def test_the_epoch_of_a_chip_is_its_flops_over_its_speed():
  lines = list(
    dry_run.report(RUN, batch_size=ROWS, num_examples=801, utilisation=0.5)
  )
  assert any('101 steps' in line for line in lines)
  (v4,) = [line for line in lines if line.startswith('TPU v4')]
  flops = dry_run.costs(RUN, ROWS).step_flops
  step, epoch = (float(x) for x in re.findall(r'([\d.e-]+) s', v4)[:2])
  assert step == pytest.approx(flops / (275e12 / 2), rel=0.01)
  assert epoch == pytest.approx(101 * flops / (275e12 / 2), rel=0.01)


@pytest.mark.parametrize('decay', [1.0, 1.5, -0.1])
def test_an_average_forgets_a_share(decay):
  with pytest.raises(ValueError, match=f'ema_decay is {decay}; wanted 0 or'):
    dry_run.memory(RUN | {'ema_decay': decay}, ROWS)


def test_what_makes_no_sense_is_refused():
  with pytest.raises(ValueError, match='utilisation is 40'):
    next(dry_run.report(RUN, batch_size=1, num_examples=1, utilisation=40.0))
  with pytest.raises(ValueError, match='num_examples is 0'):
    next(dry_run.report(RUN, batch_size=1, num_examples=0))
  codec = RUN | {'model': object()}
  with pytest.raises(ValueError, match='this is a object'):
    next(dry_run.report(codec, batch_size=1, num_examples=1))


def test_microbatches_need_less_between_and_an_average_more_state():
  plain = dry_run.memory(RUN, ROWS)
  parts = dry_run.memory(RUN | {'num_microbatches': 8}, ROWS)
  assert parts.temporary_bytes < plain.temporary_bytes
  averaged = dry_run.memory(RUN | {'ema_decay': 0.9}, ROWS)
  more = averaged.argument_bytes - plain.argument_bytes
  assert more == pytest.approx(
    dry_run.costs(RUN, ROWS).parameter_bytes, rel=0.01
  )


SMALL = (
  '--gin_file=runs/train.gin', '--gin_file=stages/fine.gin',
  '--gin_file=tiny.gin', '--gin.NUM_LAYERS=1', '--gin.EMB_DIM=8',
  '--gin.NUM_HEADS=2', '--gin.HEAD_DIM=4', '--gin.MLP_DIM=16',
)  # fmt: skip


@pytest.mark.data
def test_the_command_reads_no_data_and_writes_nothing(
  tmp_path, capsys, monkeypatch
):
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path / 'none'))
  model_dir = f"--gin.MODEL_DIR='{tmp_path / 'run'}'"
  assert main.main(['train', *SMALL, model_dir, '--dry_run']) == 0
  said = capsys.readouterr().out
  # Two seconds of 25 frames of 2 levels, in and out.
  assert 'coarse 100 -> fine 100' in said
  assert 'pass --num_examples' in said
  assert re.search(r'estimate +[\d.]+ MB of each device', said)
  assert 'by XLA for' in said
  assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_flags_of_a_dry_run_without_one_are_refused(capsys):
  assert main.main(['train', *SMALL, '--num_examples=3']) == 2
  assert 'go with --dry_run' in capsys.readouterr().err


def test_a_slice_of_tpus_is_planned_by_its_own_compiler():
  if importlib.util.find_spec('libtpu') is None:
    with pytest.raises(ValueError, match='jax.tpu.'):
      dry_run.tpu_devices('v5e:4x4')
    return
  with pytest.raises(ValueError, match='wanted one such as v5e:4x4'):
    dry_run.tpu_devices('v5e:3x9')
  devices = dry_run.tpu_devices('v5e:2x2')
  mesh = mesh_lib.make_mesh(devices=lambda: devices)
  memory = dry_run.memory(RUN | {'mesh': mesh}, ROWS)
  assert memory.devices == '4x1x1 TPU v5 lite'
  assert memory.total_bytes > 0
