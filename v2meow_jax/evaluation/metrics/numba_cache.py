"""Imports librosa so that several processes may share what numba compiles.

Numba keeps a compiled function as an index, from types of arguments to the
names of files, and those files. They are numbered, and the index is written
first and without a lock: of two processes that add other types at the same
time, both take the next number, and the index that is written last gives the
code of one for the types of the other, which computes nonsense or crashes. The
same happens when an index was begun anew beside files of an older version.
"""

import functools
import os
import pathlib
import secrets
import tempfile
import types

from v2meow_jax.files import paths
from v2meow_jax.files import private_files

_VARIABLE = 'NUMBA_CACHE_DIR'
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
  numba.config.CACHE_DIR = str(_folder(numba.__version__))
  import librosa as module

  return module


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
