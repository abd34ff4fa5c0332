"""MusicFM in torch: what the port is compared with, for equality and speed.

The names are those of https://github.com/minzwon/musicfm; PyTorch's own
`load_state_dict` confirms them on modules that are nested as there. The
Conformer is that of transformers, as in the published network.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import json
from typing import Any

import numpy as np
from safetensors import numpy as st

from tests.fakes import large_noise
from v2meow_jax.pretrained.audio import mel as mel_lib
from v2meow_jax.pretrained.audio import musicfm

STATISTICS = {'melspec_2048_mean': -20.5, 'melspec_2048_std': 18.25}


def musicfm_state(config: musicfm.MusicFMConfig) -> dict[str, np.ndarray]:
  """Random tensors by their published names, all of them."""
  rng, draw = np.random.default_rng(0), large_noise.Noise()
  tensors = {}

  def add(name, *shape, mean=0.0):
    # Deviation of a sum over the inputs about 1, so that no part is silent.
    deviation = np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3
    tensors[f'model.{name}'] = draw(shape, mean, deviation)

  def affine(name, outputs, *inputs):
    add(f'{name}.weight', outputs, *inputs)
    add(f'{name}.bias', outputs)

  def norm(name, dim):
    add(f'{name}.weight', dim, mean=1.0)
    add(f'{name}.bias', dim)

  def batch_norm(name, dim):
    norm(name, dim)
    add(f'{name}.running_mean', dim)
    variance = rng.uniform(0.5, 1.5, dim).astype(np.float32)
    tensors[f'model.{name}.running_var'] = variance
    # Published as a float.
    counter = np.array(95_489, np.float32)
    tensors[f'model.{name}.num_batches_tracked'] = counter

  mel = 'model.preprocessor_melspec_2048.mel_stft'
  phase = 2 * np.pi * np.arange(2048) / 2048
  hann = 0.5 - 0.5 * np.cos(phase)
  tensors[f'{mel}.spectrogram.window'] = hann.astype(np.float32)
  filters = mel_lib.mel_weights(24_000, 2048, config.num_bands)
  tensors[f'{mel}.mel_scale.fb'] = filters
  channels, sizes = config.conv_channels, config.conformer
  dim, mlp_dim = sizes.emb_dim, sizes.mlp_dim
  for i, inputs in enumerate((1, channels)):
    affine(f'conv.conv.{i}.conv1', channels, inputs, 3, 3)
    affine(f'conv.conv.{i}.conv2', channels, channels, 3, 3)
    affine(f'conv.conv.{i}.conv3', channels, inputs, 3, 3)
    for j in (1, 2, 3):
      batch_norm(f'conv.conv.{i}.bn{j}', channels)
  affine('conv.linear', dim, channels * config.num_bands // 4)
  for i in range(sizes.num_layers):
    layer = f'conformer.layers.{i}'
    for j in (1, 2):
      norm(f'{layer}.ffn{j}_layer_norm', dim)
      affine(f'{layer}.ffn{j}.intermediate_dense', mlp_dim, dim)
      affine(f'{layer}.ffn{j}.output_dense', dim, mlp_dim)
    norm(f'{layer}.self_attn_layer_norm', dim)
    for part in ('q', 'k', 'v', 'out'):
      affine(f'{layer}.self_attn.linear_{part}', dim, dim)
    norm(f'{layer}.conv_module.layer_norm', dim)
    add(f'{layer}.conv_module.pointwise_conv1.weight', 2 * dim, dim, 1)
    add(f'{layer}.conv_module.depthwise_conv.weight', dim, 1, sizes.kernel_size)
    batch_norm(f'{layer}.conv_module.batch_norm', dim)
    add(f'{layer}.conv_module.pointwise_conv2.weight', dim, dim, 1)
    norm(f'{layer}.final_layer_norm', dim)
  norm('conformer.layer_norm', dim)
  # What a semantic encoder does not use.
  exponents = np.arange(0, dim // sizes.num_heads, 2) / (dim // sizes.num_heads)
  frequencies = (1 / 10_000**exponents).astype(np.float32)
  tensors['model.conformer.embed_positions.inv_freq'] = frequencies
  add('conformer.pos_conv_embed.conv.bias', dim)
  add('conformer.pos_conv_embed.conv.weight_g', 1, 1, 8)
  add('conformer.pos_conv_embed.conv.weight_v', dim, dim // 2, 8)
  affine('linear', 32, dim)
  add('cls_token', dim)
  add('quantizer_melspec_2048_0.random_projection', 4 * config.num_bands, 16)
  add('quantizer_melspec_2048_0.codebook', 32, 16)
  return tensors


def prepared(
  tensors: Mapping[str, np.ndarray],
  config: musicfm.MusicFMConfig,
  device: str = 'cpu',
) -> Callable[[np.ndarray], list[np.ndarray]]:
  """The network of its weights.

  Args:
    tensors: From `musicfm_state`.
    config: Its sizes.
    device: Of torch.

  Returns:
    A function of float32[num_samples] that gives the hidden states before,
    between and after the layers, float32[frames, emb_dim] each.
  """
  import torch
  from torch import nn
  import transformers
  from transformers import initialization
  from transformers.models.wav2vec2_conformer import (
    modeling_wav2vec2_conformer as reference,
  )

  class Block(nn.Module):
    def __init__(self, inputs, outputs):
      super().__init__()
      self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
      self.bn1 = nn.BatchNorm2d(outputs)
      self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
      self.bn2 = nn.BatchNorm2d(outputs)
      self.conv3 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
      self.bn3 = nn.BatchNorm2d(outputs)

    def forward(self, x):
      y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
      return torch.relu(y + self.bn3(self.conv3(x)))

  sizes, channels = config.conformer, config.conv_channels
  settings = transformers.Wav2Vec2ConformerConfig(
    hidden_size=sizes.emb_dim,
    num_hidden_layers=sizes.num_layers,
    num_attention_heads=sizes.num_heads,
    intermediate_size=sizes.mlp_dim,
    conv_depthwise_kernel_size=sizes.kernel_size,
    hidden_act='swish',
    position_embeddings_type='rotary',
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
  )
  settings._attn_implementation = 'eager'
  network: Any = nn.Module()
  network.conv = nn.Module()
  with initialization.no_init_weights():
    network.conv.conv = nn.Sequential(
      Block(1, channels), Block(channels, channels)
    )
    network.conv.linear = nn.Linear(
      channels * config.num_bands // 4, sizes.emb_dim
    )
    network.conformer = reference.Wav2Vec2ConformerEncoder(settings)
  state = {}
  for name, x in tensors.items():
    name = name.removeprefix('model.')
    name = name.replace('weight_g', 'parametrizations.weight.original0')
    name = name.replace('weight_v', 'parametrizations.weight.original1')
    if name.startswith(('conv.', 'conformer.')):
      state[name] = torch.from_numpy(x)
  # Strict: the names and shapes of the test are the reference's, all of them.
  network.load_state_dict(state, strict=True, assign=True)
  network.eval().to(device)
  mel = 'model.preprocessor_melspec_2048.mel_stft'
  window = torch.from_numpy(tensors[f'{mel}.spectrogram.window']).to(device)
  filters = torch.from_numpy(tensors[f'{mel}.mel_scale.fb']).to(device)

  found = []
  for layer in network.conformer.layers:
    layer.register_forward_hook(lambda *args: found.append(args[-1]))

  def run(samples):
    found.clear()
    with torch.inference_mode():
      spectrum = torch.stft(
        torch.from_numpy(samples).to(device)[None],
        n_fft=2048,
        hop_length=240,
        window=window,
        center=True,
        pad_mode='reflect',
        return_complex=True,
      )
      bands = (spectrum.abs() ** 2).transpose(1, 2) @ filters
      decibels = 10 * torch.log10(torch.clamp(bands, min=1e-10))
      decibels = decibels.transpose(1, 2)[..., :-1]
      x = (decibels - STATISTICS['melspec_2048_mean']) / STATISTICS[
        'melspec_2048_std'
      ]
      x = network.conv.conv(x[:, None])
      x = network.conv.linear(x.permute(0, 3, 1, 2).flatten(2))
      first = x.clone()
      last = network.conformer(x).last_hidden_state
    return [y[0].cpu().numpy() for y in (first, *found[:-1], last)]

  return run


def write(folder, tensors, variant='fma', suffix='safetensors'):
  """Both files of a variant; the one with the weights."""
  folder.mkdir(exist_ok=True)
  (folder / f'{variant}_stats.json').write_text(json.dumps(STATISTICS))
  file = folder / f'pretrained_{variant}.{suffix}'
  if suffix == 'pt':
    import torch

    state = {k: torch.from_numpy(x) for k, x in tensors.items()}
    torch.save({'epoch': 3, 'state_dict': state}, file)
  else:
    st.save_file(tensors, file)
  return file
