"""CNN14 of PANNs (Kong et al. 2020, https://arxiv.org/abs/1912.10211) at 16 kHz.

audioldm_eval, and so probably MuVi, uses it for KL, IS and FD. These figures
are fragile: resampling alone can move FD by 30 and KL by 0.4 (README of
https://github.com/haoheliu/audioldm_eval).
"""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
from typing import Any

from flax import linen as nn
import jax
from jaxtyping import Float
import numpy as np
import scipy.special

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.pretrained import network
from v2meow_jax.pretrained import tensors

SAMPLE_RATE_HZ = 16_000
NUM_BANDS = 64
_FFT_SAMPLES = 512
_NUM_BINS = _FFT_SAMPLES // 2 + 1
_HOP_SAMPLES = 160
_FLOOR = 1e-10
_WINDOW_SAMPLES = 10 * SAMPLE_RATE_HZ  # As in its training.
_EPSILON = 1e-5  # In batch normalisation.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cnn14Config:
  """Sizes; the defaults are the published network's.

  Attributes:
    channels: Channels of the blocks; the last is also the width of the
      embedding.
    num_classes: Number of AudioSet classes.
  """

  channels: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
  num_classes: int = 527


PUBLISHED = Cnn14Config()


class Cnn14(nn.Module):
  """Maps log-mel bands to an embedding and a logit for each class.

  Attributes:
    config: Sizes.
  """

  config: Cnn14Config

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """float32[b, frames, 64] -> float32[b, channels], float32[b, classes].

    Batch normalisation is folded into the convolutions when weights are read,
    but for that of the bands, `scale` and `offset`, because of the padding.
    """
    scale = self.param('scale', nn.initializers.ones, (NUM_BANDS,))
    offset = self.param('offset', nn.initializers.zeros, (NUM_BANDS,))
    x = (x * scale + offset)[..., None]
    for i, channels in enumerate(self.config.channels, 1):
      if i > 1:
        x = nn.avg_pool(x, (2, 2), (2, 2))
      for j in (1, 2):
        x = nn.relu(nn.Conv(channels, (3, 3), name=f'block{i}_conv{j}')(x))
    x = x.mean(2)
    x = x.max(1) + x.mean(1)
    embedding = nn.relu(nn.Dense(self.config.channels[-1], name='fc1')(x))
    return embedding, nn.Dense(self.config.num_classes, name='classes')(
      embedding
    )


@functools.partial(jax.jit, static_argnums=0)
def apply(
  config: Cnn14Config, params: Mapping[str, Any], x: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """`Cnn14` of log-mel bands, float32[b, frames, 64]."""
  # In full: accelerators would round the factors of a float32 product.
  with jax.default_matmul_precision('float32'):
    return Cnn14(config).apply({'params': params}, x)


def log_mel(
  samples: Float[np.ndarray, 'samples'],
  mel_weights: Float[np.ndarray, 'bins bands'],
) -> Float[np.ndarray, 'frames bands']:
  """Mel powers in dB of frames of 32 ms every 10 ms.

  As torchlibrosa: a periodic Hann window, frames centred on their time, the
  clip mirrored at its ends, 10 log10 of at least 1e-10.

  Args:
    samples: More than 256 samples at 16 kHz.
    mel_weights: Filters of the published file.

  Returns:
    float64[1 + samples // 160, 64].
  """
  half = _FFT_SAMPLES // 2
  padded = np.pad(np.asarray(samples, np.float64), half, mode='reflect')
  frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT_SAMPLES)
  phase = 2 * np.pi * np.arange(_FFT_SAMPLES) / _FFT_SAMPLES
  window = 0.5 - 0.5 * np.cos(phase)
  spectrum = np.fft.rfft(frames[::_HOP_SAMPLES] * window)
  powers = (spectrum.real**2 + spectrum.imag**2) @ mel_weights
  return 10 * np.log10(np.maximum(powers, _FLOOR))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panns:
  """CNN14 on windows of 10 s, one row each; see `network.windows`.

  A shorter window is filled up with silence, as in its training.

  Attributes:
    name: Name of the network in reports.
    output: Meaning of a row: the embedding, the probability of each class as in
      training (sigmoid), or the distribution that audioldm_eval's KL and IS
      take (softmax).
    digest: SHA-256 of the weights.
    params: Parameters of `Cnn14`.
    mel_weights: float32[257, 64].
    config: Sizes.
  """

  name: str
  output: network.Output
  digest: str
  params: Mapping[str, Any]
  mel_weights: np.ndarray
  config: Cnn14Config
  sample_rate_hz: int = dataclasses.field(default=SAMPLE_RATE_HZ, init=False)

  @property
  def dim(self) -> int:
    """Width of the embedding, or number of classes."""
    if self.output == 'embedding':
      return self.config.channels[-1]
    return self.config.num_classes

  def __call__(self, audio: media.Audio) -> Float[np.ndarray, 'rows dim']:
    """Rows of a clip."""
    samples = network.samples_at(audio, SAMPLE_RATE_HZ)
    windows = network.windows(samples, _WINDOW_SAMPLES)
    return network.checked(self, np.stack([self._run(w) for w in windows]))

  def _run(self, window: np.ndarray) -> np.ndarray:
    padded = np.pad(window, (0, _WINDOW_SAMPLES - len(window)))
    bands = log_mel(padded, self.mel_weights).astype(np.float32)
    embedding, logits = apply(self.config, self.params, bands[None])
    if self.output == 'embedding':
      return np.asarray(embedding[0])
    logits = np.asarray(logits[0], np.float64)
    if self.output == 'sigmoid':
      return scipy.special.expit(logits)
    return scipy.special.softmax(logits)


def read(
  state: Mapping[str, Any], config: Cnn14Config = PUBLISHED
) -> dict[str, Any]:
  """Parameters of `Cnn14` from a published state.

  Args:
    state: Tensors of `tensors.load`, from `Cnn14_16k_mAP=0.438.pth` converted;
      named as in https://github.com/qiuqiangkong/audioset_tagging_cnn.
    config: Sizes.

  Returns:
    Nested parameters.

  Raises:
    ValueError: A tensor is missing or of another shape, or not finite.
  """
  source = _source(state)
  scale, offset = _normalisation(source, 'bn0', NUM_BANDS)
  params: dict[str, Any] = {'scale': scale, 'offset': offset}
  inputs = 1
  for i, outputs in enumerate(config.channels, 1):
    for j in (1, 2):
      prefix = f'conv_block{i}'
      kernel = source.take(f'{prefix}.conv{j}.weight', outputs, inputs, 3, 3)
      gain, bias = _normalisation(source, f'{prefix}.bn{j}', outputs)
      kernel = kernel.transpose(2, 3, 1, 0) * gain
      params[f'block{i}_conv{j}'] = {'kernel': kernel, 'bias': bias}
      inputs = outputs
  for name, theirs, outputs in (
    ('fc1', 'fc1', inputs),
    ('classes', 'fc_audioset', config.num_classes),
  ):
    kernel = source.take(f'{theirs}.weight', outputs, inputs)
    bias = source.take(f'{theirs}.bias', outputs)
    params[name] = {'kernel': kernel.T, 'bias': bias}
  return params


def _source(state: Mapping[str, Any]) -> tensors.Tensors:
  wanted = 'Cnn14_16k of audioset_tagging_cnn'
  return tensors.Tensors(state, wanted, 'panns-cnn14-16khz')


def _normalisation(source: tensors.Tensors, name: str, size: int):
  """Factor and offset of a batch normalisation."""
  scale, offset, mean, variance = (
    source.take(f'{name}.{part}', size)
    for part in ('weight', 'bias', 'running_mean', 'running_var')
  )
  gain = scale / np.sqrt(variance + np.float32(_EPSILON))
  return gain, offset - mean * gain


def load(
  name: str, path: pathlib.Path, config: Cnn14Config = PUBLISHED
) -> Panns:
  """Loads the network from a file.

  Args:
    name: `panns-embedding`, `panns-softmax` or `panns-sigmoid`.
    path: Converted weights; see `read`.
    config: Sizes.

  Returns:
    The network.

  Raises:
    ValueError: The file holds other weights.
  """
  state = tensors.load(path)
  source = _source(state)
  outputs: dict[str, network.Output] = {
    'panns-embedding': 'embedding',
    'panns-softmax': 'softmax',
    'panns-sigmoid': 'sigmoid',
  }
  return Panns(
    name=name,
    output=outputs[name],
    digest=atomic.sha256(path),
    params=jax.device_put(read(state, config)),
    mel_weights=source.take('logmel_extractor.melW', _NUM_BINS, NUM_BANDS),
    config=config,
  )
