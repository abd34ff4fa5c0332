"""Published codecs: each from its file and its settings.

`variant` is one of the published sizes, `config` are others.
"""

from __future__ import annotations

from collections.abc import Mapping
import os
from typing import Any

from v2meow_jax import networks
from v2meow_jax import specs
from v2meow_jax.codecs.dac import dac
from v2meow_jax.codecs.dac import dac_network
from v2meow_jax.codecs.encodec import encodec
from v2meow_jax.codecs.encodec import encodec_network

_DAC = {'16khz': dac.DAC_16KHZ, '24khz': dac.DAC_24KHZ, '44khz': dac.DAC_44KHZ}
_ENCODEC = {'24khz': encodec.ENCODEC_24KHZ, '32khz': encodec.ENCODEC_32KHZ}


def dac_codec(
  stream: specs.TokenSpec,
  file: os.PathLike,
  *,
  variant: str = '16khz',
  config: Mapping[str, Any] | None = None,
) -> dac.DacCodec:
  """DAC at '16khz', '24khz' or '44khz'."""
  sizes = dac_network.DacConfig(**config) if config else _of(_DAC, variant)
  codec = dac.load(file, sizes)
  networks.check_codec(codec, stream)
  return codec


def encodec_codec(
  stream: specs.TokenSpec,
  file: os.PathLike,
  *,
  variant: str = '24khz',
  config: Mapping[str, Any] | None = None,
) -> encodec.EncodecCodec:
  """EnCodec at '24khz' or '32khz'."""
  if config:
    sizes = encodec_network.EncodecConfig(**config)
  else:
    sizes = _of(_ENCODEC, variant)
  codec = encodec.load(file, sizes)
  networks.check_codec(codec, stream)
  return codec


def _of(published: Mapping[str, Any], variant: str) -> Any:
  if variant not in published:
    raise ValueError(
      f'variant is {variant!r}; published are {sorted(published)}.'
    )
  return published[variant]
