"""Estimates the cost of training a stage; allocates, reads and writes nothing."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import importlib.util
import inspect
import math
import os
from typing import Any

import jax

import v2meow_jax
from v2meow_jax.models import stage_model
from v2meow_jax.training import memory_estimate
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import plan
from v2meow_jax.training import train_state
from v2meow_jax.training.monitoring import flops
from v2meow_jax.training.monitoring import goodput

DEFAULT_UTILISATION = 0.4
_COMPILER = "-c requirements.lock 'jax[tpu]'"  # That of TPUs.


# Chips by name: kind in `goodput.PEAK_FLOPS`, source of the peak.
_TPU = 'https://cloud.google.com/tpu/docs/'
_NVIDIA = 'https://www.nvidia.com/en-us/data-center/'
CHIPS = {
  # The data sheet's 1,979 TFLOP/s count sparsity, which doubles the number.
  'H100 SXM': ('NVIDIA H100', f'{_NVIDIA}h100'),
  'A100': ('NVIDIA A100', f'{_NVIDIA}a100'),
  'TPU v4': ('TPU v4', f'{_TPU}v4'),
  'TPU v5e': ('TPU v5e', f'{_TPU}v5e'),
  'TPU v5p': ('TPU v5', f'{_TPU}v5p'),
  'TPU v6e': ('TPU v6e', f'{_TPU}v6e'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
  """Costs of a stage on any hardware.

  Attributes:
    num_parameters: Number of parameters of the network.
    parameter_bytes: Size of the parameters.
    optimizer_bytes: Size of the state of the optimiser.
    data_bytes: Size of one batch.
    step_flops: FLOPs of one step, by `flops.train_flops`.
  """

  num_parameters: int
  parameter_bytes: int
  optimizer_bytes: int
  data_bytes: int
  step_flops: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Memory of one device in a step, planned by XLA for this machine.

  Attributes:
    devices: Shape of the mesh and kind of its devices.
    argument_bytes: Size of state and batch.
    output_bytes: Size of new state and metrics beyond the donated buffers.
    temporary_bytes: Size of activations and gradients.
  """

  devices: str
  argument_bytes: int
  output_bytes: int
  temporary_bytes: int

  @property
  def total_bytes(self) -> int:
    """Sum of all three."""
    return self.argument_bytes + self.output_bytes + self.temporary_bytes


def tpu_devices(topology: str) -> Sequence[Any]:
  """Devices of a slice that is not here, for its compiler to plan for.

  Args:
    topology: Kind and shape of the slice, such as 'v5e:4x4'.

  Raises:
    ValueError: The compiler is not installed, or knows no such slice.
  """
  if importlib.util.find_spec('libtpu') is None:
    raise ValueError(
      f'planning for {topology!r} takes the compiler of TPUs, which is not'
      f' installed: {v2meow_jax.install_command(_COMPILER)}'
    )
  from jax.experimental import topologies  # pylint: disable=g-import-not-at-top

  # Asks no metadata server what this machine is.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  try:
    found = topologies.get_topology_desc(platform='tpu', topology_name=topology)
  except jax.errors.JaxRuntimeError as e:
    raise ValueError(
      f'{topology!r} is no slice of TPUs; wanted one such as v5e:4x4. {e}'
    ) from e
  return found.devices


def batch_shapes(
  model: stage_model.StageModel, batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns shapes and dtypes of a training batch."""
  return {
    key: jax.ShapeDtypeStruct((batch_size, *row.shape[1:]), row.dtype)
    for key, row in model.example_batch(1).items()
  }


def costs(run: Mapping[str, Any], batch_size: int) -> Costs:
  """Counts costs from shapes alone; takes the arguments of `memory`."""
  model = run['model']
  batch = batch_shapes(model, batch_size)
  state = _plan(run, batch).shapes
  step_flops = flops.train_flops(model, batch)
  return Costs(
    num_parameters=train_state.num_parameters(state.params),
    parameter_bytes=_num_bytes(state.params),
    optimizer_bytes=_num_bytes(state.opt_state),
    data_bytes=_num_bytes(batch),
    step_flops=step_flops,
  )


def memory(run: Mapping[str, Any], batch_size: int) -> Memory:
  """Compiles the step for this machine and reads the memory that XLA planned.

  Other kinds of devices fuse differently, so their numbers differ.

  Args:
    run: Arguments of `loop.train`; those with a default may be missing.
    batch_size: Number of rows of all devices together.

  Raises:
    ValueError: The batch does not divide among the devices.
  """
  mesh = _mesh(run)
  split = mesh_lib.batch_sharding(
    mesh, run.get('rules', mesh_lib.DEFAULT_RULES)
  )
  batch = batch_shapes(run['model'], batch_size)
  mesh_lib.check_rows(batch_size, split)
  planned = _plan(run, batch)
  key = jax.eval_shape(lambda: jax.random.key(0))
  lowered = planned.train_step.lower(
    jax.tree.map(_placed, planned.shapes, planned.shardings),
    {name: _placed(rows, split) for name, rows in batch.items()},
    _placed(key, mesh_lib.replicated(mesh)),
  )
  analysis = lowered.compile().memory_analysis()
  shape = 'x'.join(str(n) for n in mesh.shape.values())
  return Memory(
    devices=f'{shape} {mesh.devices.flat[0].device_kind}',
    argument_bytes=analysis.argument_size_in_bytes,
    output_bytes=analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
    temporary_bytes=analysis.temp_size_in_bytes,
  )


def estimate(
  run: Mapping[str, Any], batch_size: int
) -> memory_estimate.MemoryEstimate:
  """Estimates memory from shapes; takes the arguments of `memory`."""
  planned = _plan(run, batch_shapes(run['model'], batch_size))
  return memory_estimate.estimate(
    planned, run['model'], batch_size, run.get('num_microbatches', 1)
  )


def report(
  run: Mapping[str, Any],
  *,
  batch_size: int,
  num_examples: int | None,
  utilisation: float = DEFAULT_UTILISATION,
) -> Iterator[str]:
  """Yields lines to print: costs first, then memory, which takes longer.

  Args:
    run: Arguments of `loop.train`; those with a default may be missing.
    batch_size: Number of rows of a step.
    num_examples: Number of recordings in the data; None if unknown.
    utilisation: Reached share of a chip's peak, in (0, 1].

  Raises:
    ValueError: The model is not a stage, or a number is out of range.
  """
  model, train_steps = run['model'], run['train_steps']
  if not isinstance(model, stage_model.StageModel):
    raise ValueError(
      f'a dry run takes a stage, and this is a {type(model).__name__}; name one'
      ' of stages/*.gin.'
    )
  if not 0 < utilisation <= 1:
    raise ValueError(f'utilisation is {utilisation}; wanted it in (0, 1].')
  if num_examples is not None and num_examples < 1:
    raise ValueError(f'num_examples is {num_examples}; wanted at least 1.')
  cost = costs(run, batch_size)
  spec = model.spec
  lengths = spec.feature_lengths()
  reads = ' + '.join(f'{s.name} {lengths[s.name]:,}' for s in spec.inputs)
  epoch_steps = num_examples and math.ceil(num_examples / batch_size)
  yield f'stage       {reads} -> {spec.target.name} {model.target_length:,}'
  yield (
    f'parameters  {cost.num_parameters / 1e6:.1f} M,'
    f' {_size(cost.parameter_bytes)}; computed in {model.network.dtype}'
  )
  yield f'optimiser   {_size(cost.optimizer_bytes)} of state'
  yield f'data        {_size(cost.data_bytes)} a step of {batch_size} examples'
  yield (
    f'compute     {cost.step_flops / 1e12:.4g} TFLOP a step,'
    f' {cost.step_flops / batch_size / 1e9:.4g} GFLOP an example (matrix products)'
  )
  if epoch_steps:
    yield (
      f'epoch       {epoch_steps:,} steps: a crop of each of {num_examples:,}'
      ' recordings'
    )
  else:
    yield 'epoch       unknown without the data; pass --num_examples'
  yield f'the run     {train_steps:,} steps'
  yield ''
  yield (
    f'On one chip at {utilisation:.0%} of its bfloat16 peak; n chips take an'
    ' n-th:'
  )
  yield f'{"":10}  {"TFLOP/s":>7}  {"step":>8}  {"epoch":>8}  {"run":>8}'
  for name, (kind, source) in CHIPS.items():
    peak = goodput.PEAK_FLOPS[kind]
    step_seconds = cost.step_flops / (peak * utilisation)
    epoch = _time(epoch_steps * step_seconds) if epoch_steps else '-'
    yield (
      f'{name:10}  {peak / 1e12:7.0f}  {_time(step_seconds):>8}  {epoch:>8}'
      f'  {_time(train_steps * step_seconds):>8}  {source}'
    )
  yield ''
  kind = _mesh(run).devices.flat[0].device_kind
  found = estimate(run, batch_size)
  yield (
    f'estimate    {_size(found.total_bytes)} of each device, from shapes:'
    f' {_size(found.state_bytes)} state, {_size(found.gradient_bytes)}'
    f' gradients, {found.rows} rows of {_size(found.row_bytes)} at once'
  )
  yield f'Compiling the step for {kind} ...'
  try:
    planned = memory(run, batch_size)
  except jax.errors.JaxRuntimeError as e:
    if 'RESOURCE_EXHAUSTED' not in str(e):
      raise
    yield f'memory      more than {kind} has: {str(e).splitlines()[0]}'
    return
  yield (
    f'memory      {_size(planned.total_bytes)} of each device, by XLA for'
    f' {planned.devices}: {_size(planned.argument_bytes)} state and batch,'
    f' {_size(planned.temporary_bytes)} temporary,'
    f' {_size(planned.output_bytes)} more out'
  )


def _mesh(run: Mapping[str, Any]) -> jax.sharding.Mesh:
  return run.get('mesh') or mesh_lib.make_mesh()


def _plan(
  run: Mapping[str, Any], batch: Mapping[str, jax.ShapeDtypeStruct]
) -> plan.Plan:
  """Plans as the loop does; its other arguments do not change a step."""
  names = inspect.signature(plan.plan).parameters
  arguments = {k: v for k, v in run.items() if k in names}
  return plan.plan(**{**arguments, 'batch': batch, 'mesh': _mesh(run)})


def _placed(
  shape: jax.ShapeDtypeStruct, where: jax.sharding.Sharding
) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where)


def _num_bytes(tree: Any) -> int:
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _size(num_bytes: int) -> str:
  """Formats bytes in powers of ten.

  >>> _size(1_830_000_000), _size(20_480)
  ('1.83 GB', '0.0205 MB')
  """
  unit, name = (1e9, 'GB') if num_bytes >= 1e9 else (1e6, 'MB')
  return f'{num_bytes / unit:.3g} {name}'


def _time(seconds: float) -> str:
  """Formats seconds in a unit that reads well.

  >>> _time(0.25), _time(600.0), _time(7200.0), _time(1e6)
  ('0.25 s', '10 min', '2 h', '11.6 d')
  """
  for unit, name in ((86_400, 'd'), (3_600, 'h'), (60, 'min')):
    if seconds >= 2 * unit:
      return f'{seconds / unit:.3g} {name}'
  return f'{seconds:.3g} s'
