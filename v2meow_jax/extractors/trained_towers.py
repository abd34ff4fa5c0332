"""Runs towers of text and music that were trained here, as a joint embedding."""

from collections.abc import Mapping
from collections.abc import Sequence
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.extractors import text_music
from v2meow_jax.extractors import tower_inputs
from v2meow_jax.extractors import vocabulary
from v2meow_jax.files import paths
from v2meow_jax.files import released
from v2meow_jax.files import tensors
from v2meow_jax.models import towers

MODEL = 'ContrastiveModel'
TENSORS = 'towers.safetensors'


class TrainedTowers:
  """A `text_music.TextMusicNetwork` of `models.towers.TextMusicTowers`.

  Text and music come to lie in two regions of the sphere; subtracting each
  centre brings them together, so that a stage trained on music understands text
  (Liang et al. 2022, https://arxiv.org/abs/2203.02053).

  Attributes:
    dim: Width of the joint space.
    sample_rate_hz: Sample rate of the waveforms, in Hz.
  """

  sample_rate_hz = tower_inputs.SAMPLE_RATE_HZ

  def __init__(
    self,
    config: towers.TowerSizes,
    params: Mapping[str, Any],
    centers: Mapping[str, np.ndarray],
    met: np.ndarray | None = None,
  ):
    """Puts the parameters on the device.

    Args:
      config: Sizes.
      params: Parameters of `towers.TextMusicTowers(config)`.
      centers: Centres of 'text' and 'music' to subtract, float32[dim].
      met: Vocabulary of the captions, by `vocabulary.of_texts`; None: not known.
    """
    self.dim = config.joint_dim
    self._text_length = len(params['text']['positions'])
    self._params = jax.device_put(params)
    self._centers = centers
    self._config = config
    self._met = met

  def knows(self, text: str) -> bool:
    """Whether a word of a text was met in training, or one much like it."""
    return vocabulary.knows(self._met, text)

  def embed_music(self, waveforms: np.ndarray) -> np.ndarray:
    """float32[b, 160000] -> float32[b, dim], unit rows."""
    spectra = np.stack([tower_inputs.log_mel(w) for w in waveforms])
    return self._centred('music', spectra)

  def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
    """b texts -> float32[b, dim], unit rows."""
    ids = [tower_inputs.text_ids(t, self._text_length) for t in texts]
    return self._centred('text', np.stack(ids))

  def _centred(self, kind: str, inputs: np.ndarray) -> np.ndarray:
    rows = embed(self._config, kind, self._params, inputs)
    return text_music.unit(np.asarray(rows) - self._centers[kind])


@functools.partial(jax.jit, static_argnums=(0, 1))
def embed(
  config: towers.TowerSizes, kind: str, params: Any, inputs: jax.Array
) -> jax.Array:
  """float32[b, dim] of the inputs of the tower of 'text' or of 'music'."""
  both = towers.TextMusicTowers(config)
  method = {'text': both.embed_text, 'music': both.embed_music}[kind]
  with jax.default_matmul_precision('float32'):
    return both.apply({'params': params}, jnp.asarray(inputs), method=method)


def read(
  stream: str,
  path: str | os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Weights of towers, and the settings that rebuild them.

  Args:
    stream: Name of the stream of style.
    path: Folder that `v2meow export --towers` wrote; with `config`, file of a
      released system.
    config: Sizes, as JSON data.

  Returns:
    {'params': ..., 'centers': ..., 'vocabulary': ...} and {'config': ...}; the
    first folders have no vocabulary.

  Raises:
    released.DamagedSystem: The folder is not whole, or not of towers.
  """
  folder = paths.path(path)
  if config is not None:
    return tensors.read(folder)[stream], {'config': dict(config)}
  described = released.read_config(folder)
  if described.get('model') != MODEL:
    raise released.DamagedSystem(
      f'{folder} holds no towers of text and music; give a folder that v2meow'
      ' export --towers wrote.'
    )
  weights = tensors.read(folder / TENSORS)
  return weights, {'config': described['config']}


def build(
  weights: Mapping[str, Any], *, config: Mapping[str, Any]
) -> TrainedTowers:
  """The network of what `read` gave."""
  return TrainedTowers(
    towers.TowerSizes(**config),
    weights['params'],
    weights['centers'],
    weights.get('vocabulary'),
  )
