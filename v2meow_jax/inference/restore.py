"""A trained stage: description and weights in, something that samples out."""

from __future__ import annotations

from collections.abc import Mapping
import functools
from typing import Any
from typing import Protocol

from etils import epath
import jax
import jax.numpy as jnp
from jaxtyping import Int
import numpy as np

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import input_attention
from v2meow_jax.models import layer_stacking
from v2meow_jax.models import sequence_model
from v2meow_jax.models import transformer
from v2meow_jax.models.sampling import options
from v2meow_jax.training.checkpoints import checkpoints

_MODELS = {
  'EncoderDecoderModel': sequence_model.EncoderDecoderModel,
  'DecoderOnlyModel': sequence_model.DecoderOnlyModel,
}

# Of a config: how it was trained. A released stage samples in float32, since a
# CPU is many times slower in bfloat16, with layers that stand apart.
_TRAINING_ONLY = ('dtype', 'remat', 'scan_layers', 'fused_attention')


class Stage(Protocol):
  """A trained stage."""

  spec: specs.StageSpec

  def sample(
    self,
    inputs: Mapping[str, np.ndarray],
    rngs: jax.Array,
    sampling: options.Sampling,
    prefix: Int[np.ndarray, 'b frames levels'] | None = None,
  ) -> Int[np.ndarray, 'b frames levels']:
    """Codes of one window per row; those of `prefix` come first, unchanged."""
    ...


class ModelStage:
  """A `SequenceModel` with its parameters."""

  def __init__(self, model: sequence_model.SequenceModel, params: Any):
    """Moves the parameters to the default device."""
    self.model = model
    self.spec = model.spec
    self._params = jax.device_put(params)
    self._sample = jax.jit(model.sample_batch)
    self._attention = jax.jit(
      functools.partial(input_attention.input_attention, model)
    )
    self._logits = jax.jit(model.code_logits)

  def sample(
    self,
    inputs: Mapping[str, np.ndarray],
    rngs: jax.Array,
    sampling: options.Sampling,
    prefix: np.ndarray | None = None,
  ) -> np.ndarray:
    """See `Stage.sample`; inputs are codes or features of one crop per row.

    Args:
      inputs: By stream name: float[b, frames, dim] or int[b, frames, levels].
      rngs: One key per row.
      sampling: Temperature and top-k.
      prefix: Codes of the target's first frames, when they are known.

    Returns:
      int32[b, frames, levels].
    """
    batch = self._encoder_inputs(inputs)
    if prefix is not None:
      prefix = tokens.codes_to_ids(prefix, self.spec, self.spec.target)
    ids = self._sample(
      self._params,
      batch,
      rngs,
      sampling,
      prefix=prefix,
    )
    return tokens.ids_to_codes(np.asarray(ids), self.spec, self.spec.target)

  def attention(
    self, inputs: Mapping[str, np.ndarray], codes: np.ndarray
  ) -> dict[str, np.ndarray]:
    """What the stage attends to as it writes some codes.

    Args:
      inputs: As of `sample`.
      codes: int[b, frames, levels], of the target, one whole crop.

    Returns:
      See `input_attention.input_attention`.
    """
    weights = self._attention(self._params, self._forced(inputs, codes))
    return {name: np.asarray(x) for name, x in weights.items()}

  def log_probabilities(
    self, inputs: Mapping[str, np.ndarray], codes: np.ndarray
  ) -> np.ndarray:
    """Of every code at each place, given the codes before; temperature 1.

    Args:
      inputs: As of `sample`.
      codes: int[b, frames, levels], of the target, one whole crop.

    Returns:
      float32[b, frames * levels, codebook_size].
    """
    batch = self._forced(inputs, codes)
    return np.asarray(jax.nn.log_softmax(self._logits(self._params, batch)))

  def _forced(
    self, inputs: Mapping[str, np.ndarray], codes: np.ndarray
  ) -> dict[str, jax.Array]:
    ids = tokens.codes_to_ids(codes, self.spec, self.spec.target)
    return self.model.forced_batch(
      self._encoder_inputs(inputs), jnp.asarray(ids)
    )

  def _encoder_inputs(
    self, inputs: Mapping[str, np.ndarray]
  ) -> dict[str, np.ndarray]:
    return {
      f'encoder_inputs_{s.name}': (
        tokens.codes_to_ids(inputs[s.name], self.spec, s)
        if isinstance(s, specs.TokenSpec)
        else np.asarray(inputs[s.name], np.float32)
      )
      for s in self.spec.inputs
    }


def build_model(
  description: Mapping[str, Any],
) -> sequence_model.SequenceModel:
  """The model that `SequenceModel.describe` told of.

  Args:
    description: {'model': class name, 'spec': ..., 'config': ...}.

  Returns:
    The model, without weights.

  Raises:
    ValueError: It is not the description of a sequence model.
  """
  kind = description.get('model')
  if kind not in _MODELS:
    raise ValueError(
      f'{kind!r} is not a sequence model; wanted one of {sorted(_MODELS)}.'
      ' Was a codec run given where a stage was meant?'
    )
  return _MODELS[kind](
    spec=specs.stage_from_dict(description['spec']),
    config=transformer.TransformerConfig(**description['config']),
  )


def read_stage(
  model_dir: epath.PathLike,
) -> tuple[dict[str, Any], Any, int]:
  """The newest step of a training run, as a stage is released.

  Args:
    model_dir: Of the run.

  Returns:
    The description for `build_model`, the parameters, and the step.

  Raises:
    ValueError: The run trained something else, or nothing yet.
  """
  description = checkpoints.read_description(model_dir)
  build_model(description)
  variables, step = checkpoints.restore_variables(model_dir)
  params = layer_stacking.unstack(variables['params'])
  return released(description), params, step


def released(description: Mapping[str, Any]) -> dict[str, Any]:
  """A description without what only training needs."""
  config = {
    k: v for k, v in description['config'].items() if k not in _TRAINING_ONLY
  }
  return {**description, 'config': config}


def restore_stage(model_dir: epath.PathLike) -> ModelStage:
  """The stage that a training run left in `model_dir`, at its newest step."""
  description, params, _ = read_stage(model_dir)
  return ModelStage(build_model(description), params)
