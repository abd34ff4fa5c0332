"""A full disk is named with the file that did not fit, and with sizes."""

import errno
import io
import pathlib
import shutil
import types

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.files import full_disk
from v2meow_jax.files import write


@pytest.fixture
def free(monkeypatch):
  """3 MB are free."""
  usage = types.SimpleNamespace(free=3_000_000)
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage)


@pytest.mark.usefixtures('free')
@pytest.mark.parametrize(
  'error',
  [
    OSError(errno.ENOSPC, 'No space left on device', '/hidden'),
    OSError(errno.EDQUOT, 'Disk quota exceeded'),
    RuntimeError('I/O error: No space left on device (os error 28)'),
  ],
)
@pytest.mark.parametrize('whole', [atomic.replacing, atomic.replacing_folder])
def test_what_did_not_fit_is_named_with_sizes(whole, error, tmp_path):
  target = tmp_path / 'out.bin'
  options = {} if whole is atomic.replacing else {'marker': 'a'}
  with pytest.raises(OSError) as raised, whole(target, **options) as temp:
    path = pathlib.Path(temp)
    (path / 'a' if path.is_dir() else path).write_bytes(b'x' * 2_000_000)
    try:
      raise error
    except Exception as e:
      raise ValueError('the copy failed') from e
  assert raised.value.errno == errno.ENOSPC
  assert raised.value.filename == str(target)
  assert 'over 3.0 MB are needed and 3.0 MB are free' in str(raised.value)
  assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures('free')
def test_a_file_that_is_made_of_another_keeps_its_size(tmp_path):
  target = tmp_path / 'out.bin'
  with pytest.raises(OSError) as raised, atomic.replacing(target) as outer:
    with atomic.replacing(outer) as inner:
      pathlib.Path(inner).write_bytes(b'x' * 2_000_000)
      raise OSError(errno.ENOSPC, 'No space left on device', inner)
  assert raised.value.filename == str(target)
  assert 'over 3.0 MB are needed and 3.0 MB are free' in str(raised.value)
  assert not list(tmp_path.iterdir())


def test_sound_that_does_not_fit_is_named(tmp_path, monkeypatch, free):
  class Full(io.FileIO):
    def write(self, data):
      raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(
    write, 'open', lambda path, mode, buffering: Full(path, 'w+'), raising=False
  )
  for suffix in media.WRITTEN_AUDIO_SUFFIXES:
    path = tmp_path / f'out{suffix}'
    silence = media.Audio(samples=np.zeros(99, np.float32), rate_hz=8000)
    with pytest.raises(OSError, match='the disk is full') as raised:
      write.write_audio(path, silence)
    assert raised.value.filename == str(path)


@pytest.mark.usefixtures('free')
def test_room_is_checked_before_the_work(tmp_path):
  full_disk.check(tmp_path / 'out', 2_999_999)
  with pytest.raises(OSError, match='about 3.1 MB are needed and 3.0 MB'):
    full_disk.check(tmp_path / 'out', 3_100_000)


def test_other_errors_pass(tmp_path):
  with pytest.raises(RuntimeError, match='other'):
    with atomic.replacing(tmp_path / 'a'):
      raise RuntimeError('other')
