"""What trains, scores and samples a stage: a network and its loss."""

from __future__ import annotations

import abc
from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import adaptors
from v2meow_jax.models import layer_stacking
from v2meow_jax.models import losses
from v2meow_jax.models import transformer
from v2meow_jax.models.sampling import autoregressive
from v2meow_jax.models.sampling import options

if TYPE_CHECKING:
  from clu import metrics as clu_metrics

Batch = Mapping[str, jax.Array]
Params = Any  # A nested dict of arrays, boxed with their axes or not.


class SequenceModel(abc.ABC):
  """A stage that can be trained, scored and sampled.

  Attributes:
    spec: Of the stage.
    config: Sizes of the network.
    module: The network.
    z_loss: Weight of log(Z)^2, which keeps logits from drifting.
    history_drop_rate: Share of the training examples whose decoder does not
      see all of the ids before: see `_hide_history`.
  """

  def __init__(
    self,
    spec: specs.StageSpec,
    config: transformer.TransformerConfig,
    z_loss: float = 1e-4,
    history_drop_rate: float = 0.0,
  ):
    """Raises ValueError when this kind of model cannot serve the stage."""
    self.spec = spec
    self.config = config
    self.z_loss = z_loss
    self.history_drop_rate = history_drop_rate
    self._check_config()
    self.module = transformer.Transformer(spec=spec, config=config)

  @abc.abstractmethod
  def _check_config(self):
    """Raises ValueError when this kind of model cannot serve the stage."""

  @property
  @abc.abstractmethod
  def decoder_length(self) -> int:
    """Ids the decoder reads in one crop."""

  @abc.abstractmethod
  def _prompt(self, inputs: Batch) -> jax.Array | None:
    """Ids the decoder reads before the target; None when an encoder does."""

  @property
  def encoder_length(self) -> int:
    """Positions the encoder reads in one crop; 0 without an encoder."""
    if not self.config.num_encoder_layers:
      return 0
    return len(adaptors.encoder_layout(self.spec).order)

  @property
  def target_length(self) -> int:
    """Ids of the target in one crop."""
    return self.spec.target.length(self.spec.crop_seconds)

  def example_inputs(self, batch_size: int) -> dict[str, np.ndarray]:
    """Zeros of the shape and type of each 'encoder_inputs_<stream>'."""
    inputs = {}
    for s in self.spec.inputs:
      shape = (batch_size, s.length(self.spec.crop_seconds))
      if isinstance(s, specs.TokenSpec):
        value = np.zeros(shape, np.int32)
      else:
        value = np.zeros((*shape, s.dim), np.float32)
      inputs[f'encoder_inputs_{s.name}'] = value
    return inputs

  def example_batch(self, batch_size: int) -> dict[str, np.ndarray]:
    """Zeros of the shape and type of a training batch."""
    shape = (batch_size, self.decoder_length)
    batch = {
      'decoder_input_tokens': np.zeros(shape, np.int32),
      'decoder_target_tokens': np.zeros(shape, np.int32),
      'decoder_loss_weights': np.zeros(shape, np.float32),
    }
    return batch | (
      self.example_inputs(batch_size) if self.config.num_encoder_layers else {}
    )

  def init(self, rng: jax.Array, batch: Batch) -> dict[str, Params]:
    """{'params': ...}, boxed: `nn.get_partition_spec` tells the axes."""
    return jax.jit(self.module.init)(rng, dict(batch))

  def describe(self) -> dict[str, Any]:
    """What rebuilds the model, as JSON data."""
    return {
      'model': type(self).__name__,
      'spec': specs.stage_to_dict(self.spec),
      'config': dataclasses.asdict(self.config),
    }

  def logits(self, params: Params, batch: Batch) -> jax.Array:
    """float32[b, target length, vocab_size], given the true ids; no dropout."""
    return self._logits(params, batch, None, legal=False)

  def code_logits(self, params: Params, batch: Batch) -> jax.Array:
    """As `logits`, of the ids that may stand at each position, by code.

    Args:
      params: Of the network.
      batch: As `example_batch`.

    Returns:
      float32[b, target length, codebook_size].
    """
    return self._logits(params, batch, None, legal=True)

  def forced_batch(self, inputs: Batch, ids: jax.Array) -> dict[str, jax.Array]:
    """A batch whose every position reads what sampling reads to draw `ids`.

    Args:
      inputs: 'encoder_inputs_<stream>' of every input, one whole crop.
      ids: int32[b, target length], of the target.

    Returns:
      As `example_batch`, and the inputs.
    """
    prompt = self._prompt(inputs)
    known = ids if prompt is None else jnp.concatenate([prompt, ids], 1)
    read = jnp.pad(known, ((0, 0), (1, 0)), constant_values=specs.PAD_ID)
    return {
      **inputs,
      'decoder_input_tokens': read[:, :-1],
      'decoder_target_tokens': known,
      'decoder_loss_weights': jnp.ones(known.shape, jnp.float32),
    }

  def _logits(self, params, batch, dropout_rng, legal):
    self._check_batch(batch)
    rngs = None if dropout_rng is None else {'dropout': dropout_rng}
    return self.module.apply(
      {'params': params},
      batch,
      deterministic=dropout_rng is None,
      legal=legal,
      rngs=rngs,
    )

  def _check_batch(self, batch: Batch):
    example = self.example_batch(1)
    _check_shapes(self.spec, batch, example)

  def _token_losses(self, params, batch, dropout_rng):
    """Cross-entropy, log(Z)^2, correctness and weight of each target id."""
    length = self.target_length
    targets = batch['decoder_target_tokens'][:, -length:]
    weights = batch['decoder_loss_weights'][:, -length:]
    legal = self.config.legal_loss
    if dropout_rng is not None and self.history_drop_rate:
      batch = self._hide_history(batch, dropout_rng)
    logits = self._logits(params, batch, dropout_rng, legal)
    if legal:
      offsets = tokens.level_offsets(self.spec, self.spec.target)
      targets = targets - jnp.tile(offsets, length // len(offsets))
    loss, z = losses.cross_entropy(logits, targets)
    correct = (logits.argmax(-1) == targets).astype(jnp.float32)
    return loss, z, correct, weights.astype(jnp.float32)

  def _hide_history(self, batch: Batch, rng: jax.Array) -> dict[str, jax.Array]:
    """Word dropout (Bowman et al. 2016, https://arxiv.org/abs/1511.06349).

    A few ids of music tell its genre and its pulse better than any picture, so
    a model that always sees them learns its inputs from the first ids alone. In
    some examples each id is hidden with a probability drawn from [0, 1].
    """
    ids = batch['decoder_input_tokens']
    rows, length = ids.shape
    which, rates, draws = jax.random.split(jax.random.fold_in(rng, 1), 3)
    chosen = jax.random.bernoulli(which, self.history_drop_rate, (rows, 1))
    rate = chosen * jax.random.uniform(rates, (rows, 1))
    hidden = jax.random.uniform(draws, ids.shape) < rate
    # Position n reads the id before it: the first of a target has no history.
    history = np.arange(length) > length - self.target_length
    shown = jnp.where(hidden & history, specs.PAD_ID, ids)
    return {**batch, 'decoder_input_tokens': shown}

  def train_loss(
    self,
    params: Params,
    extras: dict[str, Any],
    batch: Batch,
    rng: jax.Array | None,
  ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """Mean loss for a gradient: see `trainable.Trainable`.

    Args:
      params: Of the network.
      extras: Empty; returned as it came.
      batch: As `example_batch`. In a decoder-only model the ids before the
        target are never predicted, whatever their weights.
      rng: For dropout; None: no dropout.

    Returns:
      float32[] cross-entropy per id plus z-loss; ('loss' (cross-entropy only),
      'accuracy', and of several levels 'loss_level_<k>' and
      'accuracy_level_<k>'), extras.
    """
    loss, z, correct, weights = self._token_losses(params, batch, rng)
    metrics = {
      name: losses.weighted_mean(*values_and_weights)
      for name, values_and_weights in self._logged(
        loss, correct, weights
      ).items()
    }
    z_loss = self.z_loss * losses.weighted_mean(z, weights)
    return metrics['loss'] + z_loss, (metrics, extras)

  def _logged(
    self, loss: jax.Array, correct: jax.Array, weights: jax.Array
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Values and weights of every metric, overall and of each level."""
    levels = self.spec.target.num_codebooks
    slices = {'': slice(None)}
    if levels > 1:
      slices |= {f'_level_{k}': slice(k, None, levels) for k in range(levels)}
    return {
      name + suffix: (values[:, ids], weights[:, ids])
      for suffix, ids in slices.items()
      for name, values in (('loss', loss), ('accuracy', correct))
    }

  def loss_fn(
    self, params: Params, batch: Batch, dropout_rng: jax.Array | None
  ) -> tuple[jax.Array, dict[str, clu_metrics.Metric]]:
    """Summed loss and CLU metrics, as T5X asks for.

    Args:
      params: Of the network.
      batch: As `example_batch`.
      dropout_rng: None: no dropout.

    Returns:
      float32[] cross-entropy plus z-loss summed over ids; the metrics of
      `train_loss`, averages per id whose count is the sum of the loss weights.
    """
    # Here, because only T5X calls this: inference runs without CLU.
    from clu import metrics as clu_metrics

    loss, z, correct, weights = self._token_losses(params, batch, dropout_rng)
    metrics = {
      # A flax dataclass, whose fields pyright does not see.
      name: clu_metrics.Average((x * w).sum(), w.sum())  # pyright: ignore
      for name, (x, w) in self._logged(loss, correct, weights).items()
    }
    return ((loss + self.z_loss * z) * weights).sum(), metrics

  def score_batch(self, params: Params, batch: Batch) -> jax.Array:
    """float32[b], log-likelihood of each row's targets, by their weights."""
    loss, _, _, weights = self._token_losses(params, batch, None)
    return -(loss * weights).sum(-1)

  def sample_batch(
    self,
    params: Params,
    inputs: Batch,
    rngs: jax.Array,
    sampling: options.Sampling = options.AS_TRAINED,
    *,
    prefix: jax.Array | None = None,
    num_frames: int | None = None,
  ) -> jax.Array:
    """Draws the target, one id after the other.

    The id at target position i of a row is drawn with fold_in(key of the row,
    i), from the ids of its level only: a row does not depend on the others.
    Compiled once for each shape; may be called inside `jax.jit`. Stacked
    layers are taken apart first, at every call.

    Args:
      params: Of the network.
      inputs: 'encoder_inputs_<stream>' of every input, one whole crop.
      rngs: key[b], one for each row.
      sampling: Temperature and top-k.
      prefix: int32[b, n], the first n target ids, whole frames; None: none.
      num_frames: Stop after this many frames of the target, the prefix
        included; None: the whole crop.

    Returns:
      int32[b, length], the prefix and what was drawn.

    Raises:
      ValueError: An input, `rngs`, `prefix`, `top_k` or `num_frames` does not
        fit the stage.
    """
    batch_size = rngs.shape[0]
    example = self.example_inputs(1)
    _check_shapes(self.spec, inputs, example, batch_size)
    target = self.spec.target
    crop_frames = target.num_frames(self.spec.crop_seconds)
    num_frames = crop_frames if num_frames is None else num_frames
    if not 1 <= num_frames <= crop_frames:
      raise ValueError(
        f'num_frames is {num_frames}; stage {self.spec.name!r} samples from 1'
        f' to {crop_frames} frames of {target.name!r}.'
      )
    length = num_frames * target.num_codebooks
    if prefix is None:
      prefix = jnp.zeros((batch_size, 0), jnp.int32)
    _check_prefix(self.spec, prefix, batch_size, length)
    top_k = sampling.top_k
    if top_k is not None and top_k > target.codebook_size:
      raise ValueError(
        f'top_k is {top_k}; {target.name!r} has {target.codebook_size} codes,'
        ' so it is from 1 to that, or None.'
      )
    return autoregressive.sample(
      transformer.Transformer(
        spec=self.spec,
        config=dataclasses.replace(self.config, scan_layers=False),
      ),
      layer_stacking.unstack(params),
      dict(inputs) if self.config.num_encoder_layers else None,
      self._prompt(inputs),
      jnp.asarray(prefix, jnp.int32),
      rngs,
      sampling,
      length=length,
    )


class EncoderDecoderModel(SequenceModel):
  """An encoder reads the inputs, a decoder writes the target."""

  def _check_config(self):
    if not self.config.num_encoder_layers:
      raise ValueError(
        f'stage {self.spec.name!r}: num_encoder_layers is 0; an'
        ' EncoderDecoderModel needs at least 1, or use DecoderOnlyModel.'
      )
    if not self.spec.inputs:
      raise ValueError(
        f'stage {self.spec.name!r} has no inputs to encode; name some or use'
        ' DecoderOnlyModel.'
      )

  @property
  def decoder_length(self) -> int:
    """Ids the decoder reads in one crop: the target's."""
    return self.target_length

  def _prompt(self, inputs: Batch) -> None:
    return None


class DecoderOnlyModel(SequenceModel):
  """One decoder reads the ids of the inputs, then writes the target."""

  def _check_config(self):
    if self.config.num_encoder_layers:
      raise ValueError(
        f'stage {self.spec.name!r}: num_encoder_layers is'
        f' {self.config.num_encoder_layers}; a DecoderOnlyModel has 0, or use'
        ' EncoderDecoderModel.'
      )
    continuous = [s.name for s in self.spec.feature_inputs]
    if continuous:
      raise ValueError(
        f'stage {self.spec.name!r} reads the continuous streams {continuous};'
        ' a DecoderOnlyModel reads tokens only, use EncoderDecoderModel.'
      )

  @property
  def decoder_length(self) -> int:
    """Ids the decoder reads in one crop: the inputs', then the target's."""
    lengths = self.spec.feature_lengths()
    return sum(lengths.values())

  def _prompt(self, inputs: Batch) -> jax.Array:
    names = [f'encoder_inputs_{s.name}' for s in self.spec.token_inputs]
    return jnp.concatenate([jnp.asarray(inputs[n]) for n in names], 1)


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
