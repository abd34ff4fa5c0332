"""What is put into place is old, absent or whole; digests know every byte."""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from v2meow_jax.files import atomic


def test_a_file_is_replaced_when_the_block_succeeds(tmp_path):
  path = tmp_path / 'a.txt'
  path.write_text('old')
  with atomic.replacing(path) as temp:
    with open(temp, 'w') as f:
      f.write('new')
    assert path.read_text() == 'old'
    assert os.path.dirname(temp) == str(tmp_path) and temp.endswith('.txt')
  assert path.read_text() == 'new' and list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_share_a_temporary_name(tmp_path):
  path = tmp_path / 'a'
  with atomic.replacing(path) as one, atomic.replacing(path) as other:
    assert one != other
  assert list(tmp_path.iterdir()) == [path]


_KILLED = """
import os, signal, sys
from v2meow_jax.files import atomic
with atomic.replacing(sys.argv[1]) as temp:
  os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed_and_what_is_written_stays(
  tmp_path,
):
  path, other = tmp_path / 'out.mp4', tmp_path / 'other.mp4'
  root = pathlib.Path(__file__).parents[2]
  for target in (path, other):
    command = [sys.executable, '-c', _KILLED, str(target)]
    assert subprocess.run(command, cwd=root).returncode == -signal.SIGKILL
  assert len(list(tmp_path.iterdir())) == 2
  with atomic.replacing(path) as temp:
    atomic.remove_left(path)
    assert os.path.exists(temp)
    # That of the other file is not ours.
    assert len(list(tmp_path.iterdir())) == 2
  atomic.remove_left(other)
  assert list(tmp_path.iterdir()) == [path]


def test_text_is_utf_8_whatever_the_locale(tmp_path):
  atomic.write_text(tmp_path / 'a', 'ä\n')
  assert (tmp_path / 'a').read_bytes() == b'\xc3\xa4\n'


def test_a_file_of_a_bucket_is_replaced_or_left(bucket):
  path = 'gs://bucket/folder/a.txt'
  atomic.write_text(path, 'new')
  with pytest.raises(RuntimeError), atomic.replacing(path) as temp:
    pathlib.Path(temp).write_text('other')
    raise RuntimeError
  assert not os.path.exists(temp) and temp.endswith('.txt')
  assert bucket.objects == {'bucket/folder/a.txt': b'new'}
  assert atomic.sha256(path) == hashlib.sha256(b'new').hexdigest()


def _put_folder(content: str) -> None:
  with atomic.replacing_folder('gs://bucket/a', marker='m.json') as temp:
    for name in ('b', 'deeper/c', 'm.json'):
      atomic.write_text(f'{temp}/{name}', content)


def test_a_folder_of_a_bucket_is_without_its_marker_until_it_is_whole(bucket):
  bucket.objects['bucket/a/old'] = b''
  _put_folder('1')
  names = {f'bucket/a/{name}' for name in ('b', 'deeper/c', 'm.json')}
  assert bucket.objects == dict.fromkeys(names, b'1')
  before = atomic.sha256('gs://bucket/a')

  orders = []
  bucket.before = lambda *order: orders.append(order)
  _put_folder('2')
  moved = [name for kind, name in orders if kind == 'copy']
  assert set(moved) == names and moved[-1] == 'bucket/a/m.json'
  assert orders.index(('remove', 'bucket/a/m.json')) < orders.index(
    ('copy', moved[0])
  )
  assert atomic.sha256('gs://bucket/a') != before


@pytest.mark.parametrize(
  ('failing', 'kept'), [('write', True), ('copy', False)]
)
def test_a_folder_that_failed_half_way_has_no_marker(bucket, failing, kept):
  _put_folder('1')

  def before(operation, key):
    if operation == failing and key.endswith('deeper/c'):
      raise OSError(28, 'no space')

  bucket.before = before
  with pytest.raises(OSError):
    _put_folder('2')
  # Nothing is moved before all is written.
  assert (bucket.objects.get('bucket/a/m.json') == b'1') == kept
  assert not any('/.' in name for name in bucket.objects)


def test_what_a_killed_process_left_in_a_bucket_is_replaced(bucket):
  _put_folder('1')
  whole = dict(bucket.objects)

  def before(operation, key):
    if operation in ('copy', 'remove') and key.endswith('deeper/c'):
      raise ConnectionError('killed')

  undisturbed, bucket.before = bucket.before, before
  with pytest.raises(ConnectionError):
    _put_folder('2')
  bucket.objects['bucket/a/.host-0123/b'] = b'of one that cleaned up nothing'
  assert 'bucket/a/m.json' not in bucket.objects
  assert b'same command' in bucket.objects['bucket/a/UNFINISHED.txt']
  bucket.before = undisturbed
  assert atomic.is_replaceable('gs://bucket/a', marker='m.json')
  _put_folder('1')
  assert bucket.objects == whole


def test_only_what_was_put_there_is_replaceable(bucket, tmp_path):
  bucket.objects['bucket/thesis/chapter.tex'] = b'years'
  (tmp_path / 'file').write_text('years')
  for path, can in (
    ('gs://bucket/thesis', False),
    ('gs://bucket/nothing', True),
    (tmp_path / 'nothing', True),
    (tmp_path, False),
    (tmp_path / 'file', False),
  ):
    assert atomic.is_replaceable(path, marker='m.json') == can


@pytest.mark.parametrize('older', [True, False])
def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path, older):
  path = tmp_path / 'out' / 'folder'
  if older:
    path.mkdir(parents=True)
    (path / 'old').touch()
  with atomic.replacing_folder(path, marker='new') as temp:
    open(os.path.join(temp, 'new'), 'w').close()
    assert (path / 'old').exists() == older
  assert [p.name for p in path.iterdir()] == ['new']
  assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_was_not_finished_leaves_the_old_one(tmp_path):
  path = tmp_path / 'folder'
  path.mkdir()
  (path / 'old').touch()
  with pytest.raises(RuntimeError):
    with atomic.replacing_folder(path, marker='new'):
      raise RuntimeError
  assert [p.name for p in path.iterdir()] == ['old']
  assert list(tmp_path.iterdir()) == [path]


def test_the_digest_of_a_folder_is_of_names_and_bytes(tmp_path):
  (tmp_path / 'b').mkdir()
  (tmp_path / 'b' / '.hidden').write_bytes(b'1')
  (tmp_path / 'a').write_bytes(b'2')
  first = atomic.sha256(tmp_path)
  lines = [
    f'{name} {hashlib.sha256(content).hexdigest()}'
    for name, content in (('a', b'2'), ('b/.hidden', b'1'))
  ]
  assert first == hashlib.sha256('\n'.join(lines).encode()).hexdigest()
  (tmp_path / 'a').rename(tmp_path / 'c')
  assert atomic.sha256(tmp_path) != first


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path):
  (tmp_path / 'store').mkdir()
  whole, link = tmp_path / 'store' / 'blob', tmp_path / 'out.txt'
  link.symlink_to('store/blob')
  for text in ('new', 'newer'):  # At first the link names nothing.
    with atomic.replacing(link) as temp:
      assert temp.endswith('.txt')
      pathlib.Path(temp).write_text(text)
    assert link.is_symlink() and not whole.is_symlink()
    assert whole.read_text() == text
  assert [p.name for p in whole.parent.iterdir()] == ['blob']
