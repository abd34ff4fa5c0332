"""What users name is here or in a bucket; nothing else."""

import doctest

import pytest

from v2meow_jax.files import paths


def test_examples_hold():
  assert not doctest.testmod(paths).failed


@pytest.mark.parametrize('name', ['http://host/a.mp4', 'file:///etc/passwd'])
def test_other_schemes_are_refused_by_name(name):
  with pytest.raises(ValueError, match='wanted a path of this machine.*gs://'):
    paths.path(name)


def test_a_name_does_not_lead_out_of_its_bucket():
  with pytest.raises(ValueError, match='out of the bucket'):
    paths.join('gs://bucket/folder', '../../other/a')
  assert paths.join('/folder', '../a') == '/folder/../a'


def test_files_are_listed_alike_here_and_in_a_bucket(bucket, tmp_path):
  names = ['.hidden', 'a', 'a/b', 'a-b', 'c/.d/e~']
  for name in names:
    if name != 'a':
      for folder in (tmp_path / 'x', paths.path('gs://bucket/x')):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('1')
  listed = paths.inside(paths.path('gs://bucket/x'))
  assert listed == paths.inside(tmp_path / 'x')
  assert set(listed) == {*names} - {'a'}


def test_a_missing_package_is_named(monkeypatch):
  def missing(name):
    raise ImportError('install s3fs')

  monkeypatch.setattr(paths.fsspec.core, 'url_to_fs', missing)
  with pytest.raises(ImportError, match='s3:// needs s3fs: .*install s3fs'):
    paths.file_system('s3://bucket/a')
