"""A released system's files: safetensors and JSON, each with its digest."""

from __future__ import annotations

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import numpy as np

from v2meow_jax.files import atomic

CONFIG_NAME = 'config.json'
FORMAT = 2
# Written by earlier versions, and still read.
_FORMATS = (1, FORMAT)


class DamagedSystem(ValueError):
  """A system's folder is incomplete, or a file is not what was released."""


def flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, np.ndarray]:
  """Nested dicts of arrays to {'a/b': array}."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      flat.update(flatten(value, f'{prefix}{key}/'))
    else:
      flat[f'{prefix}{key}'] = np.asarray(value)
  return flat


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """The inverse of `flatten`."""
  tree: dict[str, Any] = {}
  for name, value in flat.items():
    *parents, leaf = name.split('/')
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[leaf] = value
  return tree


def write_tensors(
  path: pathlib.Path,
  tree: Mapping[str, Any],
  dtype: str | None,
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Saves a tree; floats as `dtype`, None: as they are."""
  from safetensors import numpy as st  # pylint: disable=g-import-not-at-top

  flat = flatten(tree)
  if dtype:
    flat = {
      k: v.astype(dtype) if np.issubdtype(v.dtype, np.floating) else v
      for k, v in flat.items()
    }
  # Not ascontiguousarray, which turns a scalar into a vector.
  st.save_file(
    {k: np.array(v, order='C') for k, v in flat.items()},
    path,
    dict(metadata) if metadata else None,
  )


def read_tensors(path: pathlib.Path) -> dict[str, Any]:
  """Loads a tree; half precision comes back as float32."""
  from safetensors import numpy as st  # pylint: disable=g-import-not-at-top

  flat = st.load_file(path)
  return unflatten(
    {
      k: v.astype(np.float32) if v.dtype == np.float16 else v
      for k, v in flat.items()
    }
  )


def read_config(folder: pathlib.Path) -> dict[str, Any]:
  """A system's config, once every file it names has its digest.

  Args:
    folder: Of the system.

  Returns:
    The config.

  Raises:
    DamagedSystem: A file is missing or changed; the message names it, what was
      found and what was wanted.
  """
  config = read_config_alone(folder)
  for name, wanted in config['files'].items():
    file = folder / name
    if not file.is_file():
      raise DamagedSystem(f'{file} is missing; reinstall or export again.')
    check_digest(file, wanted)
  return config


def read_config_alone(folder: pathlib.Path) -> dict[str, Any]:
  """A system's config, whatever is with its weights; raises DamagedSystem."""
  path = folder / CONFIG_NAME
  if not path.is_file():
    raise DamagedSystem(
      f'{folder} is not a system: it has no {CONFIG_NAME}; give a folder that'
      ' `v2meow export` wrote.'
    )
  try:
    config = json.loads(path.read_text())
  except ValueError as e:
    raise DamagedSystem(f'{path} is not JSON: {e}; export it again.') from e
  if not isinstance(config, dict) or config.get('format') not in _FORMATS:
    raise DamagedSystem(
      f'{path} is not of system format {FORMAT}; export it again with this'
      ' version.'
    )
  return config


def check_digest(path: pathlib.Path, wanted: str) -> None:
  """Raises DamagedSystem unless a file is the one that was exported."""
  found = atomic.sha256(path)
  if found != wanted:
    raise DamagedSystem(
      f'{path} is damaged, or another one: its sha256 is {found}, wanted'
      f' {wanted}; reinstall or export again.'
    )


def write_config(folder: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Writes the config with the digests of the tensors beside it."""
  files = {
    p.name: atomic.sha256(p) for p in sorted(folder.glob('*.safetensors'))
  }
  text = json.dumps({'format': FORMAT, **config, 'files': files}, indent=1)
  atomic.write_text(folder / CONFIG_NAME, text + '\n')
