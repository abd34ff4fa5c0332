"""Loads networks for transformers from a folder or from the hub's cache.

Nothing is downloaded, no code of a repository is run, and weights are read from
safetensors only.
"""

import importlib
import os
import pathlib
from typing import Any

WEIGHTS = 'model.safetensors'
# Converted from a published pytorch_model.bin by `v2meow weights`.
CONVERTED = 'pytorch_model.safetensors'


def import_library(name: str) -> Any:
  """Imports a library of the extra `hub`; an error says how to install it."""
  try:
    if name.startswith('transformers'):
      # Without it, transformers can be imported and only its models fail.
      importlib.import_module('torch')
    return importlib.import_module(name)
  except ImportError as e:
    raise ImportError(
      f'{name} is missing; published networks need the extra `hub`: python -m pip'
      " install -c requirements.lock -e '.[hub]'"
    ) from e


def folder_of(source: str | os.PathLike) -> str | os.PathLike:
  """Returns the folder of a file; anything else as it is."""
  path = pathlib.Path(source)
  return path.parent if path.is_file() else source


def load_tensors(file: pathlib.Path) -> dict[str, Any]:
  """Reads the tensors of a safetensors file; ValueError if it is damaged."""
  tensors_io = import_library('safetensors.torch')
  try:
    return tensors_io.load_file(file)
  except Exception as e:
    raise ValueError(
      f'{file} is damaged or no safetensors file: {first_line(e)}.'
    ) from e


def find_weights(source: str | os.PathLike) -> pathlib.Path:
  """Finds the safetensors of a folder, converted or published, or repository.

  Raises:
    FileNotFoundError: It is not there; says how to get it.
  """
  converted = pathlib.Path(source) / CONVERTED
  return converted if converted.is_file() else find_file(source, WEIGHTS)


def find_file(source: str | os.PathLike, name: str) -> pathlib.Path:
  """Finds a file of a folder, or of a repository in the cache of the hub.

  Args:
    source: Folder or repository, see `load_files`.
    name: Name of the file.

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
  """Loads an object of transformers by `from_pretrained`.

  Args:
    kind: A class of transformers.
    source: A folder, or the name of a repository of the hub, in its cache.
    **options: Options of `from_pretrained`.

  Returns:
    The object.

  Raises:
    FileNotFoundError: The files are not there; says how to get them.
    ValueError: They cannot be read, or belong to something else.
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
      f'{path!r} has no readable {kind.__name__}: {first_line(e)};'
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
  """First line of an error's message, to quote in another one."""
  return str(error).strip().partition('\n')[0][:300]
