"""Imports librosa so that several processes may share what numba compiles.

Numba keeps a compiled function as an index, from types of arguments to the
names of files, and those files. They are numbered, and the index is written
first and without a lock: of two processes that add other types at the same
time, both take the next number, and the index that is written last gives the
code of one for the types of the other, which computes nonsense or crashes. The
same happens when an index was begun anew beside files of an older version.

A universal function has two indices, of its loop and of the function in it, and
the loop is looked up by a name that the process which compiled the function gave
it. Of two processes that compile at the same time, one may be the last to write
one index and the other the last to write the other: then the name is not found,
and every process that ever calls it crashes. So one process compiles them at a
time, as it imports their modules, and the others wait, and read.
"""

from collections.abc import Iterator
import contextlib
import fcntl
import functools
import importlib
import os
import pathlib
import secrets
import tempfile
import types

from v2meow_jax.files import paths
from v2meow_jax.files import private_files

_VARIABLE = 'NUMBA_CACHE_DIR'
# Raised when what lies in older folders may be of no use.
_VERSION = 2
# Modules that compile universal functions when they are imported.
_COMPILING = ('util.utils', 'core.audio', 'core.pitch', 'beat')
_temporary: list[tempfile.TemporaryDirectory] = []


@functools.cache
def librosa() -> types.ModuleType:
  """Imports librosa, with a cache of compiled functions of our own.

  It lies in `$NUMBA_CACHE_DIR`, or without it in the user's cache folder; where
  neither can be written to, functions are compiled anew in every process.

  Returns:
    The module.

  Raises:
    ImportError: librosa is not installed.
  """
  import numba.core.caching

  numba.core.caching.IndexDataCacheFile._data_name = _unique_name
  folder = _folder(f'{numba.__version__}-{_VERSION}')
  numba.config.CACHE_DIR = str(folder)
  with _alone(folder):
    module = importlib.import_module('librosa')
    for name in _COMPILING:
      importlib.import_module(f'librosa.{name}')
  return module


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
  """Waits until no other process compiles into a folder."""
  with (folder / 'lock').open('w') as lock:
    # Where a disk knows no locks, processes are as likely to meet as ever.
    with contextlib.suppress(OSError):
      fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _unique_name(file, number: int) -> str:
  """Name of the file of one compiled function, which no process takes twice.

  An index then names code that was compiled for its types, or a file that is
  not there (yet), which numba takes for nothing kept.
  """
  return file._data_name_pattern.format(number=number).replace(
    '.nbc', f'-{secrets.token_hex(8)}.nbc'
  )


def _folder(version: str) -> pathlib.Path:
  """Folder of what this version of numba compiled under unique names."""
  try:
    base = pathlib.Path(os.environ.get(_VARIABLE) or paths.user_cache())
    folder = base / f'numba-{version}'
    if private_files.make_folder(folder):
      return folder
  except RuntimeError:
    pass  # There is no home.
  _temporary.append(tempfile.TemporaryDirectory(prefix='v2meow-numba-'))
  return pathlib.Path(_temporary[-1].name)
