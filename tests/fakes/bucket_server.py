"""A server of buckets on this machine, for tests that want more than a fake."""

from collections.abc import Iterator
import contextlib
import importlib.util
import itertools

import pytest

_numbers = itertools.count()


@pytest.fixture(scope='session')
def bucket_server():
  """Address of a server that speaks as Google Cloud Storage does.

  gcsfs and TensorStore, which read it from the environment, talk to it.
  """
  if importlib.util.find_spec('gcp_storage_emulator') is None:
    pytest.skip('gcp-storage-emulator is not installed (extra `dev`)')
  with serving() as environment:
    yield environment['STORAGE_EMULATOR_HOST']


@contextlib.contextmanager
def serving() -> Iterator[dict[str, str]]:
  """Serves `gs://bucket`; the environment of processes that use it."""
  with pytest.MonkeyPatch.context() as patch:
    yield from _serve(patch)


def _serve(patch):
  from gcp_storage_emulator import server as emulator
  from gcsfs import core

  server = emulator.create_server(
    'localhost', 0, in_memory=True, default_bucket='bucket'
  )
  server.start()
  http = server._api._httpd
  # Clients that have what they want close early.
  http.handle_error = lambda *_: None
  address = f'http://localhost:{http.server_address[1]}'

  async def move_file(self, source, target, **options):
    await self._cp_file(source, target)
    await self._rm_file(source)

  environment = {
    # Nobody asks Google who this is, nor of which kind the bucket is.
    'NO_GCE_CHECK': 'true',
    'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
    'STORAGE_EMULATOR_HOST': address,
    'TENSORSTORE_GCS_HTTP_URL': address,
  }
  for name, value in environment.items():
    patch.setenv(name, value)
  # It knows no `moveTo`, for which gcsfs asks several times.
  patch.setattr(core.GCSFileSystem, '_mv_file', move_file)
  yield environment
  server.stop()


@pytest.fixture
def bucket_url(bucket_server, monkeypatch, tmp_path):
  """A folder of its own in a bucket of a real server."""
  del bucket_server
  monkeypatch.setenv('V2MEOW_CACHE_DIR', str(tmp_path / 'copies'))
  return f'gs://bucket/test_{next(_numbers)}'
