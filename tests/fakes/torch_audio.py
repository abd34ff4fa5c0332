"""VGGish and CNN14 of PANNs in torch, as their publishers have them.

What the ports are compared with: for equality in `tests/pretrained`, for speed
in `benchmarks.extractors`; `torch_runner.prepared` runs them.
"""

from __future__ import annotations

import numpy as np

from tests.fakes import large_noise
from v2meow_jax.evaluation.metrics import numba_cache

# Of the convolutions among the modules, ReLU and pooling counted.
VGGISH_PLACES = (0, 3, 6, 8, 11, 13)


def vggish_state(config, seed=0) -> dict[str, np.ndarray]:
  """Of https://github.com/harritaylor/torchvggish."""
  draw = large_noise.Noise(seed)
  state = {}

  def layer(name, shape):
    fan_in = np.prod(shape[1:])
    state[f'{name}.weight'] = draw(shape, 0, (2 / fan_in) ** 0.5)
    state[f'{name}.bias'] = draw(shape[:1], 0, 0.1)

  flat = [c for group in config.channels for c in group]
  for place, inputs, outputs in zip(
    VGGISH_PLACES, [1, *flat], flat, strict=False
  ):
    layer(f'features.{place}', (outputs, inputs, 3, 3))
  sizes = [6 * 4 * flat[-1], *config.hidden, config.dim]
  for i, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False)):
    layer(f'embeddings.{2 * i}', (outputs, inputs))
  return state


def vggish_whitening(dim, seed=5) -> dict[str, np.ndarray]:
  """What the release applies after the network, and its means."""
  rng = np.random.default_rng(seed)
  return {
    'pca_eigen_vectors': rng.normal(size=(dim, dim)).astype(np.float32),
    'pca_means': rng.normal(size=dim).astype(np.float32),
  }


def vggish(t, config, x):
  """float[b, 96, 64] -> float[b, dim], before the last ReLU."""
  del config  # The tensors say it.
  from torch.nn import functional

  x = x[:, None]
  for place in VGGISH_PLACES:
    kernel, bias = t[f'features.{place}.weight'], t[f'features.{place}.bias']
    x = functional.relu(functional.conv2d(x, kernel, bias, padding=1))
    if place not in (6, 11):
      x = functional.max_pool2d(x, 2)
  x = x.permute(0, 2, 3, 1).flatten(1)
  for i in (0, 2, 4):
    x = functional.linear(
      x, t[f'embeddings.{i}.weight'], t[f'embeddings.{i}.bias']
    )
    x = functional.relu(x) if i < 4 else x
  return x


def panns_mel_weights() -> np.ndarray:
  """As torchlibrosa puts them into a state: float32[257, 64]."""
  librosa = numba_cache.librosa()

  filters = librosa.filters.mel(
    sr=16_000, n_fft=512, n_mels=64, fmin=50, fmax=8000
  )
  return np.ascontiguousarray(filters.T, np.float32)


def panns_state(config, seed=0) -> dict[str, np.ndarray]:
  """Of https://github.com/qiuqiangkong/audioset_tagging_cnn."""
  rng, draw = np.random.default_rng(seed), large_noise.Noise(seed)
  state = {}

  def normalisation(name, size):
    state[f'{name}.weight'] = rng.uniform(0.7, 1.3, size)
    state[f'{name}.bias'] = rng.normal(0, 0.2, size)
    state[f'{name}.running_mean'] = rng.normal(0, 0.2, size)
    state[f'{name}.running_var'] = rng.uniform(0.5, 1.5, size)
    state[f'{name}.num_batches_tracked'] = np.array(3)

  normalisation('bn0', 64)
  # Bands are in dB: about -25 of this noise.
  state['bn0.running_mean'] -= 25
  state['bn0.running_var'] *= 40
  inputs = 1
  for i, outputs in enumerate(config.channels, 1):
    for j in (1, 2):
      scale = (2 / (9 * inputs)) ** 0.5
      kernel = draw((outputs, inputs, 3, 3), 0, scale)
      state[f'conv_block{i}.conv{j}.weight'] = kernel
      normalisation(f'conv_block{i}.bn{j}', outputs)
      inputs = outputs
  for name, outputs in (('fc1', inputs), ('fc_audioset', config.num_classes)):
    state[f'{name}.weight'] = draw((outputs, inputs), 0, inputs**-0.5)
    state[f'{name}.bias'] = rng.normal(0, 0.1, outputs)
  state = {k: np.asarray(v, np.float32) for k, v in state.items()}
  state['logmel_extractor.melW'] = panns_mel_weights()
  return state


def panns_bands(t, samples):
  """float[samples] at 16 kHz -> float[frames, 64], in dB."""
  import torch

  spectrum = torch.stft(
    samples,
    512,
    160,
    window=torch.hann_window(512, device=samples.device),
    center=True,
    pad_mode='reflect',
    return_complex=True,
  )
  mel = (spectrum.abs() ** 2).T @ t['logmel_extractor.melW']
  return 10 * torch.log10(mel.clamp(min=1e-10))


def panns(t, config, x):
  """float[b, frames, 64] -> float[b, channels + classes], embedding first."""
  import torch
  from torch.nn import functional

  def normalised(x, name):
    parts = ('running_mean', 'running_var', 'weight', 'bias')
    return functional.batch_norm(x, *(t[f'{name}.{p}'] for p in parts))

  def dense(x, name):
    return functional.linear(x, t[f'{name}.weight'], t[f'{name}.bias'])

  x = normalised(x[:, None].transpose(1, 3), 'bn0').transpose(1, 3)
  for i in range(1, len(config.channels) + 1):
    for j in (1, 2):
      x = functional.conv2d(x, t[f'conv_block{i}.conv{j}.weight'], padding=1)
      x = functional.relu(normalised(x, f'conv_block{i}.bn{j}'))
    if i < len(config.channels):
      x = functional.avg_pool2d(x, 2)
  x = x.mean(3)
  embedding = dense(x.max(2).values + x.mean(2), 'fc1').relu()
  return torch.cat([embedding, dense(embedding, 'fc_audioset')], -1)
