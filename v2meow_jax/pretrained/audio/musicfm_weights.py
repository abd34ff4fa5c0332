"""Reads MusicFM's published weights.

https://huggingface.co/minzwon/MusicFM has pretrained_fma.pt and
pretrained_msd.pt, checkpoints of PyTorch Lightning, and beside each the
statistics of its spectrograms, fma_stats.json and msd_stats.json. `v2meow
weights` fetches both files and makes a .safetensors of the checkpoint.
"""

from collections.abc import Mapping
import json
import math
import os
import pathlib
import re
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.audio import conformer
from v2meow_jax.pretrained.audio import musicfm
from v2meow_jax.pretrained.audio import semantic_encoder

_VARIANTS = ('fma', 'msd')
_ADVICE = (
  'v2meow weights fetch musicfm-fma, or download pretrained_fma.pt (1.3 GB) and'
  ' fma_stats.json from https://huggingface.co/minzwon/MusicFM into one folder'
  ' and v2meow weights import musicfm-fma pretrained_fma.pt'
)
_WANTED = 'MusicFM, pretrained_fma or pretrained_msd'
_EPSILON = 1e-5  # In batch normalisation.

_MEL = 'model.preprocessor_melspec_2048.mel_stft.'
_PUBLISHED = {
  'window': f'{_MEL}spectrogram.window',
  'filters': f'{_MEL}mel_scale.fb',
}
# Convolutions that batch normalisation follows.
_NORMALISED = {
  'conv1': 'bn1',
  'conv2': 'bn2',
  'conv3': 'bn3',
  'depthwise_conv': 'batch_norm',
}
# Targets and head of training, fixed positions, and a convolution that rotary
# positions replace.
_UNUSED = re.compile(
  r'model\.(quantizer_|linear\.|cls_token$|conformer\.(pos_conv_embed|'
  r'embed_positions)\.|.*\.num_batches_tracked$)'
)
_LAYER = re.compile(r'model\.conformer\.layers\.(\d+)\.')


def load(
  path: str | os.PathLike,
  *,
  layer: int = 7,
  config: musicfm.MusicFMConfig = musicfm.PUBLISHED,
  stretches: semantic_encoder.Stretches = musicfm.STRETCHES,
) -> musicfm.MusicFMEncoder:
  """Loads MusicFM as a semantic encoder.

  Args:
    path: Weights and their statistics, see `read`.
    layer: Layer whose output is returned, 1 to 12; 0 is the input of the first.
      ours: 7, which MusicFM's README and MusicLM (for w2v-BERT) take.
    config: Sizes of the network.
    stretches: Stretches to cut long audio into.

  Returns:
    The encoder.

  Raises:
    FileNotFoundError, ValueError: See `read`; or there is no such layer.
  """
  num_layers = config.conformer.num_layers
  if not 0 <= layer <= num_layers:
    raise ValueError(f'layer is {layer}; MusicFM has 0 to {num_layers}.')
  network = musicfm.MusicFM(config, layer)
  return musicfm.MusicFMEncoder(
    network, read(path, network), stretches=stretches
  )


def read(path: str | os.PathLike, network: musicfm.MusicFM) -> dict[str, Any]:
  """Parameters of a `musicfm.MusicFM`.

  Args:
    path: File pretrained_fma.safetensors or pretrained_msd.safetensors,
      converted from the published file, or a folder with one of them; the
      statistics of the same name lie beside it.
    network: Network to fill; only the names of layers after its last one are
      checked.

  Returns:
    A nested dict of float32 arrays. Batch normalisation is folded into the
    convolutions.

  Raises:
    FileNotFoundError: A file is missing; says where to get it.
    ValueError: A file is damaged or of another network; names the tensor, what
      it is and what was wanted.
  """
  file = _find(pathlib.Path(path))
  wanted = _shapes(network)
  source = tensors.Tensors(tensors.load(file), _WANTED, 'musicfm-fma')
  params = {
    name: _parameter(source, name, shape)
    for name, shape in wanted.items()
    if name[-1] not in ('mean', 'std')
  }
  for key, shape in source.left().items():
    if not _may_be_left(key, network):
      raise ValueError(
        f'{file} has {key!r} of shape {shape}, which {network.config} has not;'
        f' wanted {_WANTED}: {_ADVICE}.'
      )
  mean, std = _read_statistics(file)
  params['mel', 'mean'] = np.float32(mean)
  params['mel', 'std'] = np.float32(std)
  return traverse_util.unflatten_dict(params)


def load_encoder(
  path: str | os.PathLike,
  *,
  layer: int = 7,
  config: Mapping[str, Any] | None = None,
) -> musicfm.MusicFMEncoder:
  """Loads an encoder from JSON settings; `config` holds other sizes."""
  sizes = musicfm.PUBLISHED
  if config:
    inner = conformer.ConformerConfig(**config['conformer'])
    sizes = musicfm.MusicFMConfig(**{**config, 'conformer': inner})
  return load(path, layer=layer, config=sizes)


def _may_be_left(name: str, network: musicfm.MusicFM) -> bool:
  config = network.config.conformer
  layer = _LAYER.match(name)
  if layer and network.layer <= int(layer[1]) < config.num_layers:
    return True
  if name.startswith('model.conformer.layer_norm.'):
    return network.layer < config.num_layers
  return bool(_UNUSED.match(name))


def _find(path: pathlib.Path) -> pathlib.Path:
  """The file of weights itself, or the one in a folder."""
  if path.is_dir():
    names = [path / f'pretrained_{v}.safetensors' for v in _VARIANTS]
  else:
    names = [path]
  files = [file for file in names if file.is_file()]
  if not files:
    tried = ' nor '.join(str(name) for name in names)
    raise FileNotFoundError(f'no MusicFM: there is no {tried}; {_ADVICE}.')
  if len(files) > 1:
    raise ValueError(
      f'{path} holds {files[0].name} and {files[1].name}; name one.'
    )
  if files[0].suffix != '.safetensors':
    raise ValueError(
      f'{files[0]} is a {files[0].suffix} file, and wanted is a .safetensors:'
      ' v2meow weights import musicfm-fma FILE converts what was published.'
    )
  return files[0]


def _read_statistics(file: pathlib.Path) -> tuple[float, float]:
  """Mean and deviation of the mel bands, in decibels."""
  name = f'{file.stem.removeprefix("pretrained_")}_stats.json'
  statistics = file.with_name(name)
  if not statistics.is_file():
    raise FileNotFoundError(f'there is no {statistics}; {_ADVICE}.')
  try:
    values = json.loads(statistics.read_bytes())
    mean, std = (float(values[f'melspec_2048_{x}']) for x in ('mean', 'std'))
  except (ValueError, KeyError, TypeError) as e:
    raise ValueError(
      f'{statistics} has no numbers melspec_2048_mean and melspec_2048_std'
      f' ({e!r}); {_ADVICE}.'
    ) from e
  if not (math.isfinite(mean) and 0 < std < math.inf):
    raise ValueError(
      f'{statistics} has melspec_2048_mean {mean} and melspec_2048_std {std};'
      ' wanted finite numbers, the second above 0.'
    )
  return mean, std


def _shapes(
  network: musicfm.MusicFM,
) -> dict[tuple[str, ...], tuple[int, ...]]:
  """Shape of every parameter by its path."""
  samples = jnp.zeros((1, musicfm.WINDOW_SAMPLES))
  variables = jax.eval_shape(network.init, jax.random.key(0), samples)
  flat = traverse_util.flatten_dict(variables['params'])
  return {name: leaf.shape for name, leaf in flat.items()}


def published_key(path: tuple[str, ...]) -> str:
  """Published name of a parameter.

  >>> published_key(('conformer', 'layers_3', 'ffn1', 'output_dense', 'kernel'))
  'model.conformer.layers.3.ffn1.output_dense.weight'
  """
  *modules, leaf = path
  if leaf in _PUBLISHED:
    return _PUBLISHED[leaf]
  names = [re.sub(r'^(layers|conv)_(\d+)$', r'\1.\2', name) for name in modules]
  leaf = 'weight' if leaf in ('kernel', 'scale') else leaf
  return '.'.join(['model', *names, leaf])


def _parameter(
  source: tensors.Tensors, path: tuple[str, ...], shape: tuple[int, ...]
) -> np.ndarray:
  """One of our parameters from one or several published tensors."""
  *parents, module, leaf = path
  key = published_key(path)
  kernel = leaf == 'kernel'
  if module not in _NORMALISED:
    tensor = source.take(key, *(shape[::-1] if kernel else shape))
    return np.ascontiguousarray(tensor.T if kernel else tensor)
  norm = published_key((*parents, _NORMALISED[module], ''))
  outputs = shape[-1]
  scale, offset, mean, variance = (
    source.take(norm + name, outputs)
    for name in ('weight', 'bias', 'running_mean', 'running_var')
  )
  gain = scale / np.sqrt(variance + _EPSILON)
  if kernel:
    # Axes in reverse: PyTorch has [out, in, bands, frames] or [out, in,
    # frames].
    return np.ascontiguousarray(source.take(key, *shape[::-1]).T * gain)
  # A convolution over frames alone has no bias of its own.
  if module != 'depthwise_conv':
    mean = mean - source.take(key, outputs)
  return offset - mean * gain
