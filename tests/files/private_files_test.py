"""Bytes that are run come from this user alone, and whole, or not at all."""

import os

import pytest

from v2meow_jax.files import private_files


@pytest.fixture
def folder(tmp_path):
  made = tmp_path / 'cache' / 'programs'
  assert private_files.make_folder(made)
  private_files.write(made, 'one', b'content')
  return made


def test_what_was_written_is_read_whatever_the_umask(tmp_path):
  before = os.umask(0o002)
  try:
    assert private_files.make_folder(tmp_path / 'new')
    private_files.write(tmp_path / 'new', 'one', b'content')
  finally:
    os.umask(before)
  assert private_files.read(tmp_path / 'new', 'one') == b'content'
  assert private_files.make_folder(tmp_path / 'new')  # It is there.


def test_a_changed_file_is_not_read(folder):
  file = folder / 'one'
  whole = file.read_bytes()
  for position in range(0, len(whole), 7):
    damaged = bytearray(whole)
    damaged[position] ^= 1
    file.write_bytes(damaged)
    assert private_files.read(folder, 'one') is None
  for damaged in (b'', whole[:20], whole[:-1], whole + b'\n'):
    file.write_bytes(damaged)
    assert private_files.read(folder, 'one') is None


def test_a_file_does_not_stand_in_for_another(folder):
  os.rename(folder / 'one', folder / 'two')
  assert private_files.read(folder, 'two') is None


def test_a_folder_that_others_may_write_to_is_not_used(folder):
  for mode in (0o770, 0o707, 0o720, 0o1777):
    folder.chmod(mode)
    assert not private_files.make_folder(folder)
    assert private_files.read(folder, 'one') is None
  folder.chmod(0o755)  # Others may look.
  assert private_files.make_folder(folder)
  assert private_files.read(folder, 'one') == b'content'


def test_what_belongs_to_another_user_is_not_used(folder, monkeypatch):
  monkeypatch.setattr(os, 'geteuid', lambda: os.getuid() + 1)
  assert not private_files.make_folder(folder)
  assert private_files.read(folder, 'one') is None


def test_a_file_that_others_may_write_to_is_not_read(folder):
  for mode in (0o620, 0o602):
    (folder / 'one').chmod(mode)
    assert private_files.read(folder, 'one') is None


def test_a_link_or_a_pipe_is_not_read(folder, tmp_path):
  os.rename(folder / 'one', tmp_path / 'one')
  (folder / 'one').symlink_to(tmp_path / 'one')
  assert private_files.read(folder, 'one') is None
  (folder / 'one').unlink()
  os.mkfifo(folder / 'one', 0o600)
  assert private_files.read(folder, 'one') is None


def test_what_is_missing_or_no_folder_is_none(folder, tmp_path):
  assert private_files.read(folder, 'two') is None
  assert private_files.read(tmp_path / 'nowhere', 'one') is None
  assert not private_files.make_folder(folder / 'one')
  assert not private_files.make_folder(folder / 'one' / 'below')


def test_what_was_used_longest_ago_makes_room(tmp_path):
  assert private_files.make_folder(tmp_path)
  for age, name in enumerate(('new', 'middle', 'old')):
    private_files.write(tmp_path, name, bytes(1000))
    os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
  assert private_files.read(tmp_path, 'old')  # Used now.
  private_files.make_room(tmp_path, 2500)
  assert sorted(os.listdir(tmp_path)) == ['new', 'old']
