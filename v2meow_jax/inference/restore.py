"""A trained stage: description and weights in, something that samples out."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
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
from v2meow_jax.inference.programs import kept
from v2meow_jax.models import descriptions
from v2meow_jax.models import stage_model
from v2meow_jax.models.blocks import kernels
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.readings import flow_readings
from v2meow_jax.models.readings import input_attention
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

# Classes of models in the descriptions of earlier versions.
_OLD_MODELS = ('EncoderDecoderModel', 'DecoderOnlyModel')
# Temperature, share of a window that the one before has written, and rows of
# the stages of earlier versions, whose descriptions had no sampler.
_OLD_SAMPLERS = {
  'semantic': (1.0, 0.2, 1),
  'coarse': (0.95, 0.25, 1),
  'fine': (0.4, 0.0, 5),
}

# Sizes that say how a network was trained. A released stage samples in the type of
# the device, with layers that stand apart.
_TRAINING_ONLY = ('dtype', 'remat', 'scan_layers')


class Stage(Protocol):
  """A trained stage."""

  spec: specs.StageSpec

  def sample(
    self,
    inputs: Mapping[str, np.ndarray],
    rngs: jax.Array,
    sampling: options.Sampling,
    prefix: Int[np.ndarray, 'b frames levels'] | None = None,
    negative: Mapping[str, np.ndarray] | None = None,
  ) -> Int[np.ndarray, 'b frames levels']:
    """Frames of one window per row; those of `prefix` come first, unchanged."""
    ...


class ModelStage:
  """A `StageModel` with its parameters."""

  def __init__(
    self,
    model: stage_model.StageModel,
    params: Any,
    mesh: jax.sharding.Mesh | None = None,
    *,
    keep: bool = False,
  ):
    """Moves the parameters to the devices, in the type in which they are used.

    Args:
      model: Network, objective and sampler.
      params: Parameters of the network, layers apart.
      mesh: Devices from `mesh.make_mesh`, over which parameters and rows are
        split by the rules of training; None: the default device alone.
      keep: Whether its compiled sampler is kept for later processes: for models
        whose description determines them, which `build_model` made.
    """
    self.model = model
    self.spec = model.spec
    params = kernels.cast(params, getattr(model.network, 'dtype', 'float32'))
    sample = functools.partial(_sample, model)
    places = None
    if mesh is not None:
      places, sample = _spread(model, sample, mesh)
    self._params = jax.device_put(params, places)
    self._sample = kept.Program(
      sample,
      name=model.spec.name,
      identity=model.describe() if keep else None,
    )
    self._attention = jax.jit(
      functools.partial(input_attention.input_attention, model)
    )
    self._logits = jax.jit(model.code_logits)
    self._outputs = jax.jit(model.outputs, static_argnums=2)
    self._gates = jax.jit(functools.partial(flow_readings.gates, model))
    self._velocities = jax.jit(
      functools.partial(flow_readings.velocities, model)
    )

  def sample(
    self,
    inputs: Mapping[str, np.ndarray],
    rngs: jax.Array,
    sampling: options.Sampling,
    prefix: np.ndarray | None = None,
    negative: Mapping[str, np.ndarray] | None = None,
  ) -> np.ndarray:
    """See `Stage.sample`; inputs are codes or features of one crop per row.

    Args:
      inputs: By stream name: float[b, frames, dim] or int[b, frames, levels].
      rngs: One key per row.
      sampling: Options of the sampler.
      prefix: First frames of the target, when they are known.
      negative: Styles that guidance goes away from, by stream name; None: no
        style.

    Returns:
      int32[b, frames, levels], or of a continuous target float32[b, frames,
      dim].
    """
    target = self.spec.target
    space = tokens.IdSpace(self.spec)
    of_tokens = isinstance(target, specs.TokenSpec)
    if of_tokens and prefix is not None:
      prefix = space.codes_to_ids(prefix, target)
    if negative is not None:
      negative = {f'encoder_inputs_{k}': x for k, x in negative.items()}
    drawn = np.asarray(
      self._sample(
        self._params,
        self._encoder_inputs(inputs),
        np.asarray(jax.random.key_data(rngs)),
        guidance.active(sampling, self.spec),
        prefix,
        negative,
      )
    )
    return space.ids_to_codes(drawn, target) if of_tokens else drawn

  def prepare(
    self, rows: int, sampling: options.Sampling, prefix_frames: int = 0
  ) -> None:
    """Loads or compiles what `sample` runs.

    Args:
      rows: Number of rows in a call.
      sampling: Options of the sampler.
      prefix_frames: Number of frames of the target that are known.
    """
    target = self.spec.target
    prefix = None
    if prefix_frames and isinstance(target, specs.TokenSpec):
      ids = (rows, prefix_frames * target.num_codebooks)
      prefix = jax.ShapeDtypeStruct(ids, jnp.int32)
    elif prefix_frames:
      frames = (rows, prefix_frames, target.dim)
      prefix = jax.ShapeDtypeStruct(frames, jnp.float32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))
    inputs = self.model.example_inputs(rows)
    names = guidance.negative_streams(self.spec, sampling)
    keys_of = map('encoder_inputs_{}'.format, names)
    negative = {key: inputs[key] for key in keys_of} or None
    self._sample.prepare(
      self._params,
      inputs,
      jax.eval_shape(jax.random.key_data, keys),
      guidance.active(sampling, self.spec),
      prefix,
      negative,
    )

  def attention(
    self, inputs: Mapping[str, np.ndarray], codes: np.ndarray
  ) -> dict[str, np.ndarray]:
    """Weights of `input_attention.input_attention` as the stage writes `codes`.

    Arguments as those of `log_probabilities`.
    """
    weights = self._attention(self._params, self._forced(inputs, codes))
    return {name: np.asarray(x) for name, x in weights.items()}

  def log_probabilities(
    self, inputs: Mapping[str, np.ndarray], codes: np.ndarray
  ) -> np.ndarray:
    """Of every code at each place, given the codes before; temperature 1.

    Args:
      inputs: Inputs as for `sample`.
      codes: int[b, frames, levels], of the target, one whole crop.

    Returns:
      float32[b, frames * levels, codebook_size].
    """
    batch = self._forced(inputs, codes)
    return np.asarray(jax.nn.log_softmax(self._logits(self._params, batch)))

  def pair_embeddings(
    self, inputs: Mapping[str, np.ndarray], codes: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of what is seen and of what is heard, float32[b, joint_dim].

    Neither depends on the other; arguments as those of `log_probabilities`, of
    a stage whose network is a `delayed_network.DelayedDecoder`.
    """
    names = ('video_embedding', 'music_embedding')
    found = self._outputs(self._params, self._forced(inputs, codes), names)
    return np.asarray(found[names[0]]), np.asarray(found[names[1]])

  def gates(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of patches, of a stage that follows a flow.

    Args:
      inputs: Inputs as for `sample`.

    Returns:
      See `flow_readings.gates`.
    """
    weights = self._gates(self._params, self._encoder_inputs(inputs))
    return {name: np.asarray(x) for name, x in weights.items()}

  def velocities(
    self,
    inputs: Mapping[str, np.ndarray],
    frames: np.ndarray,
    is_known: np.ndarray,
  ) -> np.ndarray:
    """Velocities on the way to some frames; see `flow_readings.velocities`."""
    seen = self._encoder_inputs(inputs)
    return np.asarray(self._velocities(self._params, seen, frames, is_known))

  def _forced(
    self, inputs: Mapping[str, np.ndarray], codes: np.ndarray
  ) -> dict[str, jax.Array]:
    ids = tokens.IdSpace(self.spec).codes_to_ids(codes, self.spec.target)
    return self.model.forced_batch(
      self._encoder_inputs(inputs), jnp.asarray(ids)
    )

  def _encoder_inputs(
    self, inputs: Mapping[str, np.ndarray]
  ) -> dict[str, np.ndarray]:
    return {
      f'encoder_inputs_{s.name}': (
        tokens.IdSpace(self.spec).codes_to_ids(inputs[s.name], s)
        if isinstance(s, specs.TokenSpec)
        else np.asarray(inputs[s.name], np.float32)
      )
      for s in self.spec.inputs
    }


def _sample(
  model: stage_model.StageModel,
  params: Any,
  inputs: Mapping[str, jax.Array],
  key_data: jax.Array,
  sampling: options.Sampling,
  prefix: jax.Array | None,
  negative: Mapping[str, jax.Array] | None,
) -> jax.Array:
  """Samples a batch; see `StageModel.sample_batch`."""
  rngs = jax.random.wrap_key_data(key_data)
  return model.sample_batch(
    params, inputs, rngs, sampling, prefix=prefix, negative=negative
  )


def _spread(
  model: stage_model.StageModel,
  sample: Callable[..., jax.Array],
  mesh: jax.sharding.Mesh,
) -> tuple[Any, Callable[..., jax.Array]]:
  """Gives each group of devices rows of its own, as if it were alone.

  Args:
    model: Model of a stage.
    sample: Function that samples rows, with arguments as `_sample`.
    mesh: Devices from `mesh.make_mesh`.

  Returns:
    Places of the parameters, by which the devices of a group split the work on
    its rows, and a function that samples the rows of all groups.
  """
  from v2meow_jax.training import mesh as mesh_lib  # pylint: disable=g-import-not-at-top

  rules = mesh_lib.DEFAULT_RULES
  places = mesh_lib.variable_shardings(
    model, model.example_batch(1), mesh, rules
  )
  rows = mesh_lib.batch_sharding(mesh, rules).spec
  whole = jax.sharding.PartitionSpec()
  return places['params'], jax.shard_map(
    sample,
    mesh=mesh,
    in_specs=(whole, rows, rows, whole, rows, rows),
    out_specs=rows,
    axis_names=set(rows[0]),
    check_vma=False,
  )


def device_dtype() -> str:
  """Type in which stages sample here: 'float32' on a CPU, else 'bfloat16'.

  A CPU is many times slower in bfloat16; accelerators are twice as fast or more.
  """
  return 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'


def build_model(
  description: Mapping[str, Any], dtype: str | None = None
) -> stage_model.StageModel:
  """The model that `StageModel.describe` described, without weights.

  Args:
    description: {'model': 'StageModel', 'spec', 'network', 'objective',
      'sampler'} and, of standardised inputs, 'moments', or as earlier versions wrote it.
    dtype: Type of the computation, 'float32' or 'bfloat16'; softmax and logits
      stay float32. None: as described.

  Returns:
    The model.

  Raises:
    ValueError: It is not the description of a stage.
  """
  parts = translated(description)
  network = parts['network']
  if dtype is not None:
    network = {**network, 'dtype': dtype}
  return stage_model.StageModel(
    spec=specs.stage_from_dict(parts['spec']),
    network=descriptions.from_dict(network, 'models'),
    objective=descriptions.from_dict(parts['objective'], 'models.objectives'),
    sampler=descriptions.from_dict(parts['sampler'], 'models.sampling'),
    moments=parts.get('moments'),
  )


def translated(description: Mapping[str, Any]) -> dict[str, Any]:
  """A description of today's form, also of what earlier versions wrote.

  Raises:
    ValueError: It is not the description of a stage.
  """
  kind = description.get('model')
  if kind == 'StageModel':
    return dict(description)
  if kind not in _OLD_MODELS:
    raise ValueError(
      f'{kind!r} is not the model of a stage; wanted a StageModel. Runs of'
      ' codecs and of styles are given by --codec and --style, or in a recipe of'
      ' parts; those of a pre-training by loop.train.warm_start.'
    )
  sizes = dict(description['config'])
  legal = sizes.pop('legal_loss', False)
  spec = specs.stage_from_dict(description['spec'])
  temperature, share, rows = _OLD_SAMPLERS.get(spec.name, (1.0, 0.2, 1))
  windows = options.windows(spec, share, rows)
  return {
    'model': 'StageModel',
    'spec': description['spec'],
    'network': {'kind': 'transformer.TransformerConfig', **sizes},
    'objective': {'kind': 'next_token.NextToken', 'legal': legal},
    'sampler': {
      'kind': 'autoregressive.Autoregressive',
      'sampling': {'temperature': temperature, 'top_k': None},
      'windows': dataclasses.asdict(windows),
    },
  }


def read_stage(
  model_dir: epath.PathLike,
) -> tuple[dict[str, Any], Any, int]:
  """The newest step of a training run, as a stage is released.

  Args:
    model_dir: Folder of the run.

  Returns:
    The description for `build_model`, the parameters, and the step.

  Raises:
    ValueError: The run trained something else, or nothing yet.
  """
  from v2meow_jax.training.checkpoints import checkpoints  # pylint: disable=g-import-not-at-top

  description = released(checkpoints.read_description(model_dir))
  variables, step = checkpoints.restore_variables(model_dir)
  return description, layer_stacking.unstack(variables['params']), step


def released(description: Mapping[str, Any]) -> dict[str, Any]:
  """A description without what only training needs; raises as `build_model`."""
  parts = translated(description)
  build_model(parts)
  network = {
    k: v for k, v in parts['network'].items() if k not in _TRAINING_ONLY
  }
  return {**parts, 'network': network}
