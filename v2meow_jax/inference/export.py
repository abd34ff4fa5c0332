"""Packs the runs of a system into one folder that `system.load` plays."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import fractions
import math
import os
import pathlib
import shutil
from typing import Any

from etils import epath
import numpy as np

import v2meow_jax
from v2meow_jax import networks as networks_lib
from v2meow_jax import specs
from v2meow_jax.codecs.soundstream import soundstream
from v2meow_jax.extractors.embedded import fitted
from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.inference import restore
from v2meow_jax.models.sampling import options
from v2meow_jax.training.checkpoints import checkpoints

# ours: MusicLM's temperatures, by stage.
TEMPERATURES = {'semantic': 1.0, 'coarse': 0.95, 'fine': 0.4}
# ours: the share of a window that it takes over from the one before.
PREFIX_SHARE = {'semantic': 0.2, 'coarse': 0.25, 'fine': 0.0}
# Fine windows are independent, so several go through the network at once: ten
# seconds of the embedded default.
ROWS = {'semantic': 1, 'coarse': 1, 'fine': 5}
# Of a video, read at once: small frames, or frames as they were decoded, where
# 2 s of 1080 lines are 300 MB.
PIECE_SECONDS = 10.0
PUBLISHED_PIECE_SECONDS = 2.0
MAX_SIDE = 128


def export(
  out: str,
  *,
  stages: Sequence[str],
  codec: str | None = None,
  features: str | None = None,
  style: str | None = None,
  networks: Sequence[networks_lib.Network] = (),
  name: str = 'v2meow',
  dtype: str = 'float16',
  temperatures: Sequence[float] | None = None,
  licence: str = 'Apache-2.0, trained by this repository on synthetic data',
) -> pathlib.Path:
  """Writes a system's folder, whole or not at all.

  Args:
    out: The folder; must not exist, or be a system to replace.
    stages: MODEL_DIRs of the stages, in the order they run.
    codec: MODEL_DIR of the codec.
    features: File that `v2meow data fit` wrote.
    style: MODEL_DIR of the style embedding, trained on the same features.
    networks: In place of these three: the published networks that the records
      were made with. Their weights stay where they are.
    name: Of the system.
    dtype: Of the stored floats.
    temperatures: Temperatures that the system samples with by default, one for
      all stages or one per stage; None: those of the stages.
    licence: Of the weights.

  Returns:
    The folder.

  Raises:
    ValueError: A run is not what it is given as, `out` is in the way, or a
      network of a stream is missing.
  """
  return pack(
    out,
    stages=map(restore.read_stage, stages),
    codec=codec,
    features=features,
    style=style,
    networks=networks,
    name=name,
    dtype=dtype,
    temperatures=temperatures,
    licence=licence,
  )


def pack(
  out: str,
  *,
  stages: Iterable[tuple[dict[str, Any], Any, int]],
  codec: str | None,
  features: str | None,
  style: str | None,
  networks: Sequence[networks_lib.Network],
  name: str,
  dtype: str,
  licence: str,
  temperatures: Sequence[float] | None = None,
) -> pathlib.Path:
  """`export` of stages in memory, one at a time: description, params, step."""
  own = codec, features, style
  if not (all(own) and not networks) and (any(own) or not networks):
    raise ValueError(
      'a system takes --codec, --features and --style, all three, or in their'
      ' place the --gin_file that names published networks, such as'
      f' prepare/paper.gin; got {own} and {len(networks)} networks.'
    )
  target = pathlib.Path(out)
  in_the_way = target.exists() and (
    not target.is_dir() or any(target.iterdir())
  )
  if in_the_way and not (target / released.CONFIG_NAME).is_file():
    raise ValueError(f'{out} exists and is not a system; give another folder.')
  with atomic.replacing_folder(target) as folder:
    partial = pathlib.Path(folder)
    descriptions = [_write_stage(partial, *stage, dtype) for stage in stages]
    if temperatures:
      _set_temperatures(descriptions, temperatures)
    config = {
      'name': name,
      'version': v2meow_jax.__version__,
      'licences': {'weights': licence, **_licences(networks)},
      'stages': descriptions,
      'streams': _streams(descriptions),
      'visual': _visual(descriptions),
    }
    if networks:
      config |= {
        'networks': _named(networks, descriptions),
        'piece_seconds': PUBLISHED_PIECE_SECONDS,
        'max_side': None,  # Networks of others resize pictures themselves.
      }
    else:
      _write_extractors(partial, features, style)
      config |= {
        'codec': _write_codec(partial, codec, dtype),
        'piece_seconds': PIECE_SECONDS,
        'max_side': MAX_SIDE,
      }
    released.write_config(partial, config)
    _keep_notes(target, partial)
  return target


def prefix_seconds(spec: specs.StageSpec, share: float) -> float:
  """What a window takes over: so much that the next begins on whole frames.

  A window that began between two frames of a stream would be read beside its
  place: by half a second, of pictures at 1 Hz.

  >>> from v2meow_jax import stages
  >>> prefix_seconds(stages.coarse(), 0.25)
  2.52

  Args:
    spec: Of the stage.
    share: Of the crop, at least.

  Returns:
    Seconds, less than the crop.
  """
  rates = [
    fractions.Fraction(s.rate_hz).limit_denominator(1000)
    for s in (*spec.inputs, spec.target)
    if s.rate_hz
  ]
  # The least common multiple of the lengths of the frames.
  step = fractions.Fraction(
    math.lcm(*(r.denominator for r in rates)),
    math.gcd(*(r.numerator for r in rates)),
  )
  crop = fractions.Fraction(spec.crop_seconds).limit_denominator(1000)
  wanted = crop * fractions.Fraction(share).limit_denominator(1000)
  return float(min(math.ceil(wanted / step) * step, crop - step))


def _write_stage(
  folder: pathlib.Path,
  description: dict[str, Any],
  params: Any,
  step: int,
  dtype: str,
) -> dict[str, Any]:
  spec = specs.stage_from_dict(description['spec'])
  name = spec.name
  released.write_tensors(folder / f'{name}.safetensors', params, dtype)
  return {
    'name': name,
    'model': description,
    'trained_steps': step,
    'temperature': TEMPERATURES.get(name, 1.0),
    'windows': {
      'prefix_seconds': prefix_seconds(spec, PREFIX_SHARE.get(name, 0.2)),
      'rows': ROWS.get(name, 1),
    },
  }


def _set_temperatures(
  descriptions: Sequence[dict[str, Any]], temperatures: Sequence[float]
) -> None:
  """Replaces the temperatures of the stages, all by one or each by its own."""
  if len(temperatures) == 1:
    temperatures = [*temperatures] * len(descriptions)
  if len(temperatures) != len(descriptions):
    raise ValueError(
      f'{len(temperatures)} temperatures for {len(descriptions)} stages; wanted'
      ' one for all, or one per stage.'
    )
  for description, temperature in zip(descriptions, temperatures, strict=True):
    sampling = options.Sampling(temperature=temperature)
    description['temperature'] = sampling.temperature


def _write_codec(
  folder: pathlib.Path, model_dir: str, dtype: str
) -> dict[str, Any]:
  config, weights = read_codec(model_dir)
  # Averages that only training needs stay behind.
  state = weights['codebooks']['quantizer']['state']
  weights['codebooks'] = {'quantizer': {'state': {'vectors': state['vectors']}}}
  released.write_tensors(folder / 'codec.safetensors', weights, dtype)
  return config


def read_codec(model_dir: epath.PathLike) -> tuple[dict[str, Any], Any]:
  """Config and weights of a codec's run, for `soundstream.TrainedCodec`.

  Raises:
    ValueError: The run trained something else.
  """
  description = checkpoints.read_description(model_dir)
  if description.get('model') != 'CodecModel':
    raise ValueError(
      f'{model_dir} holds a {description.get("model")}; wanted the MODEL_DIR'
      ' of a codec.'
    )
  variables, _ = checkpoints.restore_variables(model_dir)
  weights = {
    'params': variables['params']['generator'],
    'codebooks': variables['codebooks'],
  }
  return description['config'], weights


def load_codec(model_dir: epath.PathLike) -> soundstream.TrainedCodec:
  """The codec that a run trained; raises as `read_codec`."""
  config, weights = read_codec(model_dir)
  return soundstream.TrainedCodec(
    soundstream.CodecConfig.from_dict(config), weights
  )


def read_extractors(
  features: epath.PathLike, style: epath.PathLike
) -> dict[str, np.ndarray]:
  """Fitted parameters joined with the trained style embedding.

  Args:
    features: File that `v2meow data fit` wrote.
    style: MODEL_DIR of the style embedding.

  Returns:
    Flat parameters for `fitted.extractors_from_params`.
  """
  flat = released.flatten(released.read_tensors(pathlib.Path(features)))
  variables, _ = checkpoints.restore_variables(style)
  example = {
    name: flat.pop(f'example/{name}')
    for name in ('text_features', 'music_features')
  }
  return fitted.with_style(flat, variables['params'], example)


def _write_extractors(folder: pathlib.Path, features: str, style: str) -> None:
  params = read_extractors(features, style)
  # In full precision: they are small, and tokens should not move.
  released.write_tensors(folder / 'extractors.safetensors', params, None)


def _named(
  networks: Sequence[networks_lib.Network],
  descriptions: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
  """The networks that generation needs, and the digests of their weights."""
  needed = [*_visual(descriptions), 'acoustic']
  given = {network.stream: network for network in networks}
  missing = sorted(set(needed) - set(given))
  if missing:
    raise ValueError(
      f'no network gives {missing}, which the stages read or the codec plays;'
      f' there are {sorted(given)}.'
    )
  chosen = [given[n] for n in (*needed, 'style') if n in given]
  return [
    {
      'network': dataclasses.asdict(network),
      'sha256': atomic.sha256(network.file()),
      'companions': {
        path.name: atomic.sha256(path) for path in network.companions()
      },
    }
    for network in chosen
  ]


def _licences(networks: Sequence[networks_lib.Network]) -> dict[str, Any]:
  return {network.stream: network.licence() for network in networks}


def _streams(descriptions: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Every stream of the stages, as JSON data."""
  streams = {}
  for description in descriptions:
    spec = specs.stage_from_dict(description['model']['spec'])
    for stream in (*spec.inputs, spec.target):
      streams[stream.name] = specs.stream_to_dict(stream)
  return streams


def _visual(descriptions: Sequence[dict[str, Any]]) -> list[str]:
  """Names of the streams that a video must give, those of pictures among them."""
  names = []
  for description in descriptions:
    spec = specs.stage_from_dict(description['model']['spec'])
    names += [s.name for s in spec.feature_inputs if not s.is_static]
    names += [s.name for s in spec.token_inputs if s.is_picture]
  return sorted(set(names))


def _keep_notes(older: pathlib.Path, folder: pathlib.Path) -> None:
  """Copies what is neither weights nor config out of an older system."""
  for file in folder.iterdir():
    os.chmod(file, 0o644)
  for note in older.iterdir() if older.exists() else ():
    if note.suffix not in ('.safetensors', '.json') and note.is_file():
      shutil.copy2(note, folder / note.name)
