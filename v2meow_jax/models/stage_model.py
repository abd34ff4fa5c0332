"""A stage as one model: network, objective and sampler, chosen in gin."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol
from typing import TYPE_CHECKING

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import descriptions
from v2meow_jax.models.adaptors import positions
from v2meow_jax.models.adaptors import standardised
from v2meow_jax.models.objectives import losses
from v2meow_jax.models.objectives import objective as objective_lib
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

if TYPE_CHECKING:
  from clu import metrics as clu_metrics

Batch = Mapping[str, jax.Array]
# Layouts of networks whose inputs join the target, or stand before it.
_WITHOUT_ENCODER = (
  batch_layouts.PREFIX,
  batch_layouts.PARALLEL,
  batch_layouts.FRAMES,
)
Params = Any  # A nested dict of arrays, boxed with their axes or not.
_PROGRESS = 'progress'  # Collection that counts the examples of a ramp.


class StageNetwork(Protocol):
  """Sizes of a network, which it builds for a stage: a frozen dataclass."""

  @property
  def layout(self) -> str:
    """Name of the batches that it reads: see `batch_layouts`."""
    ...

  def module(self, spec: specs.StageSpec) -> nn.Module:
    """Network that maps (batch, wanted, deterministic) to named outputs.

    Raises:
      ValueError: The network cannot serve the stage.
    """
    ...


class Sampler(Protocol):
  """How a stage generates: a frozen dataclass."""

  @property
  def sampling(self) -> options.Sampling:
    """Options that hold unless others are given."""
    ...

  @property
  def windows(self) -> options.Windows:
    """How a clip longer than a crop is covered."""
    ...

  def sample(
    self,
    network: Any,
    spec: specs.StageSpec,
    params: Params,
    inputs: Batch,
    rngs: jax.Array,
    sampling: options.Sampling,
    *,
    prefix: jax.Array | None,
    num_frames: int,
    negative: Batch | None,
  ) -> jax.Array:
    """Draws a target; arguments as `StageModel.sample_batch`."""
    ...


class StageModel:
  """A stage that can be trained, scored and sampled.

  Attributes:
    spec: Streams of the stage.
    network: Sizes of the network.
    objective: Loss to train by.
    sampler: Way to generate, and its defaults.
    moments: Mean and deviation of continuous inputs, and of a continuous
      target, by which they are standardised; others enter as they are.
    module: Network that `network` builds.
  """

  def __init__(
    self,
    spec: specs.StageSpec,
    network: StageNetwork,
    objective: objective_lib.Objective,
    sampler: Sampler,
    moments: standardised.Moments | None = None,
  ):
    """Raises ValueError when network or moments cannot serve the stage."""
    self.spec = spec
    self.network: Any = network
    self.objective: Any = objective
    self.sampler = sampler
    self.moments = dict(moments or {})
    standardised.check(self.moments, spec)
    self.module: Any = network.module(spec)

  @property
  def layout(self) -> str:
    """Name of the batches that the network reads: see `batch_layouts`."""
    return self.network.layout

  @property
  def decoder_length(self) -> int:
    """Ids or frames that the decoder reads in one crop."""
    return batch_layouts.decoder_length(self.layout, self.spec)

  @property
  def encoder_length(self) -> int:
    """Positions the encoder reads in one crop; 0 without an encoder."""
    if self.layout in _WITHOUT_ENCODER:
      return 0
    if self.layout == batch_layouts.DELAY:
      return len(self.network.input_times(self.spec))
    return len(positions.encoder_layout(self.spec).order)

  @property
  def target_length(self) -> int:
    """Ids or frames of the target in one crop."""
    return self.spec.feature_lengths()[self.spec.target.name]

  def example_inputs(self, batch_size: int) -> dict[str, np.ndarray]:
    """Zeros of the shape and type of each 'encoder_inputs_<stream>'."""
    return batch_layouts.example_streams(
      self.spec, self.spec.inputs, batch_size
    )

  def example_batch(self, batch_size: int) -> dict[str, np.ndarray]:
    """Zeros of the shape and type of a training batch."""
    return batch_layouts.example_batch(self.layout, self.spec, batch_size)

  def inputs_of(self, batch: Batch) -> dict[str, jax.Array]:
    """'encoder_inputs_<stream>' of every input, out of a training batch."""
    return batch_layouts.inputs_of(self.layout, self.spec, batch)

  def init(self, rng: jax.Array, batch: Batch) -> dict[str, Params]:
    """{'params': ...}, boxed: `nn.get_partition_spec` tells the axes.

    And 'progress', the number of examples, of an objective that ramps.
    """

    def init(rng, batch):
      if self.layout == batch_layouts.FRAMES:
        # What a network reads of frames is what its objective makes of them.
        batch = self.objective.corrupt(self.spec, batch, None)
      return self.module.init(rng, batch)

    variables = jax.jit(init)(rng, dict(batch))
    if self.objective.ramps:
      variables = {**variables, _PROGRESS: {'examples': jnp.int32(0)}}
    return variables

  def describe(self) -> dict[str, Any]:
    """Data in JSON's types that rebuilds the model."""
    return {
      'model': 'StageModel',
      'spec': specs.stage_to_dict(self.spec),
      'network': descriptions.to_dict(self.network),
      'objective': descriptions.to_dict(self.objective),
      'sampler': descriptions.to_dict(self.sampler),
      **({'moments': self.moments} if self.moments else {}),
    }

  def standardised(self, batch: Batch) -> dict[str, jax.Array]:
    """Returns a batch, or inputs, as the network reads them."""
    scaled = {
      f'encoder_inputs_{name}': values for name, values in self.moments.items()
    }
    return {
      key: standardised.standardised(x, **scaled[key]) if key in scaled else x
      for key, x in batch.items()
    }

  @property
  def _target_moments(self) -> Mapping[str, Sequence[float]] | None:
    """Moments of a continuous target, if it is standardised."""
    return self.moments.get(self.spec.target.name)

  def outputs(
    self,
    params: Params,
    batch: Batch,
    wanted: tuple[str, ...],
    rng: jax.Array | None = None,
  ) -> dict[str, jax.Array]:
    """Outputs of the network by name, given the true target.

    `batch` is like `example_batch`; without a key `rng` there is no dropout.
    """
    example = self.example_batch(1)
    # What no network reads need not be there.
    read = {k: x for k, x in example.items() if batch_layouts.GUIDE not in k}
    _check_shapes(self.spec, batch, read)
    return self.module.apply(
      {'params': params},
      self.standardised(batch),
      wanted=wanted,
      deterministic=rng is None,
      rngs=None if rng is None else {'dropout': rng},
    )

  def logits(self, params: Params, batch: Batch) -> jax.Array:
    """float32[b, target length, vocab_size], given the true ids; no dropout."""
    return self.outputs(params, batch, ('logits',))['logits']

  def code_logits(self, params: Params, batch: Batch) -> jax.Array:
    """As `logits`, of the ids that may stand at a position, by code."""
    return self.outputs(params, batch, ('code_logits',))['code_logits']

  def forced_batch(self, inputs: Batch, ids: jax.Array) -> dict[str, jax.Array]:
    """A batch whose every position reads what sampling reads to draw `ids`.

    Args:
      inputs: 'encoder_inputs_<stream>' of every input, one whole crop.
      ids: int32[b, target length], of the target.

    Returns:
      Batch like `example_batch`, and the inputs.

    Raises:
      ValueError: The network writes ids in parallel, in an order of its own.
    """
    if self.layout == batch_layouts.PARALLEL:
      raise ValueError(
        f'stage {self.spec.name!r} writes its ids in parallel: there is no one'
        ' batch from which they were drawn. Ask another stage.'
      )
    prompt = batch_layouts.prompt(self.layout, self.spec, inputs)
    known = ids if prompt is None else jnp.concatenate([prompt, ids], 1)
    read = jnp.pad(known, ((0, 0), (1, 0)), constant_values=specs.PAD_ID)
    return {
      **inputs,
      'decoder_input_tokens': read[:, :-1],
      'decoder_target_tokens': known,
      'decoder_loss_weights': jnp.ones(known.shape, jnp.float32),
    }

  def scaled_target(self, frames: jax.Array) -> jax.Array:
    """Returns frames of the target, standardised where it has moments."""
    moments = self._target_moments
    return standardised.scaled(frames, **moments) if moments else frames

  def corrupted(
    self, batch: Batch, rng: jax.Array | None, extras: dict[str, Any] | None
  ) -> Batch:
    """What the objective makes of a batch; `extras` are those of `train_loss`."""
    del extras  # Of models that learn from more than their batches.
    if self._target_moments:
      frames = self.scaled_target(batch['decoder_target_frames'])
      batch = {**batch, 'decoder_target_frames': frames}
    return self.objective.corrupt(self.spec, batch, rng)

  def _losses(
    self,
    params: Params,
    batch: Batch,
    rng: jax.Array | None,
    extras: dict[str, Any] | None = None,
  ) -> objective_lib.Losses:
    batch = self.corrupted(batch, rng, extras)
    outputs = self.outputs(params, batch, self.objective.reads, rng)
    return self.objective(self.spec, outputs, batch)

  def train_loss(
    self,
    params: Params,
    extras: dict[str, Any],
    batch: Batch,
    rng: jax.Array | None,
  ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """Mean loss for a gradient, and metrics: see `trainable.Trainable`.

    `extras` are those of `init`; `rng` is the key of dropout and of the
    corruption.
    """
    if self.objective.ramps:
      seen = extras[_PROGRESS]['examples']
      rows = len(jax.tree.leaves(batch)[0])
      batch = {**batch, objective_lib.EXAMPLES_SEEN: seen}
      if rng is not None:
        extras = {**extras, _PROGRESS: {'examples': seen + rows}}
    values, weights, metrics = self._losses(params, batch, rng, extras)
    means = {name: losses.weighted_mean(*m) for name, m in metrics.items()}
    return losses.weighted_mean(values, weights), (means, extras)

  def loss_fn(
    self, params: Params, batch: Batch, dropout_rng: jax.Array | None
  ) -> tuple[jax.Array, dict[str, clu_metrics.Metric]]:
    """Summed loss and CLU metrics, as T5X asks for; arguments as `train_loss`.

    Returns:
      float32[] weighted sum of the objective's losses; the metrics of
      `train_loss`, averages whose count is the sum of the weights.
    """
    # Here, because only T5X calls this: inference runs without CLU.
    from clu import metrics as clu_metrics

    values, weights, metrics = self._losses(params, batch, dropout_rng)
    averages = {
      # A flax dataclass, whose fields pyright does not see.
      name: clu_metrics.Average((x * w).sum(), w.sum())  # pyright: ignore
      for name, (x, w) in metrics.items()
    }
    return (values * weights).sum(), averages

  def score_batch(self, params: Params, batch: Batch) -> jax.Array:
    """float32[b], minus the summed 'loss': of tokens, the log-likelihood."""
    values, weights = self._losses(params, batch, None).metrics['loss']
    return -(values * weights).sum(-1)

  def sample_batch(
    self,
    params: Params,
    inputs: Batch,
    rngs: jax.Array,
    sampling: options.Sampling | None = None,
    *,
    prefix: jax.Array | None = None,
    num_frames: int | None = None,
    negative: Batch | None = None,
  ) -> jax.Array:
    """Draws the target; a row does not depend on the others.

    Compiled once for each shape; may be called inside `jax.jit`.

    Args:
      params: Parameters of the network.
      inputs: 'encoder_inputs_<stream>' of every input, one whole crop.
      rngs: key[b], one for each row.
      sampling: Options of the sampler; None: the stage's own.
      prefix: First frames of the target: int32[b, n] ids of whole frames, or
        float32[b, n, dim]; None:
        none.
      num_frames: Frames of the target to return, the prefix included; None:
        the whole crop.
      negative: 'encoder_inputs_<stream>' of the styles that guidance goes away
        from; None: zeros, no style at all.

    Returns:
      The prefix and what was drawn: int32[b, length] ids, or of a continuous
      target float32[b, frames, dim].

    Raises:
      ValueError: An input, `rngs`, `prefix`, `sampling` or `num_frames` does
        not fit the stage.
    """
    _check_shapes(self.spec, inputs, self.example_inputs(1), rngs.shape[0])
    target = self.spec.target
    crop_frames = target.num_frames(self.spec.crop_seconds)
    num_frames = crop_frames if num_frames is None else num_frames
    if not 1 <= num_frames <= crop_frames:
      raise ValueError(
        f'num_frames is {num_frames}; stage {self.spec.name!r} samples from 1'
        f' to {crop_frames} frames of {target.name!r}.'
      )
    sampling = self.sampler.sampling if sampling is None else sampling
    if isinstance(target, specs.TokenSpec):
      if prefix is not None:
        length = num_frames * target.num_codebooks
        _check_prefix(self.spec, prefix, rngs.shape[0], length)
      if (sampling.top_k or 0) > target.codebook_size:
        raise ValueError(
          f'top_k is {sampling.top_k}; {target.name!r} has'
          f' {target.codebook_size} codes, so it is from 1 to that, or None.'
        )
      if sampling.steps is not None:
        raise ValueError(
          f'steps is {sampling.steps}, and stage {self.spec.name!r} writes codes'
          ' and follows no flow; leave it out.'
        )
    elif prefix is not None:
      _check_frames(self.spec, prefix, rngs.shape[0], num_frames)
      prefix = self.scaled_target(prefix)
    drawn = self.sampler.sample(
      self.network,
      self.spec,
      params,
      self.standardised(inputs),
      rngs,
      guidance.active(sampling, self.spec),
      prefix=prefix,
      num_frames=num_frames,
      negative=None if negative is None else self.standardised(negative),
    )
    if self._target_moments:
      return standardised.restored(drawn, **self._target_moments)
    return drawn


def layout(model: StageModel) -> str:
  """Name of the batches that a model reads, for data to be told in gin."""
  return model.layout


def _check_prefix(
  spec: specs.StageSpec, prefix: jax.Array, batch_size: int, length: int
):
  """Raises ValueError unless a prefix is whole frames and leaves some."""
  levels = spec.target.num_codebooks
  shape = jnp.shape(prefix)
  rows_fit = len(shape) == 2 and shape[0] == batch_size
  if not rows_fit or shape[1] % levels or shape[1] >= length:
    raise ValueError(
      f'the prefix of stage {spec.name!r} has shape {shape}; wanted'
      f' [{batch_size}, n], n a multiple of {levels} below {length}: whole'
      f' frames of {spec.target.name!r}, with something left to draw.'
    )


def _check_frames(
  spec: specs.StageSpec, prefix: jax.Array, batch_size: int, num_frames: int
):
  """Raises ValueError unless a continuous prefix fits and leaves a frame."""
  shape, dim = jnp.shape(prefix), spec.target.frame_shape
  fits = shape[:1] == (batch_size,) and shape[2:] == dim
  if not fits or shape[1] >= num_frames:
    sizes = ', '.join(str(n) for n in (batch_size, 'n', *dim))
    raise ValueError(
      f'the prefix of stage {spec.name!r} has shape {shape}; wanted [{sizes}],'
      f' n below {num_frames}: frames of {spec.target.name!r}, with something'
      ' left to draw.'
    )


def _check_shapes(
  spec: specs.StageSpec,
  batch: Batch,
  example: Mapping[str, np.ndarray],
  batch_size: int | None = None,
):
  """Raises ValueError unless `batch` has the arrays of `example`."""
  for name, wanted in example.items():
    if name not in batch:
      raise ValueError(
        f'the batch of stage {spec.name!r} has no {name!r}; it has'
        f' {sorted(batch)}.'
      )
    rows = 'b' if batch_size is None else batch_size
    shape = jnp.shape(batch[name])
    wrong = shape[1:] != wanted.shape[1:]
    if wrong or (batch_size is not None and shape[0] != batch_size):
      sizes = ', '.join(str(n) for n in (rows, *wanted.shape[1:]))
      raise ValueError(
        f'{name!r} of stage {spec.name!r} has shape {shape}; wanted'
        f' [{sizes}], one crop of {spec.crop_seconds} s.'
      )
