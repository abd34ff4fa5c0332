"""Codecs that were trained here, from a run or from a released file.

Each also serves as an autoencoder, without its quantiser; variational ones and
those of sines and noise are nothing else.
"""

from collections.abc import Mapping
import functools
import pathlib
from typing import Any

from etils import epath

from v2meow_jax.codecs.sines import sines as sines_lib
from v2meow_jax.codecs.soundstream import soundstream as soundstream_lib
from v2meow_jax.codecs.vae import vae as vae_lib
from v2meow_jax.files import paths
from v2meow_jax.files import released
from v2meow_jax.files import tensors

# Kind of part -> the ends of its `CodecConfig`.
_ENDS = {
  'soundstream': 'seanet',
  'embedded_codec': 'patch',
  'soundstream_latents': 'seanet',
  'embedded_latents': 'patch',
}
_AUTOENCODER = 'AutoencoderModel'
_MODELS = ('CodecModel', _AUTOENCODER)


def kind(model_dir: epath.PathLike) -> str:
  """The kind of part that a codec's run trained; ValueError for other runs."""
  model, config = _description(model_dir)
  if model == _AUTOENCODER:
    is_sines = config['kind'] == sines_lib.KIND
    return 'sines_latents' if is_sines else 'vae_latents'
  return next(name for name, ends in _ENDS.items() if ends == config['kind'])


def read(
  stream: str, path: epath.PathLike, *, config: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Weights of a codec, and the settings that rebuild it.

  Args:
    stream: Name of the stream of codes.
    path: MODEL_DIR of a run, or folder of a released system; with `config`,
      file of a released system.
    config: Sizes, as `to_dict` of the config gives them.

  Returns:
    {'params': ..., 'codebooks': ...} of `SoundStream`, or {'params': ...} of an
    autoencoder, and {'config': ...}.

  Raises:
    ValueError: The run trained something else.
  """
  del stream
  if config is not None:
    return tensors.read(path), {'config': dict(config)}
  from v2meow_jax.training.checkpoints import checkpoints  # pylint: disable=g-import-not-at-top

  folder = paths.path(path)
  if (folder / released.CONFIG_NAME).exists():
    return _of_system(folder)
  model, config = _description(path)
  variables, _ = checkpoints.restore_variables(path)
  if model == _AUTOENCODER:
    return {'params': variables['params']['generator']}, {'config': config}
  # Averages that only training needs stay behind.
  vectors = variables['codebooks']['quantizer']['state']['vectors']
  weights = {
    'params': variables['params']['generator'],
    'codebooks': {'quantizer': {'state': {'vectors': vectors}}},
  }
  return weights, {'config': config}


def _of_system(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
  """As `read`, of the codec that a system plays."""
  content = released.read_config(folder)
  rows = [r for r in content.get('networks', ()) if r['kind'] in _ENDS]
  if not rows:
    raise ValueError(
      f'{folder} is a system whose codec was not trained here; name the run of'
      ' a codec.'
    )
  config = rows[0]['settings']['config']
  return tensors.read(folder / rows[0]['weights']), {'config': config}


def _build(
  name: str, weights: Mapping[str, Any], *, config: Mapping[str, Any]
) -> soundstream_lib.TrainedCodec:
  if config.get('kind') != _ENDS[name]:
    raise ValueError(
      f'a part of kind {name!r} has ends of kind {_ENDS[name]!r}, and these'
      f' weights are of {config.get("kind")!r}; the kinds of part are {_ENDS}.'
    )
  sizes = soundstream_lib.CodecConfig.from_dict(config)
  if name.endswith('_latents'):
    return soundstream_lib.TrainedLatents(sizes, weights)
  return soundstream_lib.TrainedCodec(sizes, weights)


soundstream = functools.partial(_build, 'soundstream')
embedded_codec = functools.partial(_build, 'embedded_codec')
soundstream_latents = functools.partial(_build, 'soundstream_latents')
embedded_latents = functools.partial(_build, 'embedded_latents')


def vae_latents(
  weights: Mapping[str, Any], *, config: Mapping[str, Any]
) -> soundstream_lib.TrainedLatents:
  """Builds a variational autoencoder from what `read` returns."""
  return soundstream_lib.TrainedLatents(
    vae_lib.VaeConfig.from_dict(config), weights
  )


def sines_latents(
  weights: Mapping[str, Any], *, config: Mapping[str, Any]
) -> soundstream_lib.TrainedLatents:
  """Builds an autoencoder of sines and noise from what `read` returns."""
  return soundstream_lib.TrainedLatents(
    sines_lib.SinesConfig.from_dict(config), weights
  )


def _description(model_dir: epath.PathLike) -> tuple[str, dict[str, Any]]:
  """Model of a codec's run, and its sizes."""
  from v2meow_jax.training.checkpoints import checkpoints  # pylint: disable=g-import-not-at-top

  description = checkpoints.read_description(model_dir)
  model = description.get('model')
  if model not in _MODELS:
    raise ValueError(
      f'{model_dir} holds a {model}; wanted the MODEL_DIR of a codec.'
    )
  return model, dict(description['config'])
