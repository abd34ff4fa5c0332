"""Reads and writes the config of a released system, with digests of its files."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from v2meow_jax.files import atomic

CONFIG_NAME = 'config.json'
FORMAT = 2
# Written by earlier versions, and still read.
_FORMATS = (1, FORMAT)


class DamagedSystem(ValueError):
  """A system's folder is incomplete, or a file differs from the released one."""


def read_config(folder: pathlib.Path) -> dict[str, Any]:
  """Reads a system's config and checks every file that it names.

  Raises:
    DamagedSystem: A file is missing or changed; the message names it, what it
      is and what was wanted.
  """
  config = read_config_alone(folder)
  for name, wanted in config['files'].items():
    file = folder / name
    if not file.is_file():
      raise DamagedSystem(f'{file} is missing; reinstall or export again.')
    check_digest(file, wanted)
  return config


def read_config_alone(folder: pathlib.Path) -> dict[str, Any]:
  """Reads a system's config alone, not its weights; raises DamagedSystem."""
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
  """Raises DamagedSystem unless a file has the digest of its export."""
  digest = atomic.sha256(path)
  if digest != wanted:
    raise DamagedSystem(
      f'{path} is damaged, or another one: its sha256 is {digest}, wanted'
      f' {wanted}; reinstall or export again.'
    )


def write_config(folder: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Writes the config with the digests of the tensors beside it."""
  files = {
    p.name: atomic.sha256(p) for p in sorted(folder.glob('*.safetensors'))
  }
  text = json.dumps({'format': FORMAT, **config, 'files': files}, indent=1)
  atomic.write_text(folder / CONFIG_NAME, text + '\n')
