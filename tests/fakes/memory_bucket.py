"""gs:// in the memory of this process, as an object store keeps it."""

from collections.abc import Callable
import datetime
import importlib
import io

from etils.epath import backend
import fsspec
import pytest


class MemoryBucket(fsspec.AbstractFileSystem):
  """Objects by key: no folders, and an object appears when it is closed.

  Attributes:
    objects: Content by key, bucket first.
    num_reads: Number of times that each key was opened to be read.
    before: Function that is called with an operation and a key, to fail it.
  """

  protocol = ('gs', 'gcs')
  cachable = False
  objects: dict[str, bytes] = {}
  num_reads: dict[str, int] = {}
  before: Callable[[str, str], None] = staticmethod(lambda operation, key: None)

  def ls(self, path, detail=True, **kwargs):
    key = self._strip_protocol(path)
    entries = {}
    for name, content in list(self.objects.items()):
      if name == key:
        return [self._entry(name, content)] if detail else [name]
      if name.startswith(f'{key}/'):
        inside, _, deeper = name[len(key) + 1 :].partition('/')
        name = f'{key}/{inside}'
        entries[name] = (
          {'name': name, 'size': 0, 'type': 'directory'}
          if deeper
          else self._entry(name, content)
        )
    if not entries:
      raise FileNotFoundError(path)
    return list(entries.values()) if detail else list(entries)

  def _entry(self, name, content):
    return {
      'name': name,
      'size': len(content),
      'type': 'file',
      'etag': str(hash(content)),
      'mtime': datetime.datetime(2026, 1, 1),
    }

  def mkdir(self, path, create_parents=True, **kwargs):
    pass

  makedirs = mkdir

  def rmdir(self, path):
    pass

  def rm(self, path, recursive=False, maxdepth=None):
    key = self._strip_protocol(path)
    inside = [k for k in self.objects if k.startswith(f'{key}/')]
    keys = [k for k in (key, *inside * recursive) if k in self.objects]
    if not keys:
      raise FileNotFoundError(path)
    for key in keys:
      type(self).before('remove', key)
      del self.objects[key]

  rm_file = rm

  def cp_file(self, path1, path2, **kwargs):
    source, target = map(self._strip_protocol, (path1, path2))
    type(self).before('copy', target)
    if source in self.objects:
      self.objects[target] = self.objects[source]

  def _open(self, path, mode='rb', **kwargs):
    key = self._strip_protocol(path)
    type(self).before('write' if 'w' in mode else 'read', key)
    if mode == 'rb':
      if key not in self.objects:
        raise FileNotFoundError(path)
      self.num_reads[key] = self.num_reads.get(key, 0) + 1
      return io.BytesIO(self.objects[key])
    return _Written(self, key, self.objects.get(key, b'') * ('a' in mode))


class _Written(io.BytesIO):
  def __init__(self, bucket, key, content):
    super().__init__()
    self._bucket, self._key = bucket, key
    self.write(content)

  def close(self):
    if not self.closed:
      self._bucket.objects[self._key] = self.getvalue()
    super().close()


@pytest.fixture
def bucket(monkeypatch, tmp_path):
  """The objects behind gs://, for this test; copies go to a folder of it."""
  monkeypatch.setenv('V2MEOW_CACHE_DIR', str(tmp_path / 'copies'))
  return install(monkeypatch)


def install(monkeypatch: pytest.MonkeyPatch) -> type[MemoryBucket]:
  """Puts an empty bucket behind gs://."""
  monkeypatch.setattr(MemoryBucket, 'objects', {})
  monkeypatch.setattr(MemoryBucket, 'num_reads', {})
  monkeypatch.setattr(MemoryBucket, 'before', MemoryBucket.before)
  known = importlib.import_module('fsspec.registry')._registry
  for scheme in MemoryBucket.protocol:
    monkeypatch.setitem(known, scheme, MemoryBucket)
  # `epath` keeps those that it has made.
  monkeypatch.setattr(
    backend.fsspec_backend, '_get_filesystem', fsspec.filesystem
  )
  return MemoryBucket
