"""Checks the output path of a verb before its work; writes json beside it."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
import tempfile
from typing import Any

from v2meow_jax.files import atomic


def checked(output: str, suffixes: Sequence[str]) -> pathlib.Path:
  """Checks that an output path can be written, and returns it.

  Args:
    output: Path that the user gave.
    suffixes: Suffixes that can be written.

  Returns:
    The path.

  Raises:
    ValueError: Another suffix, or a directory.
    OSError: Its folder cannot be written to.
  """
  path = pathlib.Path(output)
  if path.suffix.lower() not in suffixes:
    raise ValueError(
      f'{output!r} has the extension {path.suffix or None}; wanted one of'
      f' {", ".join(suffixes)}.'
    )
  if path.is_dir():
    raise ValueError(f'{output!r} is a directory; wanted a file name.')
  try:
    with tempfile.NamedTemporaryFile(dir=path.parent):
      pass
  except OSError as e:
    raise OSError(
      f'{path.parent} cannot be written ({e.strerror}); give -o another folder.'
    ) from e
  return path


def sidecar(path: pathlib.Path) -> pathlib.Path:
  """`out.mp4.json` of `out.mp4`."""
  return path.with_name(path.name + '.json')


def check_inputs_survive(
  paths: Sequence[pathlib.Path], *inputs: str | None
) -> None:
  """Raises ValueError rather than replace an input, or write on a folder."""
  for path in paths:
    if path.is_dir():
      raise ValueError(f'{str(path)!r} is a directory; give -o another name.')
    for given in filter(None, inputs):
      both = path.exists() and pathlib.Path(given).exists()
      if both and path.samefile(given):
        raise ValueError(
          f'{str(path)!r} is an input as well, which would be lost; give -o'
          ' another name.'
        )


def write_json(path: pathlib.Path, facts: Mapping[str, Any]) -> None:
  """Writes json, whole or not at all."""
  text = json.dumps(facts, indent=1, ensure_ascii=False)
  atomic.write_text(path, text + '\n')
