"""Checks the output path of a verb before its work; writes json beside it."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import os
import pathlib
import tempfile
from typing import Any

from v2meow_jax.files import atomic
from v2meow_jax.files import paths

SIDECAR_SUFFIX = '.json'  # After that of the output.
# In the sidecar of an output that is being replaced: the sidecar of the new one.
REPLACED_BY = 'replaced_by'


def checked(output: str, suffixes: Sequence[str]) -> pathlib.Path:
  """Checks that an output path can be written, and returns it.

  Args:
    output: Path that the user gave, here or in a bucket.
    suffixes: Suffixes that can be written.

  Returns:
    The path.

  Raises:
    ValueError: Another suffix, or a directory.
    OSError: Its folder cannot be written to, or cannot hold its name.
  """
  if not output:
    raise ValueError(
      f'the name of the output is empty; wanted one in {", ".join(suffixes)}.'
    )
  path = paths.path(output)
  if path.is_dir() or output.endswith(('/', os.sep)):
    raise ValueError(
      f'{output!r} is a directory; wanted a file name in it, such as'
      f' {str(path / f"out{suffixes[0]}")!r}.'
    )
  if path.suffix.lower() not in suffixes:
    had = f'the extension {path.suffix}' if path.suffix else 'no extension'
    raise ValueError(
      f'{output!r} has {had}; wanted one of {", ".join(suffixes)}.'
    )
  paths.require_writable(path.parent)
  if not paths.is_remote(path):
    _require_name(sidecar(path))
    if path.is_symlink():
      paths.require_writable(path.resolve().parent)
  return path


def _require_name(path: pathlib.Path) -> None:
  """Raises OSError when the disk of a file cannot hold its name."""
  with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    try:
      pathlib.Path(folder, path.name).touch()
    except OSError as e:
      raise OSError(
        f'{str(path)!r} has a name that its disk cannot hold ({e.strerror});'
        ' give -o another name.'
      ) from e


def sidecar(path: pathlib.Path) -> pathlib.Path:
  """`out.mp4.json` of `out.mp4`."""
  return path.with_name(path.name + SIDECAR_SUFFIX)


def of_file(content: Any, digest: str | None) -> dict[str, Any]:
  """What a sidecar says of the output that is there.

  >>> content = {'takes': 1, REPLACED_BY: {'takes': 2, 'output_sha256': 'b'}}
  >>> of_file(content, 'a')
  {'takes': 1}
  >>> of_file(content, 'b')
  {'takes': 2, 'output_sha256': 'b'}

  Args:
    content: Content of the sidecar.
    digest: Digest of the output; None: there is none.

  Raises:
    TypeError: The content is no mapping.
    ValueError: The same.
  """
  facts = dict(content)
  after = facts.pop(REPLACED_BY, None)
  if isinstance(after, dict) and after.get('output_sha256') == digest:
    return after
  return facts


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
