"""Discriminators of codecs, with their hinge and feature losses.

SoundStream (https://arxiv.org/abs/2107.03312), sections III-D and E: three
convolutional networks on the waveform at falling rates and one on its complex
short-time spectrum.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float

from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import spectral

# One discriminator's activations, layer by layer; the last one is its logits.
Features = list[Array]

_SLOPE = 0.2
# With a smaller one, the norm's gradient on silence would dominate the step.
_NORM_EPSILON = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
  """Sizes of the discriminators and weights of their losses.

  Attributes:
    start_step: First step with adversarial terms.
    stft_channels: Channels of the spectral discriminator's first layer.
    stft_max_channels: Largest number of its channels, which double.
    stft_num_blocks: Number of its residual blocks, with alternating strides.
    window_samples: Window of its spectra; the hop is a quarter.
    wave_channels: Channels of the waveform discriminators' first layer.
    wave_max_channels: Largest number of their channels.
    num_wave_scales: Number of waveform discriminators, at rate, rate / 2, ...
    adversarial_weight: Weight of the generator's hinge loss.
    feature_weight: Weight of the distance between activations.
  """

  start_step: int = 0
  stft_channels: int = 32
  stft_max_channels: int = 256
  stft_num_blocks: int = 6
  window_samples: int = 1024
  wave_channels: int = 16
  wave_max_channels: int = 1024
  num_wave_scales: int = 3
  adversarial_weight: float = 1.0
  feature_weight: float = 100.0


def discriminator_loss(
  true: Sequence[Features], fake: Sequence[Features]
) -> Float[Array, '']:
  """Hinge loss, the mean over discriminators; 2 if all logits are 0."""
  terms = [
    jnp.mean(nn.relu(1 - t[-1])) + jnp.mean(nn.relu(1 + f[-1]))
    for t, f in zip(true, fake, strict=True)
  ]
  return jnp.stack(terms).mean()


def generator_loss(fake: Sequence[Features]) -> Float[Array, '']:
  """Hinge loss of the generator; 1 if all logits are 0."""
  return jnp.stack([jnp.mean(nn.relu(1 - f[-1])) for f in fake]).mean()


def feature_loss(
  true: Sequence[Features], fake: Sequence[Features]
) -> Float[Array, '']:
  """Mean L1 distance between the activations before the logits.

  Each layer's distance is divided by the mean |activation| on recordings, so
  that layers of any scale count alike (as in EnCodec).
  """
  terms = []
  for t, f in zip(true, fake, strict=True):
    for t_layer, f_layer in zip(t[:-1], f[:-1], strict=True):
      t_layer = jax.lax.stop_gradient(t_layer)
      distance = jnp.mean(jnp.abs(t_layer - f_layer))
      terms.append(distance / (jnp.mean(jnp.abs(t_layer)) + 1e-5))
  return jnp.stack(terms).mean()


class StftDiscriminator(nn.Module):
  """2-D residual convolutions over real and imaginary parts of a spectrum.

  LayerNorm over channels keeps it stable, as in EnCodec's re-implementation.
  """

  config: AdversarialConfig

  @nn.compact
  def __call__(self, waveform: arrays.Waveform) -> Features:
    """Returns activations; the logits are float[b, frames, 1, 1]."""
    c = self.config
    x = spectral.stft(waveform, c.window_samples, c.window_samples // 4)
    # Scaled to about one; without the last bin, the number of bins is even.
    x = x[..., :-1] / jnp.sqrt(c.window_samples)
    x = jnp.stack([jnp.real(x), jnp.imag(x)], axis=-1)
    x = nn.Conv(c.stft_channels, (7, 7))(x)
    features = [x]
    for i in range(c.stft_num_blocks):
      channels = min(c.stft_channels * 2 ** (i // 2 + 1), c.stft_max_channels)
      x = _SpectralBlock(channels, time_stride=1 + i % 2)(x)
      features.append(x)
    logits = nn.Conv(1, (1, x.shape[2]), padding='VALID')(
      nn.leaky_relu(x, _SLOPE)
    )
    return [*features, logits]


class _SpectralBlock(nn.Module):
  # Halves the frequency axis and, if asked, the time axis.
  channels: int
  time_stride: int

  @nn.compact
  def __call__(self, x):
    strides = (self.time_stride, 2)
    y = nn.Conv(x.shape[-1], (3, 3))(nn.leaky_relu(x, _SLOPE))
    y = nn.leaky_relu(nn.LayerNorm(epsilon=_NORM_EPSILON)(y), _SLOPE)
    y = nn.Conv(self.channels, (self.time_stride + 2, 4), strides=strides)(y)
    return y + nn.Conv(self.channels, (1, 1), strides=strides)(x)


class WaveDiscriminator(nn.Module):
  """1-D grouped convolutions that down-sample the waveform by 256."""

  config: AdversarialConfig

  @nn.compact
  def __call__(self, waveform: arrays.Waveform) -> Features:
    """Returns activations; the logits are float[b, steps, 1]."""
    c = self.config
    x = nn.leaky_relu(
      nn.Conv(c.wave_channels, (15,))(waveform[..., None]), _SLOPE
    )
    features = [x]
    for _ in range(4):
      channels = min(4 * x.shape[-1], c.wave_max_channels)
      groups = max(1, x.shape[-1] // 4)
      conv = nn.Conv(channels, (41,), strides=4, feature_group_count=groups)
      x = nn.leaky_relu(conv(x), _SLOPE)
      features.append(x)
    x = nn.leaky_relu(nn.Conv(x.shape[-1], (5,))(x), _SLOPE)
    return [*features, x, nn.Conv(1, (3,))(x)]


class Discriminators(nn.Module):
  """The spectral discriminator and those on the waveform."""

  config: AdversarialConfig

  @nn.compact
  def __call__(self, waveform: arrays.Waveform) -> list[Features]:
    """Returns a list of activations per discriminator."""
    outputs = [StftDiscriminator(self.config)(waveform)]
    x = waveform
    for scale in range(self.config.num_wave_scales):
      if scale:
        x = nn.avg_pool(x[..., None], (4,), strides=(2,), padding='SAME')
        x = jnp.squeeze(x, -1)
      outputs.append(WaveDiscriminator(self.config)(x))
    return outputs


def terms(
  config: AdversarialConfig,
  weights: Any,
  waveform: arrays.Waveform,
  output: arrays.Waveform,
  step: jax.Array,
) -> dict[str, Float[Array, '']]:
  """Computes the losses of both sides, each of which has its own gradient.

  Args:
    config: Sizes and weights.
    weights: Parameters of `Discriminators`.
    waveform: Recordings.
    output: Waveforms that were made of them.
    step: Number of steps before this one.

  Returns:
    'adversarial' and 'feature' of the generator, and 'discriminator'; zeros
    before `start_step`.
  """
  net = Discriminators(config)
  names = ('adversarial', 'feature', 'discriminator')

  def apply(weights, x):
    return net.apply({'params': weights}, x)

  def compute(weights, output):
    fake = apply(jax.lax.stop_gradient(weights), output)
    true = apply(weights, waveform)
    fixed_fake = apply(weights, jax.lax.stop_gradient(output))
    values = (
      generator_loss(fake),
      feature_loss(true, fake),
      discriminator_loss(true, fixed_fake),
    )
    return dict(zip(names, values, strict=True))

  if config.start_step == 0:
    # In a branch, XLA:CPU convolves slowly: a step took three times as long.
    return compute(weights, output)
  # Before the start step the discriminators cost nothing and do not change.
  return jax.lax.cond(
    step >= config.start_step,
    compute,
    lambda *_: dict.fromkeys(names, jnp.zeros(())),
    weights,
    output,
  )


def weighted(
  losses: Mapping[str, Float[Array, '']], config: AdversarialConfig
) -> Float[Array, '']:
  """Sums `terms` with the configured weights."""
  return (
    config.adversarial_weight * losses['adversarial']
    + config.feature_weight * losses['feature']
    + losses['discriminator']
  )


def init(
  config: AdversarialConfig | None, rng: jax.Array, waveform: arrays.Waveform
) -> dict[str, Any]:
  """{'discriminator': parameters of `Discriminators`}; nothing without them."""
  if config is None:
    return {}
  return {'discriminator': Discriminators(config).init(rng, waveform)['params']}


def loss(
  config: AdversarialConfig | None,
  params: Mapping[str, Any],
  waveform: arrays.Waveform,
  output: arrays.Waveform,
  step: jax.Array,
) -> tuple[Any, dict[str, Float[Array, '']]]:
  """Computes what discriminators add to the loss of a codec.

  Args:
    config: Sizes and weights; None: there are none.
    params: Parameters with those of `init`.
    waveform: Recordings.
    output: Waveforms that were made of them.
    step: Number of steps before this one.

  Returns:
    The weighted sum and the `terms`; 0 and nothing without discriminators.
  """
  if config is None:
    return 0.0, {}
  found = terms(config, params['discriminator'], waveform, output, step)
  return weighted(found, config), found
