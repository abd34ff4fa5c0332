"""T5X as a second trainer of the same recipes: nothing else imports T5X.

`gin/runs/t5x` puts the parts together, docs/t5x.md says how to run it. T5X
(https://github.com/google-research/t5x) is optional: requirements-t5x.txt.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import functools
import json
from typing import Any

from etils import epath
from flax import traverse_util
import flax.linen as nn
from flax.linen import partitioning as flax_partitioning
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import seqio
from t5x import gin_utils
from t5x import models
from t5x import optimizers
from t5x import partitioning
from t5x import utils

from v2meow_jax import specs
from v2meow_jax.data import clu_batches
from v2meow_jax.data import datasets
from v2meow_jax.data import feature_converters
from v2meow_jax.data import task_builder
from v2meow_jax.models import logical_axes
from v2meow_jax.models import stage_model
from v2meow_jax.models.sampling import options
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import t5x_checkpoints

Batch = Mapping[str, jax.Array]
_OURS = 'checkpoints'  # In a MODEL_DIR of `v2meow train`.


class T5XModel(models.BaseModel):
  """A stage as T5X trains, scores and samples it."""

  def __init__(
    self,
    model: stage_model.StageModel,
    *,
    batch_size: int,
    optimizer_def: optimizers.OptimizerDef | None = None,
    sampling: options.Sampling | None = None,
  ):
    """Wraps a stage's model.

    Args:
      model: The `MODEL` of a stage file.
      batch_size: Rows of a whole training step. T5X sums the gradients of
        microbatches, so the loss is divided by the ids of the whole step.
      optimizer_def: An `OptaxWrapper`; None where nothing is trained.
      sampling: Options that `t5x.infer` samples with; None: the stage's own.
    """
    super().__init__(optimizer_def)
    self.model = model
    self._ids = batch_size * model.target_length
    self._sampling = sampling
    converter = feature_converters.BY_LAYOUT[model.layout]
    self.FEATURE_CONVERTER_CLS = functools.partial(converter, model.spec)

  def loss_fn(self, params, batch: Batch, dropout_rng: jax.Array | None):
    """The loss summed over a batch by the ids of a step; averages per id."""
    loss, metrics = self.model.loss_fn(params, batch, dropout_rng)
    return loss / self._ids, metrics

  def predict_batch_with_aux(
    self, params, batch: Batch, rng: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """int32[b, length] of sampled ids; row i draws with split(rng, b)[i]."""
    if rng is None:
      raise ValueError('sampling draws with a key; pass rng, as T5X does.')
    keys = jax.random.split(rng, len(batch['decoder_target_tokens']))
    inputs = self.model.inputs_of(batch)
    return self.model.sample_batch(params, inputs, keys, self._sampling), {}

  def score_batch(self, params, batch: Batch) -> jax.Array:
    """float32[b], log-likelihood of each row's targets."""
    return self.model.score_batch(params, batch)

  def get_initial_variables(self, rng, input_shapes, input_types=None):
    """Parameters, and `params_axes`: their axes as T5X reads them."""
    del input_shapes, input_types  # The stage knows them.
    batch: Any = self.model.example_batch(1)
    boxed = self.model.init(rng, batch)['params']
    axes: Any = traverse_util.flatten_dict(nn.get_partition_spec(boxed))
    named = {
      (*path[:-1], f'{path[-1]}_axes'): flax_partitioning.AxisMetadata(
        names=tuple(spec)
      )
      for path, spec in axes.items()
    }
    return {
      'params': nn.unbox(boxed),
      'params_axes': traverse_util.unflatten_dict(named),
    }


def logical_axis_rules() -> Sequence[tuple[str, str | None]]:
  """T5X's rules; an axis that they do not split, or do not know, is copied."""
  copied = [(name, None) for name in logical_axes.NAMES]
  return partitioning.standard_logical_axis_rules(additional_rules=copied)


def get_dataset(
  cfg: utils.DatasetConfig,
  shard_id: int,
  num_shards: int,
  feature_converter_cls,
  *,
  model_dir: epath.PathLike,
):
  """What T5X trains on, from where the newest checkpoint stopped.

  Args:
    cfg: Config whose `mixture_or_task_name` is a stage file's `TRAIN_BATCHES`, whose
      batch k is a function of (seed, k); or else what it is in all of T5X, the
      name of a SeqIO task or mixture.
    shard_id: Index of the slice of a batch that this host reads.
    num_shards: Number of slices.
    feature_converter_cls: Converter of the model, for SeqIO.
    model_dir: Folder whose newest checkpoint T5X continues.

  Returns:
    An iterator, or for SeqIO a `tf.data.Dataset`.
  """
  if not callable(cfg.mixture_or_task_name):
    return utils.get_dataset(cfg, shard_id, num_shards, feature_converter_cls)
  source: Any = cfg.mixture_or_task_name
  start_step = max(t5x_checkpoints.find(model_dir), default=0)
  shard = (shard_id, num_shards)
  return clu_batches.CluBatches(source, shard, start_step=start_step)


def get_evaluation_datasets(
  cfg: utils.DatasetConfig,
  shard_id: int,
  num_shards: int,
  eval_steps: int,
  feature_converter_cls,
) -> dict[str, clu_batches.CluBatches]:
  """{split: the first batches of an `EVAL_BATCHES`}, for each evaluation."""
  del feature_converter_cls  # They are converted.
  shard = (shard_id, num_shards)
  source = cfg.mixture_or_task_name
  batches = clu_batches.CluBatches(source, shard, num_batches=eval_steps)
  return {cfg.split: batches}


def task_feature_lengths(stage: specs.StageSpec) -> dict[str, int]:
  """T5X's `TASK_FEATURE_LENGTHS` of a stage."""
  return stage.feature_lengths()


def target_name(stage: specs.StageSpec) -> str:
  """The feature that T5X expects to be called 'targets'."""
  return stage.target.name


def evaluation_task(
  stage: specs.StageSpec, dataset: str | datasets.Dataset
) -> str:
  """Registers `<dataset>_<stage>_eval` with its loss, and returns the name."""
  task = task_builder.build_task(dataset, stage, training=False)
  # Gin may have changed the stage since it was registered.
  if task.name in seqio.TaskRegistry.names():
    seqio.TaskRegistry.remove(task.name)
  seqio.TaskRegistry.add_provider(task.name, task.replace(metric_fns=[_loss]))
  return task.name


def _loss(targets: Sequence[Any], scores: Sequence[float]) -> dict[str, float]:
  """Nats per id, as `eval/loss` of `v2meow train`."""
  num_ids = sum(map(np.count_nonzero, targets))  # PAD_ID is not scored.
  return {'loss': float(-np.sum(scores) / num_ids)}


def write_facts(
  model_dir: str,
  summary_writer,
  step: int,
  *,
  model: stage_model.StageModel,
) -> None:
  """Keeps the gin text and what rebuilds the model, for `v2meow export`.

  Args:
    model_dir: Folder of the run.
    summary_writer: T5X's.
    step: Step that the run starts from.
    model: The `MODEL` of the stage file.

  Raises:
    ValueError: `v2meow train` has trained in this folder.
  """
  path = epath.Path(model_dir)
  if (path / _OURS).exists():
    raise ValueError(
      f'{model_dir} holds a run of `v2meow train`, which T5X cannot continue;'
      ' pass another --gin.MODEL_DIR.'
    )
  gin_utils.summarize_gin_config(model_dir, summary_writer, step)
  if jax.process_index() == 0:
    (path / checkpoints.DESCRIPTION_NAME).write_text(
      json.dumps(model.describe(), indent=1) + '\n', 'utf-8'
    )


def newest_checkpoint(model_dir: epath.PathLike) -> str:
  """The folder of a run's newest step, by whose number `t5x.eval` goes."""
  ours = ocp.path.step.standard_name_format()
  found = t5x_checkpoints.find(model_dir) or {
    m.step: m.path for m in ours.find_all(epath.Path(model_dir) / _OURS)
  }
  if not found:
    raise ValueError(f'{model_dir} holds no checkpoint of either trainer.')
  return str(found[max(found)])


class EitherTrainersWeights:
  """T5X's `checkpoint_manager_cls` for inference from any MODEL_DIR."""

  def __init__(self, *, train_state, partitioner, restore_dtype=None, **saving):
    """Keeps what is to be filled in; nothing will be saved."""
    del saving
    self._state = train_state
    self._partitioner = partitioner
    self._dtype = restore_dtype

  def restore(self, path: str, **changes):
    """T5X's state with the newest weights of a run.

    Args:
      path: MODEL_DIR of `v2meow train` or of `t5x.train`, or the folder of
        a step; of the former that must be the newest.
      **changes: Changes of names and shapes; T5X's own manager can make some.

    Raises:
      ValueError: The weights are another model's or another step's, or a
        change is asked for.
    """
    if asked := sorted(name for name, value in changes.items() if value):
      raise ValueError(f"{asked} need T5X's own checkpoint_manager_cls.")
    folder = epath.Path(path)
    is_our_step = folder.parent.name == _OURS
    variables, step = checkpoints.restore_variables(
      folder.parent.parent if is_our_step else folder
    )
    if is_our_step and folder.name != str(step):
      raise ValueError(f'{path} is not the newest good step; that is {step}.')
    params = variables['params']
    state = self._state.state_dict()
    if jax.tree.map(jnp.shape, state['target']) != jax.tree.map(
      np.shape, params
    ):
      raise ValueError(
        f'{path} holds the weights of another model; pass the stage file and'
        ' the overrides that it was trained with.'
      )
    axes = self._partitioner.get_mesh_axes(self._state).state_dict()['target']
    shardings = jax.tree.map(
      functools.partial(jax.sharding.NamedSharding, self._partitioner.mesh),
      axes,
    )
    params = jax.tree.map(lambda x: np.asarray(x, self._dtype), params)
    state['target'] = jax.device_put(params, shardings)
    state['state'] = {'step': np.int32(step)}
    return self._state.restore_state(state)
