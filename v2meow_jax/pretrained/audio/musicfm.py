"""MusicFM at 25 Hz (Won et al. 2023, https://arxiv.org/abs/2311.03318).

A spectrogram on mel bands, two residual blocks that take every fourth frame,
and a Conformer (https://github.com/minzwon/musicfm, `model/musicfm_25hz.py`).
`musicfm_weights` reads the published weights.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import media
from v2meow_jax.pretrained.audio import conformer
from v2meow_jax.pretrained.audio import mel
from v2meow_jax.pretrained.audio import semantic_encoder

SAMPLE_RATE_HZ = 24_000
RATE_HZ = 25.0
_HOP_SAMPLES = 240
WINDOW_SAMPLES = 2048
_FLOOR = 1e-10  # Energy of a band, at least, before the logarithm.

# ours: the network was trained on 30 s; 5 s are 125 frames around a frame.
STRETCHES = semantic_encoder.Stretches(seconds=30.0, context_seconds=5.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MusicFMConfig:
  """Sizes of a `MusicFM`.

  Attributes:
    num_bands: Mel bands, a multiple of 4.
    conv_channels: Channels of the residual blocks.
    conformer: Sizes of the Conformer after them.
  """

  num_bands: int
  conv_channels: int
  conformer: conformer.ConformerConfig

  def __post_init__(self):
    if self.num_bands % 4:
      raise ValueError(
        f'num_bands is {self.num_bands}; wanted a multiple of 4.'
      )


# paper: MusicFM, section 2; `MusicFM25Hz` of its repository, with heads,
# mlp_dim and kernel_size of facebook/wav2vec2-conformer-rope-large-960h-ft.
PUBLISHED = MusicFMConfig(
  num_bands=128,
  conv_channels=512,
  conformer=conformer.ConformerConfig(
    emb_dim=1024, num_layers=12, num_heads=16, mlp_dim=4096, kernel_size=31
  ),
)


class LogMel(nn.Module):
  """Decibels in mel bands, standardised.

  Frame i is centred on sample i * 240; samples are mirrored at both ends.

  Attributes:
    num_bands: Number of mel bands.
  """

  num_bands: int

  @nn.compact
  def __call__(self, samples: jax.Array) -> jax.Array:
    """float32[b, num_samples] -> float32[b, num_samples // 240, num_bands]."""
    # All of these are in the published files.
    window = self.param(
      'window', lambda _: jnp.hanning(WINDOW_SAMPLES + 1)[:-1]
    )
    filters = self.param(
      'filters', lambda _: jnp.asarray(_filters(self.num_bands))
    )
    mean = self.param('mean', nn.initializers.zeros, ())
    std = self.param('std', nn.initializers.ones, ())
    half = WINDOW_SAMPLES // 2
    padded = jnp.pad(samples, ((0, 0), (half, half)), 'reflect')
    starts = np.arange(samples.shape[1] // _HOP_SAMPLES) * _HOP_SAMPLES
    frames = padded[:, starts[:, None] + np.arange(WINDOW_SAMPLES)]
    spectrum = jnp.fft.rfft(frames * window)
    bands = (spectrum.real**2 + spectrum.imag**2) @ filters
    return (10 * jnp.log10(jnp.maximum(bands, _FLOOR)) - mean) / std


def _filters(num_bands: int) -> np.ndarray:
  return mel.mel_weights(SAMPLE_RATE_HZ, WINDOW_SAMPLES, num_bands)


def _conv(channels: int, stride: int, name: str) -> nn.Conv:
  return nn.Conv(channels, (3, 3), stride, ((1, 1), (1, 1)), name=name)


class ResidualBlock(nn.Module):
  """Three convolutions that halve frames and bands, normalisation folded in.

  Attributes:
    channels: Channels of the output.
  """

  channels: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, frames, bands, c] -> float32[b, frames/2, bands/2, channels]."""
    y = nn.relu(_conv(self.channels, 2, 'conv1')(x))
    y = _conv(self.channels, 1, 'conv2')(y)
    return nn.relu(y + _conv(self.channels, 2, 'conv3')(x))


class Subsampling(nn.Module):
  """Keeps a quarter of the frames, each with all of its bands.

  Attributes:
    config: Sizes.
  """

  config: MusicFMConfig

  @nn.compact
  def __call__(self, bands: jax.Array) -> jax.Array:
    """float32[b, frames, bands] -> float32[b, ceil(frames / 4), emb_dim]."""
    x = bands[..., None]
    for i in range(2):
      x = ResidualBlock(self.config.conv_channels, name=f'conv_{i}')(x)
    # [b, frames, bands, channels] -> [b, frames, channels * bands]
    x = x.swapaxes(2, 3).reshape(*x.shape[:2], -1)
    return nn.Dense(self.config.conformer.emb_dim, name='linear')(x)


class MusicFM(nn.Module):
  """One hidden state of MusicFM.

  Attributes:
    config: Sizes.
    layer: Number of Conformer layers before it; 0 is their input.
  """

  config: MusicFMConfig
  layer: int

  @nn.compact
  def __call__(self, samples: jax.Array) -> jax.Array:
    """float32[b, num_samples] -> float32[b, ceil(num_samples / 960), emb_dim].

    At least 1,025 samples; whole hops of 240 count. Frame i is centred on
    sample i * 960.
    """
    x = LogMel(self.config.num_bands, name='mel')(samples)
    x = Subsampling(self.config, name='conv')(x)
    return conformer.Conformer(
      self.config.conformer, self.layer, name='conformer'
    )(x)


@functools.partial(jax.jit, static_argnums=0)
def _hidden(network: MusicFM, params: Any, samples: jax.Array) -> jax.Array:
  # In full: accelerators would round the factors of a float32 product.
  with jax.default_matmul_precision('float32'):
    return network.apply({'params': params}, samples)


class MusicFMEncoder:
  """MusicFM as a `SemanticEncoder`.

  Frame i is centred on its beginning, i / 25 s, as in the published network.
  Compiles once for each length of audio that is shorter than a stretch.

  Attributes:
    sample_rate_hz: Sample rate of the network: 24,000 Hz.
    rate_hz: Frames a second: 25.
    dim: Width of the Conformer.
    network: Network to run.
  """

  sample_rate_hz = SAMPLE_RATE_HZ
  rate_hz = RATE_HZ

  def __init__(
    self,
    network: MusicFM,
    params: Mapping[str, Any],
    *,
    stretches: semantic_encoder.Stretches = STRETCHES,
  ):
    """Puts the parameters on the device.

    Args:
      network: Network to run.
      params: Parameters of `network`, from `musicfm_weights.read`.
      stretches: Stretches to cut long audio into.
    """
    self.dim = network.config.conformer.emb_dim
    self.network = network
    self._params = jax.device_put(dict(params))
    self._stretches = stretches

  def __call__(self, audio: media.Audio) -> np.ndarray:
    """float32[frames, dim]."""
    return semantic_encoder.in_stretches(
      self, self._run, audio, self._stretches
    )

  def _run(self, samples: np.ndarray) -> np.ndarray:
    # A single frame is too short to be mirrored.
    missing = max(0, WINDOW_SAMPLES - len(samples))
    padded = np.pad(samples, (0, missing))[None]
    return np.asarray(_hidden(self.network, self._params, padded))[0]
