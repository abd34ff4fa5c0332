"""What training a stage costs, before anything is allocated, read or written."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import inspect
import math
from typing import Any

import jax

from v2meow_jax.models import sequence_model
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import plan
from v2meow_jax.training import train_state
from v2meow_jax.training.monitoring import flops
from v2meow_jax.training.monitoring import goodput

DEFAULT_UTILISATION = 0.4


# Chips by name: their kind in `goodput.PEAK_FLOPS`, and where the peak is said.
_TPU = 'https://cloud.google.com/tpu/docs/'
_NVIDIA = 'https://www.nvidia.com/en-us/data-center/'
CHIPS = {
  # The data sheet says 1,979 with sparsity, which is twice as much.
  'H100 SXM': ('NVIDIA H100', f'{_NVIDIA}h100'),
  'A100': ('NVIDIA A100', f'{_NVIDIA}a100'),
  'TPU v4': ('TPU v4', f'{_TPU}v4'),
  'TPU v5e': ('TPU v5e', f'{_TPU}v5e'),
  'TPU v5p': ('TPU v5', f'{_TPU}v5p'),
  'TPU v6e': ('TPU v6e', f'{_TPU}v6e'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
  """What a stage costs wherever it is trained.

  Attributes:
    num_parameters: Of the network.
    parameter_bytes: Of the parameters.
    optimizer_bytes: Of the state of the optimiser.
    data_bytes: Of the arrays of one batch.
    step_flops: Of one step; see `flops.train_flops`.
  """

  num_parameters: int
  parameter_bytes: int
  optimizer_bytes: int
  data_bytes: int
  step_flops: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Memory of one device in a step, as XLA planned it for this machine.

  Attributes:
    devices: The mesh, and their kind.
    argument_bytes: State and batch.
    output_bytes: New state and metrics, where they do not replace the old.
    temporary_bytes: What is held between: activations and gradients.
  """

  devices: str
  argument_bytes: int
  output_bytes: int
  temporary_bytes: int

  @property
  def total_bytes(self) -> int:
    """All at once."""
    return self.argument_bytes + self.output_bytes + self.temporary_bytes


def batch_shapes(
  model: sequence_model.SequenceModel, batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """A training batch without its numbers."""
  return {
    key: jax.ShapeDtypeStruct((batch_size, *row.shape[1:]), row.dtype)
    for key, row in model.example_batch(1).items()
  }


def costs(run: Mapping[str, Any], batch_size: int) -> Costs:
  """What can be told from shapes alone; the arguments are those of `memory`."""
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
  """Compiles the step for the devices of this machine and asks XLA.

  Another kind of device fuses otherwise, so its numbers differ.

  Args:
    run: Arguments of `loop.train`, those with a default left out or not.
    batch_size: Rows, all devices together.

  Returns:
    Memory of one device.

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
    jax.tree.map(_placed, planned.shapes, planned.places),
    {name: _placed(rows, split) for name, rows in batch.items()},
    _placed(key, mesh_lib.replicated(mesh)),
  )
  found = lowered.compile().memory_analysis()
  shape = 'x'.join(str(n) for n in mesh.shape.values())
  return Memory(
    devices=f'{shape} {jax.devices()[0].device_kind}',
    argument_bytes=found.argument_size_in_bytes,
    output_bytes=found.output_size_in_bytes - found.alias_size_in_bytes,
    temporary_bytes=found.temp_size_in_bytes,
  )


def report(
  run: Mapping[str, Any],
  *,
  batch_size: int,
  num_examples: int | None,
  utilisation: float = DEFAULT_UTILISATION,
) -> Iterator[str]:
  """Lines to print: first what shapes tell, then memory, which takes longer.

  Args:
    run: Arguments of `loop.train`, those with a default left out or not.
    batch_size: Rows of a step.
    num_examples: Recordings in the data; None when that is not known.
    utilisation: Share of a chip's peak that is reached, in (0, 1].

  Yields:
    Lines.

  Raises:
    ValueError: It is no stage that is trained, or a number makes no sense.
  """
  model, train_steps = run['model'], run['train_steps']
  if not isinstance(model, sequence_model.SequenceModel):
    raise ValueError(
      f'a dry run knows stages, and this trains a {type(model).__name__}; name'
      ' one of stages/*.gin.'
    )
  if not 0 < utilisation <= 1:
    raise ValueError(f'utilisation is {utilisation}; wanted it in (0, 1].')
  if num_examples is not None and num_examples < 1:
    raise ValueError(f'num_examples is {num_examples}; wanted at least 1.')
  found = costs(run, batch_size)
  spec = model.spec
  lengths = spec.feature_lengths()
  reads = ' + '.join(f'{s.name} {lengths[s.name]:,}' for s in spec.inputs)
  epoch_steps = num_examples and math.ceil(num_examples / batch_size)
  yield f'stage       {reads} -> {spec.target.name} {model.target_length:,}'
  yield (
    f'parameters  {found.num_parameters / 1e6:.1f} M,'
    f' {_size(found.parameter_bytes)}; computed in {model.config.dtype}'
  )
  yield f'optimiser   {_size(found.optimizer_bytes)} of state'
  yield f'data        {_size(found.data_bytes)} a step of {batch_size} examples'
  yield (
    f'compute     {found.step_flops / 1e12:.4g} TFLOP a step,'
    f' {found.step_flops / batch_size / 1e9:.4g} GFLOP an example (matrix products)'
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
    step_seconds = found.step_flops / (peak * utilisation)
    epoch = _time(epoch_steps * step_seconds) if epoch_steps else '-'
    yield (
      f'{name:10}  {peak / 1e12:7.0f}  {_time(step_seconds):>8}  {epoch:>8}'
      f'  {_time(train_steps * step_seconds):>8}  {source}'
    )
  yield ''
  yield f'Compiling the step for {jax.devices()[0].device_kind} ...'
  planned = memory(run, batch_size)
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
  """That of the loop, whose other arguments do not change a step."""
  known = inspect.signature(plan.plan).parameters
  chosen = {k: v for k, v in run.items() if k in known}
  return plan.plan(**{**chosen, 'batch': batch, 'mesh': _mesh(run)})


def _placed(
  shape: jax.ShapeDtypeStruct, where: jax.sharding.Sharding
) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where)


def _num_bytes(tree: Any) -> int:
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _size(num_bytes: int) -> str:
  """Bytes for people, in powers of ten.

  >>> _size(1_830_000_000), _size(20_480)
  ('1.83 GB', '0.0205 MB')
  """
  unit, name = (1e9, 'GB') if num_bytes >= 1e9 else (1e6, 'MB')
  return f'{num_bytes / unit:.3g} {name}'


def _time(seconds: float) -> str:
  """Seconds for people.

  >>> _time(0.25), _time(600.0), _time(7200.0), _time(1e6)
  ('0.25 s', '10 min', '2 h', '11.6 d')
  """
  for unit, name in ((86_400, 'd'), (3_600, 'h'), (60, 'min')):
    if seconds >= 2 * unit:
      return f'{seconds / unit:.3g} {name}'
  return f'{seconds:.3g} s'
