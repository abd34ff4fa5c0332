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
  from gcp_storage_emulator.handlers import objects
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

  patch.setattr(objects, 'download', _with_generation(objects.download))
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


def _with_generation(download):
  """Names the generation of an object, as Google Cloud Storage does.

  Without it TensorStore cannot write again what it has read, which it does where
  a write takes so long that it looks once more.
  """

  def handle(request, response, storage, *args, **kwargs):
    download(request, response, storage, *args, **kwargs)
    if response.status < 300:
      names = request.params['bucket_name'], request.params['object_id']
      response['X-Goog-Generation'] = storage.get_file_obj(*names)['generation']

  return handle


@pytest.fixture
def bucket_url(bucket_server, monkeypatch, tmp_path):
  """A folder of its own in a bucket of a real server."""
  del bucket_server
  monkeypatch.setenv('V2MEOW_CACHE_DIR', str(tmp_path / 'copies'))
  return f'gs://bucket/test_{next(_numbers)}'
