"""Builds what a released system is made of from its folder."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import math
import pathlib
from typing import Any

import jax

from v2meow_jax import parts as parts_lib
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.codecs import codec as codec_lib
from v2meow_jax.extractors import extractor
from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.files import tensors
from v2meow_jax.inference import restore
from v2meow_jax.inference.programs import kept
from v2meow_jax.models.blocks import kernels

# A row of a config: the fields of a part, and digests where its weights are
# outside the system's folder.
_PART = tuple(f.name for f in dataclasses.fields(parts_lib.Part))
# Format 1 had no rows for these: stream -> kind of part.
_EMBEDDED = {
  'appearance': 'appearance',
  'motion': 'motion',
  'style': 'hashed_style',
  'semantic': 'semantic_tokens',
}
EXTRACTORS_FILE = 'extractors.safetensors'
CODEC_FILE = 'codec.safetensors'
_DTYPES = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
  """A system's folder in memory; networks of style wait to be needed.

  Attributes:
    config: Content of config.json, of the newest format.
    digest: SHA-256 of config.json.
    parts: Parts with the paths of their weights, and their rows of the config.
    dtype: Type in which the stages compute, 'float32' or 'bfloat16'.
    mesh: Devices of the stages; None: the default device alone.
    stages: Trained stages, in the order they run.
    streams: Streams of the stages by name, and the codec's.
    extractors: Extractors by the name of their stream.
    codec: Codec that turns the stream `config['sound']` into sound.
  """

  config: Mapping[str, Any]
  digest: str
  parts: list[tuple[parts_lib.Part, Mapping[str, Any]]]
  dtype: str
  mesh: jax.sharding.Mesh | None
  stages: list[restore.ModelStage]
  streams: Mapping[str, specs.Stream]
  extractors: Mapping[str, extractor.Extractor]
  codec: codec_lib.Codec

  @functools.cached_property
  def styles(self) -> Mapping[str, extractor.Extractor]:
    """Extractors of 'style' (of music) and 'style_text' (of a prompt)."""
    for part, row in self.parts:
      if part.role == 'style':
        check_weights(part, row)
        return part.build(parts_lib.stream_of(part, self.streams))
    return {}


def load(
  folder: pathlib.Path,
  dtype: str | None = None,
  tensor: int = 1,
  *,
  for_reading: bool = False,
) -> Loaded:
  """Loads a folder; see `system.load`.

  Args:
    folder: Folder of a released system.
    dtype: Type in which the stages compute.
    tensor: Number of devices that split the weights of the stages.
    for_reading: Whether it is to read media alone: stages have no weights then.
  """
  dtype = dtype or restore.device_dtype()
  if dtype not in _DTYPES:
    raise ValueError(f'dtype is {dtype!r}; wanted one of {_DTYPES}.')
  mesh = _mesh(tensor)
  config = released.read_config(folder)
  with _described(folder, KeyError, TypeError, ValueError):
    config = upgraded(config)
    models = [
      (row['name'], restore.build_model(row['model'], dtype))
      for row in config['stages']
    ]
    parts, streams = read_parts(folder, config), read_streams(config)
    sound = config['sound']
  built = {}
  for part, row in parts:
    if part.role == 'style':
      continue
    check_weights(part, row)
    stream = parts_lib.stream_of(part, streams)
    if part.reads == 'video':
      # One size for all pieces, so that a frame does not depend on how many
      # come with it.
      frames = math.ceil(config['piece_seconds'] * stream.rate_hz)
      part = part.with_frames_at_once(max(1, frames))
    build = _build_codec if part.role == 'codec' else parts_lib.Part.build
    with _described(folder, KeyError):
      built[part.stream] = build(part, stream)
  return Loaded(
    config=config,
    digest=atomic.sha256(folder / released.CONFIG_NAME),
    parts=parts,
    dtype=dtype,
    mesh=mesh,
    stages=[
      restore.ModelStage(
        model,
        {} if for_reading else read_params(folder, name),
        None if for_reading else mesh,
        keep=True,
      )
      for name, model in models
    ],
    streams=streams,
    codec=built.pop(sound),
    extractors=built,
  )


@contextlib.contextmanager
def _described(
  folder: pathlib.Path, *errors: type[Exception]
) -> Iterator[None]:
  """Says of errors that the config of a folder describes no system."""
  try:
    yield
  except errors as e:
    raise released.DamagedSystem(
      f'{folder / released.CONFIG_NAME} does not describe a system'
      f' ({type(e).__name__}: {e}); reinstall or export again.'
    ) from e


def _mesh(tensor: int) -> jax.sharding.Mesh | None:
  """The devices of this process, in groups of `tensor`; None: it has but one."""
  count = jax.local_device_count()
  if tensor < 1 or count % tensor:
    raise ValueError(
      f'tensor is {tensor}, the number of devices that split the weights of the'
      f' stages; devices here: {count}, wanted 1 or another divisor of it.'
    )
  if count == 1:
    return None
  # Optimisers come with it, which one device does not wait for.
  from v2meow_jax.training import mesh  # pylint: disable=g-import-not-at-top

  return mesh.make_mesh(tensor=tensor, devices=jax.local_devices)


def _build_codec(part: parts_lib.Part, stream: specs.Stream) -> codec_lib.Codec:
  """The codec of a system, whose stages may leave out the last levels."""
  codec = part.network()
  if isinstance(stream, specs.TokenSpec):
    depth = max(stream.num_codebooks, codec.stream.num_codebooks)
    stream = dataclasses.replace(stream, num_codebooks=depth)
  parts_lib.check_codec(codec, stream)
  if hasattr(codec, 'program'):
    codec.program = kept.Program(
      codec.program, name=part.kind, identity=dict(part.settings)
    )
  return codec


def check_sound(
  parts: Sequence[parts_lib.Part], streams: Mapping[str, specs.Stream]
) -> None:
  """Raises ValueError where a codec cannot play what the stages write."""
  for part in parts:
    if part.role == 'codec':
      _build_codec(part, streams[part.stream])


def read_parts(
  folder: pathlib.Path, config: Mapping[str, Any]
) -> list[tuple[parts_lib.Part, Mapping[str, Any]]]:
  """Each part of a system, with the path of its weights, and its row."""
  parts = []
  for row in config['networks']:
    part = parts_lib.Part(**{name: row[name] for name in _PART})
    if part.weights in config['files']:
      weights = str(folder / part.weights)
      part = dataclasses.replace(part, weights=weights)
    parts.append((part, row))
  return parts


def read_streams(config: Mapping[str, Any]) -> dict[str, specs.Stream]:
  """Streams of a system by name, with that of its codec."""
  return {
    name: specs.stream_from_dict(s) for name, s in config['streams'].items()
  }


def read_params(folder: pathlib.Path, stage: str) -> dict[str, Any]:
  """Parameters of a stage as floats, however they are stored.

  Raises:
    released.DamagedSystem: The file holds something else.
  """
  file = folder / f'{stage}.safetensors'
  try:
    return kernels.dequantised(tensors.read(file))
  except ValueError as e:
    raise released.DamagedSystem(
      f'{file} holds no weights of a stage: {e} Export it again.'
    ) from e


def check_weights(part: parts_lib.Part, row: Mapping[str, Any]) -> None:
  """Raises DamagedSystem unless weights are those that a config names.

  Those inside the system's folder were checked with the folder.
  """
  if 'sha256' not in row:
    return
  file = part.file()
  released.check_digest(file, row['sha256'])
  for name, sha256 in row.get('companions', {}).items():
    released.check_digest(file.with_name(name), sha256)


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
  """A config of any format, with a row for each part as of format 2 on.

  Temperatures and windows of the first systems stand beside the models, and
  before format 3 stages do not say the type of their weights. Format 1 knew two
  kinds of system: with rows for the networks of others, or, without any, with
  extractors and a codec in two files of its folder.
  """
  config = {**config, 'stages': [_upgraded(row) for row in config['stages']]}
  if config['format'] != 1:
    return config
  if 'networks' in config:
    rows = [
      {**row['network'], **{k: v for k, v in row.items() if k != 'network'}}
      for row in config['networks']
    ]
  else:
    rows = [
      _own_row(kind, stream, EXTRACTORS_FILE)
      for stream, kind in _EMBEDDED.items()
      if stream in config['streams']
    ]
    ends = config['codec'].get('kind')
    kind = 'soundstream' if ends == 'seanet' else 'embedded_codec'
    rows.append(_own_row(kind, 'acoustic', CODEC_FILE, config=config['codec']))
  sound = specs.stream_to_dict(stages.acoustic(read_streams(config)))
  return {
    **{k: v for k, v in config.items() if k != 'codec'},
    'format': 2,
    'networks': rows,
    'streams': {**config['streams'], 'acoustic': sound},
    'sound': 'acoustic',
  }


def _upgraded(row: Mapping[str, Any]) -> dict[str, Any]:
  """A stage whose description says how it samples."""
  row = {**row, 'model': restore.translated(row['model'])}
  if 'windows' in row:
    sampling = {'temperature': row.pop('temperature'), 'top_k': None}
    row['model']['sampler'] |= {
      'sampling': sampling,
      'windows': row.pop('windows'),
    }
  return row


def _own_row(
  kind: str, stream: str, weights: str, **settings: Any
) -> dict[str, Any]:
  return {
    'kind': kind,
    'stream': stream,
    'weights': weights,
    'settings': settings,
  }
