"""Lists the experiments that recipes describe, with sizes and costs."""

from collections.abc import Sequence
import dataclasses
import pathlib
import re
import shlex

import jax

from v2meow_jax import gin_config
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import stage_model
from v2meow_jax.training import train_state
from v2meow_jax.training.monitoring import flops

_RUN = 'runs/train.gin'
_MODEL = re.compile(r'^MODEL\s*=\s*@([\w./]+)', re.M)
# Folders of recipes of stages; other recipes lie there too.
_FOLDERS = ('stages', 'systems')
HEADER = (
  'parameters  encoder  decoder  predicts  GFLOP/example  command\n'
  '         M     positions of one crop     of training'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
  """A recipe of a stage, built without allocating it.

  Attributes:
    command: Command that trains it.
    layout: Name of the batches that the network reads.
    inputs: Streams that it reads.
    target: Stream that it writes.
    crop_seconds: Length of one example, in seconds.
    num_parameters: Number of parameters of the network.
    encoder_tokens: Positions of the encoder in one example; 0 without one.
    decoder_tokens: Positions of the decoder, a prompt included.
    target_tokens: Ids that it learns to predict.
    train_flops: FLOPs of one example in a training step, see `training.flops`.
  """

  command: str
  layout: str
  inputs: tuple[str, ...]
  target: str
  crop_seconds: float
  num_parameters: int
  encoder_tokens: int
  decoder_tokens: int
  target_tokens: int
  train_flops: int

  @property
  def row(self) -> str:
    """One line below `HEADER`."""
    return (
      f'{self.num_parameters / 1e6:10.1f}  {self.encoder_tokens:7,}'
      f'  {self.decoder_tokens:7,}  {self.target_tokens:8,}'
      f'  {self.train_flops / 1e9:13,.0f}  {self.command}'
    )


def recipes(search_paths: Sequence[str] = ('gin',)) -> list[str]:
  """Finds the recipes of stages and systems that name a model.

  Args:
    search_paths: Folders that hold recipes.

  Returns:
    Names below a search path, the stages before their ablations and before
    other systems.

  Raises:
    gin_config.ConfigError: There are none.
  """
  names = {
    str(path.relative_to(folder))
    for folder in search_paths
    for part in _FOLDERS
    for path in pathlib.Path(folder).glob(f'{part}/**/*.gin')
    if (_model(path, search_paths) or '').endswith('StageModel')
  }
  if not names:
    raise gin_config.ConfigError(
      f'no recipe of a stage lies in {list(search_paths)}; run from the'
      ' repository root, or pass --gin_search_paths.'
    )
  return sorted(
    names,
    key=lambda name: (name.startswith('systems'), name.count('/'), name),
  )


def _model(path: pathlib.Path, search_paths: Sequence[str]) -> str | None:
  """What a recipe binds as MODEL, itself or by its last include that does."""
  if own := _MODEL.findall(path.read_text('utf-8')):
    return own[-1]
  parts = reversed(list(gin_config.included(path, search_paths)))
  models = (_model(part, search_paths) for part in parts)
  return next((model for model in models if model), None)


def build(
  recipe: str,
  overrides: Sequence[str] = (),
  bindings: Sequence[str] = (),
  search_paths: Sequence[str] = ('gin',),
) -> Experiment:
  """Builds one experiment with `jax.eval_shape`.

  Args:
    recipe: Recipe from `recipes()`.
    overrides: Recipes to read after it, such as 'models/small.gin'.
    bindings: Bindings to read last, such as 'NUM_LAYERS = 2'.
    search_paths: Folders that hold recipes.

  Returns:
    The experiment.

  Raises:
    gin_config.ConfigError: A recipe does not parse.
    ValueError: It does not describe a stage.
  """
  model = load_model((_RUN, recipe, *overrides), bindings, search_paths)
  shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_batch(1))
  files = [f'--gin_file={name}' for name in (_RUN, recipe, *overrides)]
  flags = [f'--gin.{binding}' for binding in bindings]
  return Experiment(
    command=shlex.join(['v2meow', 'train', *files, *flags]),
    layout=model.layout,
    inputs=tuple(s.name for s in model.spec.inputs),
    target=model.spec.target.name,
    crop_seconds=model.spec.crop_seconds,
    num_parameters=train_state.num_parameters(shapes['params']),
    encoder_tokens=model.encoder_length,
    decoder_tokens=batch_layouts.decoder_positions(model.layout, model.spec),
    target_tokens=model.target_length,
    train_flops=flops.train_flops(model, model.example_batch(1)),
  )


def load_model(
  files: Sequence[str], bindings: Sequence[str], search_paths: Sequence[str]
) -> stage_model.StageModel:
  """Builds the MODEL of a command line; ValueError unless it is a stage."""
  gin_config.parse(files, bindings, search_paths)
  import gin  # pylint: disable=g-import-not-at-top

  model = gin.get_configurable('MODEL/macro')()
  if not isinstance(model, stage_model.StageModel):
    raise ValueError(
      f'{" ".join(files)} trains a {type(model).__name__}, which is no stage;'
      ' name one of stages/*.gin or systems/*/*.gin.'
    )
  return model
