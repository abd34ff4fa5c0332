"""What training a stage costs, before anything is allocated, read or written."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import jax
import optax

from v2meow_jax.models import sequence_model
from v2meow_jax.training import flops
from v2meow_jax.training import step as step_lib
from v2meow_jax.training import train_state

DEFAULT_UTILISATION = 0.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """A chip by its data sheet.

  Attributes:
    name: Of the chip.
    peak_flops: bfloat16 FLOP/s, of dense matrices.
    source: Where that is said.
  """

  name: str
  peak_flops: float
  source: str


_TPU = 'https://cloud.google.com/tpu/docs/'
_NVIDIA = 'https://www.nvidia.com/en-us/data-center/'
CHIPS = (
  # The data sheet says 1,979 with sparsity, which is twice as much.
  Chip(name='H100 SXM', peak_flops=989e12, source=f'{_NVIDIA}h100'),
  Chip(name='A100', peak_flops=312e12, source=f'{_NVIDIA}a100'),
  Chip(name='TPU v4', peak_flops=275e12, source=f'{_TPU}v4'),
  Chip(name='TPU v5e', peak_flops=197e12, source=f'{_TPU}v5e'),
  Chip(name='TPU v5p', peak_flops=459e12, source=f'{_TPU}v5p'),
  Chip(name='TPU v6e', peak_flops=918e12, source=f'{_TPU}v6e'),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
  """What a stage costs wherever it is trained.

  Attributes:
    num_parameters: Of the network.
    parameter_bytes: Of the parameters.
    optimizer_bytes: Of the state of the optimiser.
    data_bytes: Of the arrays of one batch.
    example_flops: Of one example in a step; see `flops.train_flops`.
    step_flops: Of one step.
  """

  num_parameters: int
  parameter_bytes: int
  optimizer_bytes: int
  data_bytes: int
  example_flops: int
  step_flops: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Memory of one device in a step, as XLA planned it for this machine.

  Attributes:
    devices: How many and of what kind.
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


def costs(
  model: sequence_model.SequenceModel,
  optimizer: optax.GradientTransformation,
  batch_size: int,
) -> Costs:
  """What can be told from shapes alone."""
  batch = batch_shapes(model, batch_size)
  state = _state_shapes(model, optimizer, batch)
  example_flops = flops.train_flops(model)
  return Costs(
    num_parameters=train_state.num_parameters(state.params),
    parameter_bytes=_num_bytes(state.params),
    optimizer_bytes=_num_bytes(state.opt_state),
    data_bytes=_num_bytes(batch),
    example_flops=example_flops,
    step_flops=example_flops * batch_size,
  )


def memory(
  model: sequence_model.SequenceModel,
  optimizer: optax.GradientTransformation,
  batch_size: int,
) -> Memory:
  """Compiles the step for the devices of this machine and asks XLA.

  Another kind of device fuses otherwise, so its numbers differ.

  Args:
    model: To be trained.
    optimizer: That trains it.
    batch_size: Rows, all devices together.

  Returns:
    Memory of one device.

  Raises:
    ValueError: The batch does not divide among the devices.
  """
  mesh = step_lib.data_mesh()
  if batch_size % mesh.size:
    raise ValueError(
      f'a batch of {batch_size} does not divide among {mesh.size} devices; make'
      ' BATCH_SIZE a multiple.'
    )
  batch = batch_shapes(model, batch_size)
  copied, split = (
    jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
    for axes in ((), ('data',))
  )
  lowered = step_lib.make_train_step(model, optimizer).lower(
    _placed(_state_shapes(model, optimizer, batch), copied),
    _placed(batch, split),
    _placed(jax.eval_shape(lambda: jax.random.key(0)), copied),
  )
  found = lowered.compile().memory_analysis()
  return Memory(
    devices=f'{mesh.size} x {jax.devices()[0].device_kind}',
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
    run: Arguments of `loop.train`: 'model', 'schedule', 'make_optimizer' and
      'train_steps' are read.
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
  optimizer = run['make_optimizer'](run['schedule'])
  found = costs(model, optimizer, batch_size)
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
    f' {found.example_flops / 1e9:.4g} GFLOP an example (matrix products)'
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
  for chip in CHIPS:
    step_seconds = found.step_flops / (chip.peak_flops * utilisation)
    epoch = _time(epoch_steps * step_seconds) if epoch_steps else '-'
    yield (
      f'{chip.name:10}  {chip.peak_flops / 1e12:7.0f}  {_time(step_seconds):>8}'
      f'  {epoch:>8}  {_time(train_steps * step_seconds):>8}  {chip.source}'
    )
  yield ''
  yield f'Compiling the step for {jax.devices()[0].device_kind} ...'
  planned = memory(model, optimizer, batch_size)
  yield (
    f'memory      {_size(planned.total_bytes)} of each device, by XLA for'
    f' {planned.devices}: {_size(planned.argument_bytes)} state and batch,'
    f' {_size(planned.temporary_bytes)} temporary,'
    f' {_size(planned.output_bytes)} more out'
  )


def _state_shapes(model, optimizer, batch) -> train_state.TrainState:
  return jax.eval_shape(
    lambda rng, b: train_state.create(model, optimizer, rng, b),
    jax.random.key(0),
    batch,
  )


def _placed(tree: Any, where: jax.sharding.Sharding) -> Any:
  return jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), tree
  )


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
