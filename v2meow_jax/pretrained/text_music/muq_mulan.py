"""MuQ-MuLan as a joint embedding of text and music, run by PyTorch.

Zhu et al. 2025 (https://arxiv.org/abs/2501.01108): audio at 24 kHz in segments
of 10 s runs through MuQ (a Conformer on mel bands), text through XLM-RoBERTa,
and each through a Transformer to 512 numbers. The published layout is that
of https://github.com/tencent-ailab/MuQ, `muq/muq_mulan`. Weights: CC-BY-NC-4.0.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import os
import pathlib
import re
from typing import Any

import numpy as np

from v2meow_jax.pretrained import hub
from v2meow_jax.pretrained.audio import mel
from v2meow_jax.pretrained.text_music import segments

_FFT, _HOP, _DB_FLOOR = 2048, 240, 1e-10
_ATTENTION_SCALE = 8.0
_PREFIX = 'mulan.'
_ADVICE = (
  'download pytorch_model.bin and config.json of'
  ' https://huggingface.co/OpenMuQ/MuQ-MuLan-large into one folder and v2meow'
  ' weights import muq-mulan pytorch_model.bin'
)
# Only for training, or not used: losses, MuQ's targets and head, convolutional
# positions beside rotary ones, values that follow from the configuration.
_UNUSED = re.compile(
  r'contrast\.|audio\.aggregator\.'
  r'|audio\.model\.model\.(linear\.|cls_token$|quantizer_|rvq\.|recon_proj\.'
  r'|preprocessor_|conformer\.(pos_conv_embed|embed_positions)\.)'
  r'|text\.model\.(pooler\.|embeddings\.(position_ids|token_type_ids)$)'
  r'|.*\.num_batches_tracked$'
)


class MuQMuLan:
  """The towers of MuQ-MuLan.

  Texts run one by one: the published heads average over padding, so that in a
  batch a text's vector would depend on the longest one.

  Attributes:
    dim: Width of the joint space.
    sample_rate_hz: Sample rate of its waveforms, in Hz.
  """

  sample_rate_hz = 24_000

  def __init__(
    self,
    source: str | os.PathLike,
    *,
    muq: str | os.PathLike | None = None,
    text: str | os.PathLike | None = None,
  ):
    """Reads weights and configurations.

    Args:
      source: Folder of MuQ-MuLan with config.json and the weights, converted
        (`hub.CONVERTED`) or model.safetensors; or that file.
      muq: Folder or repository with the config.json of MuQ; None: the
        repository that `source` names.
      text: Folder or repository with config.json and tokenizer of XLM-RoBERTa;
        None: the one that `source` names.

    Raises:
      ImportError: PyTorch or transformers is missing.
      FileNotFoundError: A file is missing; says how to get it.
      ValueError: A file is damaged or of another network; names the tensor.
    """
    self._torch = hub.import_library('torch')
    transformers = hub.import_library('transformers')
    file = _find_weights(pathlib.Path(hub.folder_of(source)))
    config = _read_json(file.with_name('config.json'))
    try:
      sizes = config['mulan']
      inner = _read_json(
        hub.find_file(muq or config['audio_model']['name'], 'config.json')
      )
      text = text or config['text_model']['name']
      words = hub.load_files(transformers.XLMRobertaConfig, text)
      network = self._torch.nn.ModuleDict(
        {
          'audio': _audio_tower(self._torch, config, inner),
          'text': _text_tower(self._torch, config, words),
          **_latents(self._torch, config),
        }
      )
      stat = inner['stat']
      self._mean = float(stat['melspec_2048_mean'])
      self._std = float(stat['melspec_2048_std'])
    except (KeyError, TypeError) as e:
      raise ValueError(
        f'the config.json of {source}, or that of its MuQ, lacks {e}: {_ADVICE}.'
      ) from e
    if (sizes['sr'], sizes['clip_secs']) != (24_000, segments.SECONDS):
      raise ValueError(
        f'{source} takes {sizes["clip_secs"]} s at {sizes["sr"]} Hz; wanted 10'
        f' s at 24000 Hz: {_ADVICE}.'
      )
    _fill(network, file)
    self._network: Any = network.eval()
    self._tokenizer = hub.load_files(transformers.AutoTokenizer, text)
    # Positions of RoBERTa begin after the padding id.
    self._max_tokens = words.max_position_embeddings - words.pad_token_id - 1
    self._filters = self._torch.from_numpy(
      mel.mel_weights(self.sample_rate_hz, _FFT, inner['n_mels']).T.copy()
    )
    self.dim = sizes['dim_latent']

  def embed_music(self, waveforms: np.ndarray) -> np.ndarray:
    """float32[b, 240000] -> float32[b, dim], unit rows."""
    with self._torch.inference_mode():
      muq = self._network['audio']['model']['model']
      bands = self._log_mel(self._torch.from_numpy(waveforms))
      hidden = muq['conformer'](_subsampled(muq['conv'], bands))
      return self._head('audio', hidden.last_hidden_state)

  def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
    """b texts -> float32[b, dim], unit rows; long texts are cut."""
    with self._torch.inference_mode():
      return np.concatenate([self._embed_text(text) for text in texts])

  def _embed_text(self, text: str) -> np.ndarray:
    inputs = self._tokenizer(
      text, truncation=True, max_length=self._max_tokens, return_tensors='pt'
    )
    hidden = self._network['text']['model'](inputs['input_ids'])
    return self._head('text', hidden.last_hidden_state)

  def _log_mel(self, waveforms: Any) -> Any:
    """float32[b, samples] -> decibels [b, bands, samples // 240], scaled."""
    torch = self._torch
    window = torch.hann_window(_FFT)
    spectrum = torch.stft(
      waveforms, _FFT, _HOP, window=window, return_complex=True
    )
    bands = self._filters @ spectrum.abs() ** 2
    decibels = 10 * torch.log10(bands.clamp(min=_DB_FLOOR))[..., :-1]
    return (decibels - self._mean) / self._std

  def _head(self, kind: str, x: Any) -> np.ndarray:
    """[b, length, width] -> float32[b, dim]: Transformer, mean, projection."""
    tower = self._network[kind]
    if 'proj' in tower:
      x = tower['proj'](x)
    for attention, feed_forward in tower['transformer']['layers']:
      x = x + _attend(self._torch, attention, x)
      x = x + _feed_forward(self._torch, feed_forward, x)
    latents = self._network[f'{kind}_to_latents'](x.mean(-2))
    return self._torch.nn.functional.normalize(latents, dim=-1).numpy()


def _audio_tower(torch: Any, config: Mapping, inner: Mapping) -> Any:
  """MuQ and the layers after it, with modules named as published."""
  nn = torch.nn
  if inner['label_rate'] != 25:
    raise ValueError(
      f'its MuQ has {inner["label_rate"]} frames a second; wanted 25: {_ADVICE}.'
    )
  channels, width = inner['conv_dim'], inner['encoder_dim']

  def block(inputs):
    sizes = {'1': (inputs, 2), '2': (channels, 1), '3': (inputs, 2)}
    layers = {}
    for i, (wide, stride) in sizes.items():
      layers[f'conv{i}'] = nn.Conv2d(wide, channels, 3, stride, padding=1)
      layers[f'bn{i}'] = nn.BatchNorm2d(channels)
    return nn.ModuleDict(layers)

  conv = nn.ModuleDict(
    {
      'conv': nn.ModuleList([block(1), block(channels)]),
      'linear': nn.Linear(channels * inner['n_mels'] // 4, width),
    }
  )
  conformer = _conformer(torch, inner, config['audio_model']['use_layer_idx'])
  dim = config['audio_transformer']['dim']
  return nn.ModuleDict(
    {
      'model': nn.ModuleDict(
        {'model': nn.ModuleDict({'conv': conv, 'conformer': conformer})}
      ),
      'proj': nn.Linear(width, dim),
      'transformer': _transformer(torch, config['audio_transformer']),
    }
  )


def _conformer(torch: Any, inner: Mapping, layer: int) -> Any:
  """The layers of MuQ's Conformer before one of its hidden states."""
  transformers = hub.import_library('transformers')
  modeling = hub.import_library(
    'transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer'
  )
  depth = inner['encoder_depth']
  settings = {
    **inner['w2v2_config'],
    'num_hidden_layers': depth,
    'hidden_size': inner['encoder_dim'],
  }
  conformer = modeling.Wav2Vec2ConformerEncoder(
    transformers.Wav2Vec2ConformerConfig(**settings)
  )
  # Only the last of the depth + 1 states is normalised at the end.
  count = layer % (depth + 1)
  if count < depth:
    conformer.layers = conformer.layers[:count]
    conformer.layer_norm = torch.nn.Identity()
  return conformer


def _text_tower(torch: Any, config: Mapping, words: Any) -> Any:
  """XLM-RoBERTa and the layers after it, with modules named as published."""
  transformers = hub.import_library('transformers')
  width, dim = (
    config['text_model']['model_dim'],
    config['text_transformer']['dim'],
  )
  layers = {
    'model': transformers.XLMRobertaModel(words, add_pooling_layer=False),
    'transformer': _transformer(torch, config['text_transformer']),
  }
  if width not in (None, dim):
    layers['proj'] = torch.nn.Linear(width, dim)
  return torch.nn.ModuleDict(layers)


def _latents(torch: Any, config: Mapping) -> dict[str, Any]:
  """The projections to the joint space."""
  return {
    f'{kind}_to_latents': torch.nn.Linear(
      config[f'{kind}_transformer']['dim'], config['mulan']['dim_latent']
    )
    for kind in ('audio', 'text')
  }


def _transformer(torch: Any, sizes: Mapping) -> Any:
  """Layers of attention and a gated feed-forward, without biases."""
  nn = torch.nn
  dim, head_dim = sizes['dim'], sizes['dim_head']
  inner, wide = head_dim * sizes['heads'], int(dim * sizes['ff_mult'] * 2 / 3)

  def norm():
    return nn.ParameterDict({'learned_gamma': torch.ones(dim)})

  def layer():
    attention = nn.ModuleDict(
      {
        'norm': norm(),
        'to_q': nn.Linear(dim, inner, bias=False),
        'to_kv': nn.Linear(dim, 2 * inner, bias=False),
        'to_out': nn.ModuleList([nn.Linear(inner, dim, bias=False)]),
      }
    )
    for name in ('q_scale', 'k_scale'):
      attention.register_parameter(name, nn.Parameter(torch.ones(head_dim)))
    feed_forward = nn.ModuleDict(
      {
        '0': norm(),
        '1': nn.Linear(dim, 2 * wide, bias=False),
        '4': nn.Linear(wide, dim, bias=False),
      }
    )
    return nn.ModuleList([attention, feed_forward])

  layers = [layer() for _ in range(sizes['tf_depth'])]
  return nn.ModuleDict({'layers': nn.ModuleList(layers)})


def _normalised(torch: Any, norm: Any, x: Any) -> Any:
  gamma = norm['learned_gamma']
  return torch.nn.functional.layer_norm(x, gamma.shape, gamma)


def _attend(torch: Any, attention: Any, x: Any) -> Any:
  """Attention between unit queries and keys, each dimension with a scale."""
  functional = torch.nn.functional
  x = _normalised(torch, attention['norm'], x)
  parts = (attention['to_q'](x), *attention['to_kv'](x).chunk(2, -1))
  head_dim = len(attention.q_scale)
  query, key, value = (
    part.unflatten(-1, (-1, head_dim)).transpose(1, 2) for part in parts
  )
  y = functional.scaled_dot_product_attention(
    functional.normalize(query, dim=-1) * attention.q_scale,
    functional.normalize(key, dim=-1) * attention.k_scale,
    value,
    scale=_ATTENTION_SCALE,
  )
  return attention['to_out'][0](y.transpose(1, 2).flatten(2))


def _feed_forward(torch: Any, layers: Any, x: Any) -> Any:
  hidden, gate = layers['1'](_normalised(torch, layers['0'], x)).chunk(2, -1)
  return layers['4'](torch.nn.functional.gelu(gate) * hidden)


def _subsampled(conv: Any, bands: Any) -> Any:
  """[b, bands, frames] -> [b, ceil(frames / 4), width], by residual blocks."""
  x = bands[:, None]
  for block in conv['conv']:
    y = block['bn1'](block['conv1'](x)).relu()
    y = block['bn2'](block['conv2'](y))
    x = (block['bn3'](block['conv3'](x)) + y).relu()
  # [b, channels, bands, frames] -> [b, frames, channels * bands]
  return conv['linear'](x.permute(0, 3, 1, 2).flatten(2))


def _find_weights(folder: pathlib.Path) -> pathlib.Path:
  """The weights of a folder that has both them and their configuration."""
  for name in (hub.CONVERTED, 'model.safetensors'):
    file = folder / name
    if file.is_file() and file.with_name('config.json').is_file():
      return file
  raise FileNotFoundError(
    f'{folder} lacks config.json, or {hub.CONVERTED}, of MuQ-MuLan: {_ADVICE};'
    ' both then lie in the folder that it names.'
  )


def _read_json(file: pathlib.Path) -> dict[str, Any]:
  try:
    return json.loads(file.read_bytes())
  except ValueError as e:
    raise ValueError(f'{file} is damaged or no json: {e}; {_ADVICE}.') from e


def _fill(network: Any, file: pathlib.Path) -> None:
  """Puts a file's tensors into a network; ValueError names what is wrong."""
  found = {
    name.removeprefix(_PREFIX): tensor
    for name, tensor in hub.load_tensors(file).items()
    if not _UNUSED.match(name.removeprefix(_PREFIX))
  }
  wanted = {
    name: tensor
    for name, tensor in network.state_dict().items()
    if not _UNUSED.match(name)
  }
  # Layers after the one whose state is used.
  last = 'audio.model.model.conformer.'
  spare = re.compile(rf'{re.escape(last)}(layers\.\d+|layer_norm)\.')
  for name, tensor in wanted.items():
    given = found.get(name)
    got = 'no' if given is None else f'{given.dtype} {list(given.shape)} as'
    if (
      given is None
      or given.shape != tensor.shape
      or not given.is_floating_point()
    ):
      raise ValueError(
        f'{file} has {got} {_PREFIX + name!r}; wanted floats of shape'
        f' {list(tensor.shape)}: {_ADVICE}.'
      )
  strange = sorted(
    n for n in found.keys() - wanted.keys() if not spare.match(n)
  )
  if strange:
    raise ValueError(
      f'{file} has {_PREFIX + strange[0]!r}, which its config.json has not:'
      f' {_ADVICE}.'
    )
  state = {name: found[name].float() for name in wanted}
  network.load_state_dict(state, strict=False)
