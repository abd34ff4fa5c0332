"""Freezes trained towers of text and music into a folder."""

from collections.abc import Iterable
from collections.abc import Mapping
import os
import pathlib

from etils import epath
import numpy as np

from v2meow_jax.extractors import tower_inputs
from v2meow_jax.extractors import trained_towers
from v2meow_jax.extractors import vocabulary
from v2meow_jax.files import paths
from v2meow_jax.files import released
from v2meow_jax.files import tensors
from v2meow_jax.models import towers
from v2meow_jax.training.checkpoints import checkpoints

_KINDS = ('text', 'music')
# Of a config: how it was trained. See `restore`.
_TRAINING_ONLY = ('dtype', 'remat', 'fused_attention')


def export(
  model_dir: epath.PathLike,
  out: str | os.PathLike,
  batches: Iterable[Mapping[str, np.ndarray]],
) -> pathlib.Path:
  """Freezes a run's towers with the centres of what they were trained on.

  `batches` are some of its training data, of hundreds of clips in all.

  Raises:
    ValueError: The run trained something else, or there are no batches.
  """
  description = checkpoints.read_description(model_dir)
  if description.get('model') != trained_towers.MODEL:
    raise ValueError(
      f'{model_dir} holds a {description.get("model")}; wanted the MODEL_DIR of'
      ' a run of contrastive.gin.'
    )
  sizes = {
    k: v for k, v in description['config'].items() if k not in _TRAINING_ONLY
  }
  config = towers.TowerSizes(**sizes)
  variables, step = checkpoints.restore_variables(model_dir)
  params = variables['params']
  sums = dict.fromkeys(_KINDS, np.zeros(config.joint_dim))
  count, captions = 0, set()
  for batch in batches:
    inputs = {'text': batch['text_ids'], 'music': batch['log_mel']}
    for kind in _KINDS:
      rows = trained_towers.embed(config, kind, params, inputs[kind])
      sums[kind] = sums[kind] + np.asarray(rows).sum(0)
    count += len(batch['text_ids'])
    captions |= {*map(tower_inputs.text, batch['text_ids'])}
  if not count:
    raise ValueError(
      'there are no batches to find the centres of text and music with; give'
      ' some of the training data.'
    )
  centers = {k: (s / count).astype(np.float32) for k, s in sums.items()}
  folder = paths.path(out)
  folder.mkdir(parents=True, exist_ok=True)
  tree = {
    'params': params,
    'centers': centers,
    'vocabulary': vocabulary.of_texts(captions),
  }
  tensors.write(folder / trained_towers.TENSORS, tree, None)
  released.write_config(
    folder,
    {'model': trained_towers.MODEL, 'config': sizes, 'trained_steps': step},
  )
  return folder
