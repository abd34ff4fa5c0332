"""Builds what a released system is made of from its folder."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
import math
import pathlib
from typing import Any

from v2meow_jax import networks
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.codecs import codec as codec_lib
from v2meow_jax.codecs.soundstream import soundstream
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors.embedded import fitted
from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.inference import restore
from v2meow_jax.models.sampling import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
  """A system's folder in memory; large networks of style wait to be needed.

  Attributes:
    config: Content of config.json.
    digest: SHA-256 of config.json.
    stages: Trained stages, in the order they run.
    windows: Windows of each stage.
    streams: Streams of the stages by name.
    extractors: Extractors by the name of their stream.
    codec: Codec that turns the acoustic codes into sound.
  """

  config: Mapping[str, Any]
  digest: str
  stages: list[restore.ModelStage]
  windows: list[options.Windows]
  streams: Mapping[str, specs.Stream]
  extractors: Mapping[str, extractor.Extractor]
  codec: codec_lib.Codec

  @functools.cached_property
  def styles(self) -> Mapping[str, extractor.Extractor]:
    """Extractors of 'style' (of music) and 'style_text' (of a prompt)."""
    for row in self.config.get('networks', ()):
      network = networks.Network(**row['network'])
      if network.reads == 'style':
        return _build(network, row, self.config, self.streams)
    return self.extractors


def load(folder: pathlib.Path) -> Loaded:
  """Loads a folder; raises released.DamagedSystem when it is not whole."""
  config = released.read_config(folder)
  streams = {
    name: specs.stream_from_dict(s) for name, s in config['streams'].items()
  }
  if 'networks' in config:
    extractors = _published(config, streams)
    codec = extractors.pop('acoustic')
  else:
    extractors = fitted.extractors_from_params(
      released.flatten(_tensors(folder, 'extractors')), streams
    )
    codec = soundstream.TrainedCodec(
      soundstream.CodecConfig.from_dict(config['codec']),
      _tensors(folder, 'codec'),
    )
  return Loaded(
    config=config,
    digest=atomic.sha256(folder / released.CONFIG_NAME),
    stages=[
      restore.ModelStage(
        restore.build_model(row['model']), _tensors(folder, row['name'])
      )
      for row in config['stages']
    ],
    windows=[options.Windows(**row['windows']) for row in config['stages']],
    streams=streams,
    extractors=extractors,
    codec=codec,
  )


def _published(
  config: Mapping[str, Any], streams: Mapping[str, specs.Stream]
) -> dict[str, Any]:
  """Networks of others, whose weights lie elsewhere, and the codec."""
  built = {}
  for row in config['networks']:
    network = networks.Network(**row['network'])
    if network.reads != 'style':
      built[network.stream] = _build(network, row, config, streams)
  return built


def check_weights(network: networks.Network, row: Mapping[str, Any]) -> None:
  """Raises DamagedSystem unless weights are those that a config names."""
  file = network.file()
  released.check_digest(file, row['sha256'])
  for name, sha256 in row.get('companions', {}).items():
    released.check_digest(file.with_name(name), sha256)


def _build(
  network: networks.Network,
  row: Mapping[str, Any],
  config: Mapping[str, Any],
  streams: Mapping[str, specs.Stream],
) -> Any:
  check_weights(network, row)
  table = {**streams, 'acoustic': stages.acoustic(streams)}
  stream = networks.stream_of(network, table)
  if network.reads == 'video':
    # One size for all pieces, so that a frame does not depend on how many
    # come with it.
    frames = math.ceil(config['piece_seconds'] * stream.rate_hz)
    network = network.with_frames_at_once(max(1, frames))
  return network.build(stream)


def _tensors(folder: pathlib.Path, name: str) -> dict[str, Any]:
  return released.read_tensors(folder / f'{name}.safetensors')
