"""Copies of files in buckets: fresh, whole, bounded, and of no name from there."""

import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest

from v2meow_jax.files import copies

_NAME = re.compile(r'[0-9a-f]{64}')


def put(bucket, name: str, content: bytes) -> str:
  bucket.objects[f'bucket/{name}'] = content
  return f'gs://bucket/{name}'


def read(path: str) -> bytes:
  with copies.held(path) as file:
    return file.read_bytes()


@pytest.fixture
def folder(bucket, tmp_path, monkeypatch) -> pathlib.Path:
  """The folder of copies, which holds 100 bytes."""
  monkeypatch.setenv(copies.SIZE_VARIABLE, '1e-7')
  return tmp_path / 'copies'


def test_a_file_of_this_machine_is_itself(tmp_path):
  with copies.held(tmp_path / 'a') as file:
    assert file == tmp_path / 'a'


def test_a_file_is_read_once_until_it_changes(bucket, folder):
  path = put(bucket, '../a b\n/$(id).mp4', b'1')
  assert read(path) == read(path) == b'1'
  assert list(bucket.num_reads.values()) == [1]
  # No word of the bucket's becomes a name here.
  assert all(_NAME.fullmatch(p.name) for p in folder.iterdir())
  put(bucket, '../a b\n/$(id).mp4', b'2')
  assert read(path) == b'2'


def test_copies_used_longest_ago_leave_when_there_is_no_room(bucket, folder):
  paths = [put(bucket, f'{n}', bytes([n]) * 40) for n in range(3)]
  for number, path in enumerate([paths[0], paths[1], paths[0], paths[2]]):
    read(path)
    for copy in folder.iterdir():  # Clocks of file systems are coarse.
      os.utime(copy, ns=(0, copy.stat().st_mtime_ns - 10**9))
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 100, number
  assert read(paths[0])[:1] == b'\0' and bucket.num_reads['bucket/0'] == 1
  read(paths[1])
  assert bucket.num_reads['bucket/1'] == 2


def test_a_copy_that_is_held_stays(bucket, folder):
  first, second = (put(bucket, n, n.encode() * 60) for n in 'ab')
  with copies.held(first) as file:
    assert read(second) == b'b' * 60
    assert file.read_bytes() == b'a' * 60
  read(put(bucket, 'c', b'c' * 60))
  assert len(list(folder.iterdir())) == 1


def test_a_file_larger_than_all_copies_is_refused(bucket, folder):
  path = put(bucket, 'a', b'1' * 101)
  with pytest.raises(copies.CopyError, match='raise .V2MEOW_CACHE_GB'):
    read(path)
  assert not bucket.num_reads


def test_a_copy_that_is_cut_short_is_none(bucket, folder, monkeypatch):
  path = put(bucket, 'a', b'1' * 50)
  with monkeypatch.context() as patch:

    def get_file(self, name, file):
      pathlib.Path(file).write_bytes(b'1' * 49)

    patch.setattr(bucket, 'get_file', get_file)
    with pytest.raises(copies.CopyError, match='49 of 50 bytes'):
      read(path)
  assert not list(folder.iterdir())
  assert read(path) == b'1' * 50


def test_what_a_dead_process_left_is_filled_again(bucket, folder):
  path = put(bucket, 'a', b'1' * 50)
  read(path)
  (copy,) = folder.iterdir()
  copy.rename(copy.with_name(f'{copy.name}.part'))
  assert read(path) == b'1' * 50 and [copy] == list(folder.iterdir())


def test_threads_of_one_file_wait_for_one_copy(bucket, folder):
  path = put(bucket, 'a', b'1' * 50)
  contents = []
  threads = [
    threading.Thread(target=lambda: contents.append(read(path)))
    for _ in range(8)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert contents == [b'1' * 50] * 8 and bucket.num_reads['bucket/a'] == 1


def test_what_another_fills_after_a_look_is_not_filled_again(
  bucket, folder, monkeypatch
):
  path = put(bucket, 'a', b'1' * 50)
  real, looks = os.open, []

  def late(name, *args, **options):
    if not looks and pathlib.Path(name).parent == folder:
      looks.append(name)
      assert read(path) == b'1' * 50  # As another process, in between.
      raise FileNotFoundError(name)
    return real(name, *args, **options)

  monkeypatch.setattr(os, 'open', late)
  assert read(path) == b'1' * 50 and len(looks) == 1
  assert bucket.num_reads['bucket/a'] == 1
  assert [_NAME.fullmatch(p.name) is None for p in folder.iterdir()] == [False]


# Reads files in turn and checks them; other processes drop them meanwhile.
_READER = """
import sys
import pytest
from tests.fakes import memory_bucket
from v2meow_jax.files import copies

bucket = memory_bucket.install(pytest.MonkeyPatch())
for letter in 'abcd':
  bucket.objects[f'bucket/{letter}'] = letter.encode() * 40
print('ready', flush=True)
sys.stdin.readline()
for turn in range(200):
  letter = 'abcd'[(turn * 7 + int(sys.argv[1])) % 4]
  with copies.held(f'gs://bucket/{letter}') as file:
    assert file.read_bytes() == letter.encode() * 40
"""


@pytest.mark.slow
def test_processes_share_copies_that_do_not_all_fit(folder, root):
  readers = [
    subprocess.Popen(
      [sys.executable, '-c', _READER, str(seed)],
      cwd=root,
      env={**os.environ, 'PYTHONPATH': str(root)},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    for seed in range(3)
  ]
  for reader in readers:
    assert reader.stdout.readline() == 'ready\n'
  for reader in readers:
    reader.stdin.write('\n')
    reader.stdin.close()
  assert [reader.wait() for reader in readers] == [0, 0, 0]
  assert all(_NAME.fullmatch(p.name) for p in folder.iterdir())


def test_a_size_that_is_no_number_is_named(bucket, monkeypatch):
  monkeypatch.setenv(copies.SIZE_VARIABLE, 'big')
  with pytest.raises(ValueError, match="V2MEOW_CACHE_GB is 'big'"):
    read(put(bucket, 'a', b'1'))


def test_a_file_that_is_not_there_or_is_a_folder_is_named(bucket):
  put(bucket, 'folder/a', b'1')
  for name in ('no', 'folder'):
    with pytest.raises(FileNotFoundError, match=f'bucket/{name}'):
      read(f'gs://bucket/{name}')


def test_a_folder_of_weights_becomes_links_to_copies(bucket, folder):
  for name in ('config.json', 'deeper/.zarray'):
    put(bucket, f'w/{name}', name.encode())
  local = copies.local('gs://bucket/w')
  assert (local / 'config.json').read_text() == 'config.json'
  assert (local / 'deeper/.zarray').read_text() == 'deeper/.zarray'
  for number in range(4):  # They are held.
    read(put(bucket, f'{number}', b'1' * 50))
  assert (local / 'config.json').read_text() == 'config.json'


@pytest.mark.parametrize('name', ['../../escaped', 'a//b', 'a b', '$(id)'])
def test_a_folder_with_a_name_that_is_not_plain_is_refused(bucket, name):
  put(bucket, f'w/{name}', b'1')
  with pytest.raises(copies.CopyError, match='no name for a file of weights'):
    copies.local('gs://bucket/w')
