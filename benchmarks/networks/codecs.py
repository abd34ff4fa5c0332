"""DAC and EnCodec, both ways, beside those of `transformers`."""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks.networks import sides
from v2meow_jax.pretrained import hub


def dac_way(way: str, name: str, tiny: bool) -> sides.Sides:
  """DAC; the reference is `transformers.DacModel`."""
  from v2meow_jax.codecs.dac import dac

  config = getattr(dac, name)
  if tiny:
    config = dataclasses.replace(
      config, num_levels=2, encoder_channels=4, decoder_channels=32
    )

  def model():
    transformers = hub.import_library('transformers')

    return transformers.DacModel(
      transformers.DacConfig(
        encoder_hidden_size=config.encoder_channels,
        downsampling_ratios=list(config.strides),
        decoder_hidden_size=config.decoder_channels,
        n_codebooks=config.num_levels,
        codebook_size=config.codebook_size,
        codebook_dim=config.code_dim,
        sampling_rate=config.sample_rate_hz,
      )
    )

  return _codec(
    way,
    dac.Dac(config),
    dac.DacCodec,
    model,
    encode=lambda model, waveform: model.encode(waveform).audio_codes,
    decode=lambda model, codes: model.decode(audio_codes=codes).audio_values,
    seconds=0.2 if tiny else 2.0,
  )


def encodec_way(way: str, name: str, tiny: bool) -> sides.Sides:
  """EnCodec; the reference is `transformers.EncodecModel`."""
  from v2meow_jax.codecs.encodec import encodec

  config = getattr(encodec, name)
  if tiny:
    config = dataclasses.replace(
      config, num_levels=2, base_channels=4, latent_dim=8
    )
  bits = config.codebook_size.bit_length() - 1
  kilobits = config.stream.rate_hz * config.num_levels * bits / 1000

  def model():
    transformers = hub.import_library('transformers')

    return transformers.EncodecModel(
      transformers.EncodecConfig(
        target_bandwidths=[kilobits],
        sampling_rate=config.sample_rate_hz,
        hidden_size=config.latent_dim,
        num_filters=config.base_channels,
        upsampling_ratios=list(reversed(config.strides)),
        use_causal_conv=config.causal,
        codebook_size=config.codebook_size,
        codebook_dim=config.latent_dim,
        use_conv_shortcut=config.shortcut_conv,
        norm_type='weight_norm',
      )
    )

  return _codec(
    way,
    encodec.Encodec(config),
    encodec.EncodecCodec,
    model,
    encode=lambda model, waveform: (
      model.encode(waveform, bandwidth=kilobits).audio_codes
    ),
    decode=lambda model, codes: model.decode(codes[None], [None]).audio_values,
    seconds=0.2 if tiny else 4.0,
  )


def _codec(
  way, network, kind, model, *, encode, decode, seconds
) -> sides.Sides:
  """One way through a codec; `encode` and `decode` are calls of the model."""
  config = network.config
  frames = round(seconds * config.stream.rate_hz)
  waveform = 2 * sides.random((1, frames * config.hop_samples)) - 1
  codes = np.random.default_rng(1).integers(
    config.codebook_size, size=(1, frames, config.num_levels)
  )
  params = sides.parameters(network, waveform)
  codec = kind(config, params)
  inputs = waveform if way == 'encode' else codes
  ours = getattr(codec, way)

  def reference(device):
    import torch

    # [b, channels, samples], [b, levels, frames]
    x = waveform[:, None] if way == 'encode' else codes.transpose(0, 2, 1)
    called = encode if way == 'encode' else decode
    reference = model().eval().to(device)

    def run():
      with torch.inference_mode():
        return called(reference, torch.tensor(x, device=device)).cpu()

    return run

  return sides.Sides(
    amount=frames / config.stream.rate_hz,
    unit='s',
    ours=lambda: np.asarray(ours(inputs)),
    num_parameters=sides.count(params),
    reference=reference,
  )
