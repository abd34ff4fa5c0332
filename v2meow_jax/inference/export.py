"""Packs the runs of a system into one folder that `system.load` plays."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

import v2meow_jax
from v2meow_jax import parts as parts_lib
from v2meow_jax import specs
from v2meow_jax.files import atomic
from v2meow_jax.files import paths
from v2meow_jax.files import released
from v2meow_jax.files import tensors
from v2meow_jax.inference import loading
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import restore
from v2meow_jax.inference import sound
from v2meow_jax.models.blocks import kernels
from v2meow_jax.models.sampling import options

# Stream of all levels of a codec, which a system decodes where no stage writes
# latents.
SOUND = 'acoustic'
# Types in which weights are stored.
WEIGHTS = ('float16', 'float32', 'int8')


def export(
  out: str,
  *,
  stages: Sequence[str],
  parts: Sequence[parts_lib.Part],
  name: str = 'v2meow',
  weights: str = 'float16',
  temperatures: Sequence[float] | None = None,
  licence: str = released.NOT_STATED,
) -> pathlib.Path:
  """Writes a system's folder, whole or not at all.

  Args:
    out: Folder to write, here or in a bucket; must not exist, or be a system to
      replace.
    stages: MODEL_DIRs of the stages, in the order they run.
    parts: Parts that the records were made with. Weights of those that are
      trained here go into the folder, those of others stay where they are.
    name: Name of the system.
    weights: Type in which weights are stored: 'float16', 'float32', or 'int8'
      for the products of stages, the rest float16.
    temperatures: Temperatures that the system samples with by default, one for
      all stages or one per stage; None: those of the stages.
    licence: Licence of the weights that were trained, and where they come from.

  Returns:
    The folder.

  Raises:
    ValueError: A run is not what it is given as, `out` is in the way, or a
      part of a stream is missing.
  """
  return pack(
    out,
    stages=map(restore.read_stage, stages),
    parts=parts,
    name=name,
    weights=weights,
    temperatures=temperatures,
    licence=licence,
  )


def export_again(
  out: str,
  system: pathlib.Path,
  *,
  name: str | None = None,
  weights: str = 'float16',
  temperatures: Sequence[float] | None = None,
  licence: str | None = None,
) -> pathlib.Path:
  """Writes a released system anew, as to the type of its weights.

  Args:
    out: Folder to write, as of `export`; may be that of the system.
    system: Folder of the system, whose notes go along.
    name: Name of the system; None: the one that it has.
    weights: Type of the stored weights, as of `export`. A type of less precision
      is not undone by one of more.
    temperatures: Temperatures of the stages, as of `export`.
    licence: Licence of the weights; None: the one that it has.

  Returns:
    The folder.

  Raises:
    ValueError: As of `export`.
    released.DamagedSystem: A file of the system is missing or changed.
  """
  config = loading.upgraded(released.read_config(system))
  parts = loading.read_parts(system, config)
  for part, row in parts:
    loading.check_weights(part, row)
  return pack(
    out,
    stages=(
      (
        row['model'],
        loading.read_params(system, row['name']),
        row['trained_steps'],
      )
      for row in config['stages']
    ),
    parts=[part for part, _ in parts],
    name=name or config['name'],
    weights=weights,
    temperatures=temperatures,
    licence=licence or config['licences']['weights'],
    notes=system,
  )


def pack(
  out: str,
  *,
  stages: Iterable[tuple[dict[str, Any], Any, int]],
  parts: Sequence[parts_lib.Part],
  name: str,
  weights: str,
  licence: str,
  temperatures: Sequence[float] | None = None,
  notes: pathlib.Path | None = None,
) -> pathlib.Path:
  """`export` of stages in memory, one at a time: description, params, step.

  `notes` is a system whose notes go along; None: that which is replaced.
  """
  if weights not in WEIGHTS:
    raise ValueError(f'weights are {weights!r}; wanted one of {WEIGHTS}.')
  target = paths.path(out)
  if not atomic.is_replaceable(target, marker=released.CONFIG_NAME):
    raise ValueError(
      f'{out} exists and is not a system, or half of one; give another folder, or'
      ' remove it.'
    )
  with atomic.replacing_folder(target, marker=released.CONFIG_NAME) as folder:
    partial = paths.path(folder)
    descriptions = [_write_stage(partial, *stage, weights) for stage in stages]
    if temperatures:
      _set_temperatures(descriptions, temperatures)
    sounding = _sound(descriptions)
    streams = _streams(descriptions, sounding)
    visual = _visual(descriptions)
    kept = _kept(parts, streams, [*visual, sounding])
    own = [part for part in kept if part.is_own]
    others = [part for part in kept if not part.is_own]
    config = {
      'name': name,
      'version': v2meow_jax.__version__,
      'licences': {
        'weights': licence,
        **{part.stream: part.licence() for part in others},
      },
      'stages': descriptions,
      'networks': [
        *_rows_of_others(others),
        *_write_own(partial, own, weights),
      ],
      'sound': sounding,
      'streams': streams,
      'visual': visual,
      # Of all parts: frames are those of the records.
      **parts_lib.video_reading(parts),
    }
    loading.check_sound(own, loading.read_streams(config))
    released.write_config(partial, config)
    _keep_notes(notes or target, partial)
  return target


def _write_stage(
  folder: pathlib.Path,
  description: dict[str, Any],
  params: Any,
  step: int,
  weights: str,
) -> dict[str, Any]:
  name = description['spec']['name']
  is_int8 = weights == 'int8'
  tensors.write(
    folder / f'{name}.safetensors',
    kernels.quantised(params) if is_int8 else params,
    None if is_int8 else weights,
  )
  return {
    'name': name,
    'weights': weights,
    'trained_steps': step,
    'model': description,
  }


def _set_temperatures(
  rows: Sequence[dict[str, Any]], temperatures: Sequence[float]
) -> None:
  """Replaces the temperatures of the stages, all by one or each by its own."""
  samplers = [row['model']['sampler'] for row in rows]
  chosen = pipeline.resolve(
    [options.Sampling(temperature=t) for t in temperatures],
    [options.Sampling(**sampler['sampling']) for sampler in samplers],
    [specs.stage_from_dict(row['model']['spec']) for row in rows],
  )
  for sampler, sampling in zip(samplers, chosen, strict=True):
    sampler['sampling'] = dataclasses.asdict(sampling)


def _write_own(
  folder: pathlib.Path, parts: Sequence[parts_lib.Part], weights: str
) -> list[dict[str, Any]]:
  """Packs the parts that are trained here, and returns their rows."""
  rows, extractors = [], {}
  for part in parts:
    if not part.has_weights:
      rows.append(dataclasses.asdict(part))
      continue
    arrays, settings = part.read()
    if part.role == 'codec':
      name = loading.CODEC_FILE
      # It is small, and what it gets wrong is heard.
      dtype = 'float16' if weights == 'int8' else weights
      tensors.write(folder / name, arrays, dtype)
    else:
      name = loading.EXTRACTORS_FILE
      extractors[part.stream] = arrays
    row = dataclasses.replace(part, weights=name, settings=settings)
    rows.append(dataclasses.asdict(row))
  if extractors:
    # In full precision: they are small, and tokens should not move.
    tensors.write(folder / loading.EXTRACTORS_FILE, extractors, None)
  return rows


def _kept(
  parts: Sequence[parts_lib.Part],
  streams: Mapping[str, Any],
  needed: Sequence[str],
) -> list[parts_lib.Part]:
  """The parts of a system's streams; those of others only when it plays them."""
  given = {part.stream for part in parts}
  missing = sorted(set(needed) - given)
  if missing:
    raise ValueError(
      f'no part gives {missing}, which the stages read or the codec plays;'
      f' there are {sorted(given)}.'
    )
  return [
    part
    for part in parts
    if part.stream in streams
    and (part.is_own or part.role == 'style' or part.stream in needed)
  ]


def _rows_of_others(
  parts: Sequence[parts_lib.Part],
) -> list[dict[str, Any]]:
  """Parts whose weights stay where they are, with their digests."""
  return [
    {
      **dataclasses.asdict(part),
      'sha256': atomic.sha256(part.file()),
      'companions': {
        path.name: atomic.sha256(path) for path in part.companions()
      },
    }
    for part in parts
  ]


def _sound(descriptions: Sequence[dict[str, Any]]) -> str:
  """Name of the stream that becomes sound: the latents of the last stage."""
  spec = specs.stage_from_dict(descriptions[-1]['model']['spec'])
  if isinstance(spec.target, specs.FeatureSpec):
    return spec.target.name
  return SOUND


def _streams(
  descriptions: Sequence[dict[str, Any]], sounding: str
) -> dict[str, Any]:
  """Every stream of the stages, and that of the sound, as JSON data."""
  streams, targets = {}, []
  for description in descriptions:
    spec = specs.stage_from_dict(description['model']['spec'])
    for stream in (*spec.inputs, spec.target):
      streams[stream.name] = specs.stream_to_dict(stream)
    targets.append(spec.target)
  streams[sounding] = specs.stream_to_dict(sound.stream(sounding, targets))
  return streams


def _visual(descriptions: Sequence[dict[str, Any]]) -> list[str]:
  """Names of the streams that a video, or its plan, must give."""
  names = []
  for description in descriptions:
    spec = specs.stage_from_dict(description['model']['spec'])
    names += [s.name for s in spec.feature_inputs if not s.is_static]
    names += [s.name for s in spec.token_inputs if s.is_picture]
  return sorted(set(names))


def _keep_notes(older: pathlib.Path, folder: pathlib.Path) -> None:
  """Copies what is neither weights nor config out of an older system."""
  for note in older.iterdir() if older.exists() else ():
    if note.suffix not in ('.safetensors', '.json') and note.is_file():
      atomic.copy(note, folder / note.name)
