"""Networks that transformers runs, from a folder or from the hub's cache.

Nothing is downloaded and no code of a repository is run; weights are read of
safetensors alone.
"""

from __future__ import annotations

import importlib
import os
import pathlib
from typing import Any

WEIGHTS = 'model.safetensors'
# What `v2meow weights` makes of a published pytorch_model.bin.
CONVERTED = 'pytorch_model.safetensors'


def import_library(name: str) -> Any:
  """A library of the extra `hub`; ImportError says how to install it."""
  try:
    if name.startswith('transformers'):
      # Without it, transformers imports, and only its models complain.
      importlib.import_module('torch')
    return importlib.import_module(name)
  except ImportError as e:
    raise ImportError(
      f'{name} is missing; published networks need the extra `hub`: python -m pip'
      " install -c requirements.lock -e '.[hub]'"
    ) from e


def folder_of(source: str | os.PathLike) -> str | os.PathLike:
  """The folder of a file, as `v2meow weights` gives one; others as they are."""
  path = pathlib.Path(source)
  return path.parent if path.is_file() else source


def load_tensors(file: pathlib.Path) -> dict[str, Any]:
  """The tensors of a safetensors file by name; ValueError if it is damaged."""
  tensors_io = import_library('safetensors.torch')
  try:
    return tensors_io.load_file(file)
  except Exception as e:
    raise ValueError(
      f'{file} is damaged or no safetensors file: {first_line(e)}.'
    ) from e


def find_weights(source: str | os.PathLike) -> pathlib.Path:
  """The safetensors of a folder, converted or published, or of a repository.

  Raises:
    FileNotFoundError: See `find_file`.
  """
  converted = pathlib.Path(source) / CONVERTED
  return converted if converted.is_file() else find_file(source, WEIGHTS)


def find_file(source: str | os.PathLike, name: str) -> pathlib.Path:
  """One file of a folder, or of a repository in the cache of the hub.

  Args:
    source: See `load_files`.
    name: Of the file.

  Returns:
    Its path.

  Raises:
    FileNotFoundError: It is not there; says how to get it.
  """
  path = pathlib.Path(source)
  if path.is_dir() and (path / name).is_file():
    return path / name
  hub_library = import_library('huggingface_hub')
  try:
    return pathlib.Path(
      hub_library.hf_hub_download(
        os.fspath(source), name, local_files_only=True
      )
    )
  except (OSError, ValueError) as e:
    raise FileNotFoundError(
      f'there is no {name} at {os.fspath(source)!r}: {_advice(source)}.'
    ) from e


def load_files(kind: Any, source: str | os.PathLike, **options: Any) -> Any:
  """Anything of transformers that is read by `from_pretrained`.

  Args:
    kind: A class of transformers.
    source: A folder, or the name of a repository of the hub, in its cache.
    **options: Of `from_pretrained`.

  Returns:
    What it gives.

  Raises:
    FileNotFoundError: The files are not there; says how to get them.
    ValueError: They cannot be read, or are not what `kind` is made of.
  """
  path = os.fspath(source)
  try:
    return kind.from_pretrained(path, local_files_only=True, **options)
  except OSError as e:
    raise FileNotFoundError(
      f'no {kind.__name__} is at {path!r}, neither as a folder nor in the cache'
      f' of the hub: {_advice(source)}. ({first_line(e)})'
    ) from e
  except Exception as e:
    raise ValueError(
      f'{path!r} holds no {kind.__name__} that can be read: {first_line(e)};'
      f' {_advice(source)}.'
    ) from e


def _advice(source: str | os.PathLike) -> str:
  name = os.fspath(source)
  if pathlib.Path(name).is_absolute() or name.count('/') != 1:
    return (
      f'put the published files into {name}, with model.safetensors or, where'
      f' that was not published, {CONVERTED}, which `v2meow weights import`'
      ' makes'
    )
  return (
    f'`hf download {name}` on a machine with a network, or download'
    f' https://huggingface.co/{name} into a folder and name that; where it has'
    ' no safetensors, `v2meow weights` makes one of its pytorch_model.bin'
  )


def first_line(error: Exception) -> str:
  """What an error says first, which is what can be put into another one."""
  return str(error).strip().partition('\n')[0][:300]
