"""Checks the output path of a verb before its work; writes json beside it."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
from typing import Any

from v2meow_jax.files import atomic
from v2meow_jax.files import paths


def checked(output: str, suffixes: Sequence[str]) -> pathlib.Path:
  """Checks that an output path can be written, and returns it.

  Args:
    output: Path that the user gave, here or in a bucket.
    suffixes: Suffixes that can be written.

  Returns:
    The path.

  Raises:
    ValueError: Another suffix, or a directory.
    OSError: Its folder cannot be written to.
  """
  path = paths.path(output)
  if path.suffix.lower() not in suffixes:
    raise ValueError(
      f'{output!r} has the extension {path.suffix or None}; wanted one of'
      f' {", ".join(suffixes)}.'
    )
  if path.is_dir():
    raise ValueError(f'{output!r} is a directory; wanted a file name.')
  paths.require_writable(path.parent)
  if not paths.is_remote(path) and path.is_symlink():
    paths.require_writable(path.resolve().parent)
  return path


def sidecar(path: pathlib.Path) -> pathlib.Path:
  """`out.mp4.json` of `out.mp4`."""
  return path.with_name(path.name + '.json')


def check_inputs_survive(
  written: Sequence[pathlib.Path], *inputs: str | None
) -> None:
  """Raises ValueError rather than replace an input, or write on a folder."""
  for path in written:
    if path.is_dir():
      raise ValueError(f'{str(path)!r} is a directory; give -o another name.')
    for given in filter(None, inputs):
      if paths.same(path, given):
        raise ValueError(
          f'{str(path)!r} is an input as well, which would be lost; give -o'
          ' another name.'
        )


def write_json(path: pathlib.Path, facts: Mapping[str, Any]) -> None:
  """Writes json, whole or not at all."""
  text = json.dumps(facts, indent=1, ensure_ascii=False)
  atomic.write_text(path, text + '\n')
