"""Reads and writes the config of a released system, with digests of its files."""

from collections.abc import Mapping
import hashlib
import json
import pathlib
from typing import Any

from v2meow_jax.files import atomic

CONFIG_NAME = 'config.json'
FORMAT = 3
_DIGEST = 'config_sha256'
# Written by earlier versions, and still read.
_FORMATS = (1, 2, FORMAT)


# Licence of weights of which nobody has said anything.
NOT_STATED = 'not stated'


class DamagedSystem(ValueError):
  """A system's folder is incomplete, or a file differs from the released one."""


def read_config(folder: pathlib.Path) -> dict[str, Any]:
  """Reads a system's config and checks every file that it names.

  Raises:
    DamagedSystem: A file is missing or changed; the message names it, what it
      is and what was wanted.
  """
  config = read_config_alone(folder)
  files = config.get('files')
  if not isinstance(files, dict) or any(map(_leads_elsewhere, files)):
    raise DamagedSystem(
      f'{folder / CONFIG_NAME} does not name files of its folder, but {files!r};'
      ' export it again.'
    )
  for name, wanted in files.items():
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
      ' `v2meow export` wrote, or the name of one that ships: songs, tiny.'
    )
  try:
    config = json.loads(path.read_bytes())
  except (ValueError, RecursionError) as e:
    raise DamagedSystem(f'{path} is not JSON: {e}; export it again.') from e
  if not isinstance(config, dict) or config.get('format') not in _FORMATS:
    raise DamagedSystem(
      f'{path} is not of system format {FORMAT}; export it again with this'
      ' version.'
    )
  # Configs of earlier versions have none.
  recorded = config.pop(_DIGEST, None)
  if recorded not in (None, _digest(config)):
    raise DamagedSystem(
      f'{path} was changed after its export: the {_DIGEST} of its content is'
      f' {_digest(config)}, and it says {recorded}; reinstall or export again,'
      f' or remove its line {_DIGEST!r} to use it as it is.'
    )
  return config


def _leads_elsewhere(name: str) -> bool:
  return name != pathlib.PurePath(name).name


def _digest(config: Mapping[str, Any]) -> str:
  """SHA-256 of the content of a config, however it is laid out."""
  text = json.dumps(config, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def check_digest(path: pathlib.Path, wanted: str) -> None:
  """Raises DamagedSystem unless a file has the digest of its export."""
  digest = atomic.sha256(path)
  if digest != wanted:
    raise DamagedSystem(
      f'{path} is damaged, or another one: its sha256 is {digest}, wanted'
      f' {wanted}; reinstall or export again.'
    )


def write_config(folder: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Writes the config with its digest and those of the tensors beside it."""
  files = {
    p.name: atomic.sha256(p) for p in sorted(folder.glob('*.safetensors'))
  }
  whole = {'format': FORMAT, **config, 'files': files}
  text = json.dumps({**whole, _DIGEST: _digest(whole)}, indent=1)
  atomic.write_text(folder / CONFIG_NAME, text + '\n')
