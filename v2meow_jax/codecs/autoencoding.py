"""Trains an autoencoder in the training loop, as a codec is."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from v2meow_jax.codecs import adversarial
from v2meow_jax.codecs import reconstruction
from v2meow_jax.codecs.sines import sines
from v2meow_jax.codecs.vae import vae

Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderModel:
  """A `Trainable` autoencoder with the losses of a codec.

  Batches are {'waveform': float32[b, samples]}, whole frames. Parameters are
  {'generator', 'discriminator'} (the latter only with `adversarial`); extras are
  {'counters': {'step'}}.

  Attributes:
    config: Sizes of the autoencoder.
    reconstruction: Spectra and weights of the reconstruction losses.
    kl_weight: Weight of the distance of the latents to a standard Gaussian, in
      nats a frame; nothing where none are drawn.
    adversarial: Discriminators; None trains by reconstruction alone.
  """

  config: vae.VaeConfig | sines.SinesConfig
  reconstruction: reconstruction.ReconstructionConfig = (
    reconstruction.ReconstructionConfig()
  )
  kl_weight: float = 1e-3
  adversarial: adversarial.AdversarialConfig | None = None

  def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
    """Creates variables; see `Trainable`."""
    generator_rng, discriminator_rng = jax.random.split(rng)
    waveform = batch['waveform']
    variables = self.config.module().init(generator_rng, waveform)
    discriminators = adversarial.init(
      self.adversarial, discriminator_rng, waveform
    )
    return {
      'params': {'generator': variables['params'], **discriminators},
      'counters': {'step': jnp.zeros((), jnp.int32)},
    }

  def train_loss(
    self,
    params: dict[str, Any],
    extras: dict[str, Any],
    batch: Batch,
    rng: jax.Array | None,
  ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """Computes the loss of generator and discriminators; see `Trainable`.

    The metrics are those of a codec, and of a variational one 'kl' in nats a
    frame.
    """
    waveform = batch['waveform']
    output, found = self.config.module().apply(
      {'params': params['generator']}, waveform, rng
    )
    metrics = reconstruction.reconstruction_losses(
      output, waveform, self.config.sample_rate_hz, self.reconstruction
    )
    loss = reconstruction.weighted(metrics, self.reconstruction)
    if found is not None:
      metrics['kl'] = found.kl().sum(-1).mean()
      loss += self.kl_weight * metrics['kl']
    added, terms = adversarial.loss(
      self.adversarial, params, waveform, output, extras['counters']['step']
    )
    loss, metrics = loss + added, {**metrics, **terms}
    if rng is not None:
      extras = {**extras, 'counters': {'step': extras['counters']['step'] + 1}}
    return loss, (metrics, extras)

  def describe(self) -> dict[str, Any]:
    """Returns JSON data that rebuilds the autoencoder."""
    return {'model': 'AutoencoderModel', 'config': self.config.to_dict()}
