"""What is put into place is old, absent or whole; digests know every byte."""

import hashlib
import os

from etils import epath
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


def test_text_is_utf_8_whatever_the_locale(tmp_path):
  atomic.write_text(tmp_path / 'a', 'ä\n')
  assert (tmp_path / 'a').read_bytes() == b'\xc3\xa4\n'


def test_a_file_of_a_bucket_is_replaced_or_left(tmp_path, monkeypatch):
  monkeypatch.setattr(atomic, '_is_remote', lambda path: True)
  path = tmp_path / 'a'
  atomic.write_text(path, 'new')
  with pytest.raises(RuntimeError), atomic.replacing(path) as temp:
    epath.Path(temp).write_text('other')
    raise RuntimeError
  assert path.read_text() == 'new' and list(tmp_path.iterdir()) == [path]
  assert atomic.sha256(path) == hashlib.sha256(b'new').hexdigest()


@pytest.mark.parametrize('older', [True, False])
def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path, older):
  path = tmp_path / 'out' / 'folder'
  if older:
    path.mkdir(parents=True)
    (path / 'old').touch()
  with atomic.replacing_folder(path) as temp:
    open(os.path.join(temp, 'new'), 'w').close()
    assert (path / 'old').exists() == older
  assert [p.name for p in path.iterdir()] == ['new']
  assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_was_not_finished_leaves_the_old_one(tmp_path):
  path = tmp_path / 'folder'
  path.mkdir()
  (path / 'old').touch()
  with pytest.raises(RuntimeError):
    with atomic.replacing_folder(path):
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
