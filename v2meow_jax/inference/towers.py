"""Trained towers of text and music, frozen in a folder, as a joint embedding.

>>> from v2meow_jax import stages
>>> from v2meow_jax.extractors import text_music
>>> from v2meow_jax.inference import towers
>>> network = towers.load('my_towers')  # doctest: +SKIP
>>> text_music.extractors(stages.PAPER['style'], network)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import os
import pathlib
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.extractors import text_music
from v2meow_jax.extractors import tower_inputs
from v2meow_jax.files import released
from v2meow_jax.models import contrastive
from v2meow_jax.training.checkpoints import checkpoints

_KIND = 'ContrastiveModel'
_TENSORS = 'towers.safetensors'
_KINDS = ('text', 'music')
# Of a config: how it was trained. See `restore`.
_TRAINING_ONLY = ('dtype', 'remat', 'fused_attention')


class TrainedTowers:
  """A `text_music.Network` of `models.contrastive.Towers`.

  Text and music come to lie in two places of the sphere; less each one's
  centre they lie in one, so that a stage that was trained on music understands
  text (Liang et al. 2022, https://arxiv.org/abs/2203.02053).

  Attributes:
    dim: Of the joint space.
    sample_rate_hz: Of the waveforms that it hears.
  """

  sample_rate_hz = tower_inputs.SAMPLE_RATE_HZ

  def __init__(
    self,
    config: contrastive.TowerConfig,
    params: Mapping[str, Any],
    centers: Mapping[str, np.ndarray],
  ):
    """Puts the parameters on the device.

    Args:
      config: Sizes.
      params: Of `contrastive.Towers(config)`.
      centers: float32[dim] of 'text' and 'music', to be subtracted.
    """
    self.dim = config.joint_dim
    self._text_length = len(params['text']['positions'])
    self._params = jax.device_put(params)
    self._centers = centers
    self._config = config

  def embed_music(self, waveforms: np.ndarray) -> np.ndarray:
    """float32[b, 160000] -> float32[b, dim], unit rows."""
    spectra = np.stack([tower_inputs.log_mel(w) for w in waveforms])
    return self._centred('music', spectra)

  def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
    """b texts -> float32[b, dim], unit rows."""
    ids = [tower_inputs.text_ids(t, self._text_length) for t in texts]
    return self._centred('text', np.stack(ids))

  def _centred(self, kind: str, inputs: np.ndarray) -> np.ndarray:
    rows = _embed(self._config, kind, self._params, inputs)
    return text_music.unit(np.asarray(rows) - self._centers[kind])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embed(
  config: contrastive.TowerConfig, kind: str, params: Any, inputs: jax.Array
) -> jax.Array:
  towers = contrastive.Towers(config)
  method = {'text': towers.embed_text, 'music': towers.embed_music}[kind]
  with jax.default_matmul_precision('float32'):
    return towers.apply({'params': params}, jnp.asarray(inputs), method=method)


def export(
  model_dir: epath.PathLike,
  out: str | os.PathLike,
  batches: Iterable[Mapping[str, np.ndarray]],
) -> pathlib.Path:
  """Freezes a run's towers with the centres of what they were trained on.

  Args:
    model_dir: Of the run.
    out: Folder; made when missing.
    batches: Some batches of its training data, of hundreds of clips in all.

  Returns:
    The folder.

  Raises:
    ValueError: The run trained something else, or there are no batches.
  """
  description = checkpoints.read_description(model_dir)
  if description.get('model') != _KIND:
    raise ValueError(
      f'{model_dir} holds a {description.get("model")}; wanted the MODEL_DIR of'
      ' a run of contrastive.gin.'
    )
  sizes = {
    k: v for k, v in description['config'].items() if k not in _TRAINING_ONLY
  }
  config = contrastive.TowerConfig(**sizes)
  variables, step = checkpoints.restore_variables(model_dir)
  params = variables['params']
  sums = dict.fromkeys(_KINDS, np.zeros(config.joint_dim))
  count = 0
  for batch in batches:
    inputs = {'text': batch['text_ids'], 'music': batch['log_mel']}
    for kind in _KINDS:
      rows = _embed(config, kind, params, inputs[kind])
      sums[kind] = sums[kind] + np.asarray(rows).sum(0)
    count += len(batch['text_ids'])
  if not count:
    raise ValueError(
      'there are no batches to find the centres of text and music with; give'
      ' some of the training data.'
    )
  centers = {k: (s / count).astype(np.float32) for k, s in sums.items()}
  folder = pathlib.Path(out)
  folder.mkdir(parents=True, exist_ok=True)
  tree = {'params': params, 'centers': centers}
  released.write_tensors(folder / _TENSORS, tree, None)
  released.write_config(
    folder, {'model': _KIND, 'config': sizes, 'trained_steps': step}
  )
  return folder


def load(folder: str | os.PathLike) -> TrainedTowers:
  """What `export` wrote; released.DamagedSystem when it is not whole."""
  path = pathlib.Path(folder)
  config = released.read_config(path)
  if config.get('model') != _KIND:
    raise released.DamagedSystem(
      f'{path} holds no towers of text and music; give a folder that'
      ' towers.export wrote.'
    )
  tensors = released.read_tensors(path / _TENSORS)
  return TrainedTowers(
    contrastive.TowerConfig(**config['config']),
    tensors['params'],
    tensors['centers'],
  )
