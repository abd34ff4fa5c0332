"""Trains a codec in the training loop, with or without discriminators.

Generator (the codec) and discriminators train in one optimiser step on the sum
of their losses; stopped gradients keep each side's gradient its own.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from v2meow_jax.codecs import adversarial
from v2meow_jax.codecs import reconstruction
from v2meow_jax.codecs import rvq
from v2meow_jax.codecs.soundstream import soundstream

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecModel:
  """A `Trainable` codec with its losses.

  Batches are {'waveform': float32[b, samples]}, whole code frames. Parameters
  are {'generator', 'discriminator'} (the latter only with `adversarial`);
  extras are {'codebooks', 'counters': {'step'}}.

  Attributes:
    config: Sizes of the codec.
    reconstruction: Spectra and weights of the reconstruction losses.
    commitment_weight: Weight of the commitment of latents to their codes.
    adversarial: Discriminators; None trains by reconstruction alone.
  """

  config: soundstream.CodecConfig
  reconstruction: reconstruction.ReconstructionConfig = (
    reconstruction.ReconstructionConfig()
  )
  commitment_weight: float = 0.25
  adversarial: adversarial.AdversarialConfig | None = None

  def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
    """Creates variables; the first training step fits the codebooks."""
    generator_rng, discriminator_rng = jax.random.split(rng)
    variables = soundstream.SoundStream(self.config).init(
      generator_rng, batch['waveform']
    )
    discriminators = adversarial.init(
      self.adversarial, discriminator_rng, batch['waveform']
    )
    return {
      'params': {'generator': variables['params'], **discriminators},
      'codebooks': variables['codebooks'],
      'counters': {'step': jnp.zeros((), jnp.int32)},
    }

  def train_loss(
    self,
    params: dict[str, Any],
    extras: dict[str, Any],
    batch: Batch,
    rng: jax.Array | None,
  ) -> tuple[jax.Array, tuple[Metrics, dict[str, Any]]]:
    """Computes the loss of generator and discriminators; see `Trainable`."""
    waveform = batch['waveform']
    output, commitment, codebooks = self._reconstruct(
      params, extras, waveform, rng
    )
    metrics = reconstruction.reconstruction_losses(
      output, waveform, self.config.sample_rate_hz, self.reconstruction
    )
    loss = reconstruction.weighted(metrics, self.reconstruction)
    loss += self.commitment_weight * commitment
    metrics['commitment'] = commitment
    use = rvq.perplexity(codebooks['quantizer']['state']['counts'])
    metrics |= {f'perplexity_{k}': use[k] for k in range(use.shape[0])}
    added, terms = adversarial.loss(
      self.adversarial, params, waveform, output, extras['counters']['step']
    )
    loss, metrics = loss + added, {**metrics, **terms}
    if rng is None:
      return loss, (metrics, extras)
    step = extras['counters']['step'] + 1
    return loss, (
      metrics,
      {**extras, 'codebooks': codebooks, 'counters': {'step': step}},
    )

  def describe(self) -> dict[str, Any]:
    """Returns JSON data that rebuilds the codec."""
    return {'model': 'CodecModel', 'config': self.config.to_dict()}

  def _reconstruct(self, params, extras, waveform, rng):
    module = soundstream.SoundStream(self.config)
    variables = {
      'params': params['generator'],
      'codebooks': extras['codebooks'],
    }
    if rng is None:
      output, commitment = module.apply(variables, waveform)
      return output, commitment, extras['codebooks']
    (output, commitment), updated = module.apply(
      variables,
      waveform,
      train=True,
      rngs={'codebooks': rng},
      mutable=['codebooks'],
    )
    return output, commitment, updated['codebooks']
