"""One kind of path for what users name: here, or in a bucket.

Buckets are reached by `etils.epath` through fsspec: gs:// with the extra
`buckets`, s3:// with s3fs.
"""

from __future__ import annotations

import functools
import os
import pathlib
import posixpath
import secrets
import shlex
import tempfile
from typing import Any

from etils import epath
import fsspec.config
import fsspec.core

import v2meow_jax

# The package that fsspec and `epath` reach a scheme with.
SCHEMES = {'gs': 'gcsfs', 's3': 's3fs'}
_PACKAGES = {'aiohttp', 'botocore', 'google', *SCHEMES.values()}


def is_remote(path: epath.PathLike) -> bool:
  """Whether a path names something in a bucket."""
  return _scheme(path) in SCHEMES


def _scheme(name: epath.PathLike) -> str:
  """What a path has before '://', or ''."""
  scheme, colon, _ = os.fspath(name).partition('://')
  return scheme if colon else ''


def path(name: epath.PathLike) -> pathlib.Path:
  """Turns the name of a file or folder, here or in a bucket, into a path.

  That of a bucket is an `epath.Path`, which has the methods of `pathlib.Path`
  that a bucket can serve.

  Raises:
    ValueError: The name has another scheme than those of buckets.
  """
  _check_scheme(name)
  if not is_remote(name):
    return pathlib.Path(name).expanduser()
  _require_package(_scheme(name))
  remote: Any = epath.Path(os.fspath(name))
  return remote


def _check_scheme(name: epath.PathLike) -> None:
  scheme, colon, _ = os.fspath(name).partition('://')
  if colon and scheme not in SCHEMES:
    wanted = ' or '.join(f'{known}://' for known in SCHEMES)
    raise ValueError(
      f'{os.fspath(name)!r} begins with {scheme}://; wanted a path of this'
      f' machine, or one in a bucket: {wanted}. Download what lies elsewhere.'
    )


def user_cache() -> pathlib.Path:
  """The folder of all that is kept for a user: v2meow in the user's caches.

  These lie in $XDG_CACHE_HOME, or in ~/.cache.

  Raises:
    RuntimeError: The user has no home.
  """
  folder = os.environ.get('XDG_CACHE_HOME')
  caches = pathlib.Path(folder) if folder else pathlib.Path.home() / '.cache'
  return caches / 'v2meow'


def absolute(name: epath.PathLike) -> str:
  """The absolute name of a file or folder; that of a bucket is one already.

  Raises:
    ValueError: The name has another scheme than those of buckets.
  """
  _check_scheme(name)
  return os.fspath(path(name)) if is_remote(name) else os.path.abspath(name)


def same(one: epath.PathLike, other: epath.PathLike) -> bool:
  """Whether two names, of which each may be missing, are of one file."""
  if is_remote(one) or is_remote(other):
    return absolute(one) == absolute(other)
  return (
    os.path.exists(one)
    and os.path.exists(other)
    and os.path.samefile(one, other)
  )


def require_writable(folder: pathlib.Path) -> None:
  """Raises OSError unless files can be written to a folder or bucket."""
  try:
    if is_remote(folder):
      probe = folder / f'.writable-{secrets.token_hex(8)}'
      probe.write_bytes(b'')
      probe.unlink()
      return
    with tempfile.TemporaryFile(dir=folder):
      pass
  except ImportError:
    raise
  # Each package of buckets has errors of its own.
  except Exception as e:
    reason = getattr(e, 'strerror', None) or e
    advice = 'give -o another folder.'
    if isinstance(e, FileNotFoundError) and not folder.exists():
      advice = f'make it (mkdir -p {shlex.quote(str(folder))}), or {advice}'
    raise OSError(f'{folder} cannot be written ({reason}); {advice}') from e


def join(folder: epath.PathLike, name: str) -> str:
  """Resolves a name against a folder, unless it is absolute or in a bucket.

  >>> join('gs://bucket/world', 'clips/a.mp4')
  'gs://bucket/world/clips/a.mp4'
  >>> join('gs://bucket/world', '../other/a.mp4')
  'gs://bucket/other/a.mp4'
  >>> join('gs://bucket/world', 's3://bucket/a.mp4')
  's3://bucket/a.mp4'

  Raises:
    ValueError: The name has an unknown scheme, or leads out of the bucket.
  """
  _check_scheme(name)
  if is_remote(name) or os.path.isabs(name):
    return name
  if not is_remote(folder):
    return os.path.join(folder, name)
  # Keys of objects know no `..`.
  scheme, _, place = os.fspath(folder).partition('://')
  bucket, _, key = place.partition('/')
  key = posixpath.normpath(posixpath.join(key, name))
  if key.split('/')[0] == '..':
    raise ValueError(f'{name!r} leads out of the bucket of {folder}.')
  return f'{scheme}://{bucket}/{key}'


def inside(folder: pathlib.Path) -> list[str]:
  """Names of all files in a folder and its folders, hidden ones too, sorted.

  >>> inside(pathlib.Path('/nowhere'))
  []
  """
  if is_remote(folder):
    remote, root = file_system(folder)
    names = [name.removeprefix(f'{root}/') for name in remote.find(root)]
  else:
    files = (path for path in folder.rglob('*') if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
  return sorted(names, key=pathlib.PurePosixPath)


def size(file: pathlib.Path) -> int:
  """Size of a file in bytes; FileNotFoundError where there is none."""
  if is_remote(file):
    remote, name = file_system(file)
    return remote.size(name)
  return file.stat().st_size


def sizes(folder: pathlib.Path) -> dict[str, int]:
  """Names and sizes in bytes of the files that lie in a folder directly."""
  if is_remote(folder):
    remote, root = file_system(folder)
    entries = [e for e in remote.ls(root, detail=True) if e['type'] == 'file']
    return {e['name'].removeprefix(f'{root}/'): e['size'] for e in entries}
  files = (entry for entry in os.scandir(folder) if entry.is_file())
  return {entry.name: entry.stat().st_size for entry in files}


def file_system(name: epath.PathLike) -> tuple[Any, str]:
  """The fsspec file system of a bucket, and the name that it knows a path by.

  Raises:
    ImportError: The package that reaches this scheme is not installed.
  """
  _require_package(_scheme(name))
  return fsspec.core.url_to_fs(os.fspath(name))


@functools.cache
def _require_package(scheme: str) -> None:
  """Raises ImportError where what reaches a scheme is not installed."""
  _use_fsspec()
  try:
    fsspec.get_filesystem_class(scheme)
  except ImportError as e:
    raise ImportError(
      f'{scheme}:// needs {SCHEMES[scheme]}:'
      f' {v2meow_jax.install_command(SCHEMES[scheme])}'
    ) from e


def is_of_storage(error: BaseException) -> bool:
  """Whether an error is one of a package that reaches buckets.

  These have classes of their own for who may not, and for no answer.
  """
  return type(error).__module__.partition('.')[0] in _PACKAGES


def upload(source: epath.PathLike, target: epath.PathLike) -> None:
  """Copies a local file into a bucket, where it appears whole or not at all."""
  remote, name = file_system(target)
  # Not `epath`'s copy, which commits what it has when it is interrupted.
  remote.put_file(os.fspath(source), name)


@functools.cache
def _use_fsspec() -> None:
  """Has `epath` reach buckets through fsspec even where TensorFlow is there.

  TensorFlow knows no s3://, and one backend behaves like one.
  """
  os.environ['EPATH_USE_TF'] = 'false'
  # Other processes write to the same folders, so what was listed once is old.
  for scheme in SCHEMES:
    fsspec.config.conf.setdefault(scheme, {})['use_listings_cache'] = False
  # Asked, and kept, as soon as any path was looked at.
  epath.gpath._is_tf_installed.cache_clear()
