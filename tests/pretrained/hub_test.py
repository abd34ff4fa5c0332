"""What is missing is named, with the way to get it."""

import pytest

from v2meow_jax.pretrained import hub


class Kind:
  """Stands for a class of transformers."""

  error: Exception

  @classmethod
  def from_pretrained(cls, path, **options):
    assert options['local_files_only']
    raise cls.error


def test_a_missing_library_names_the_extra():
  with pytest.raises(ImportError, match=r'no_such_library is.*\[hub\]'):
    hub.import_library('no_such_library')


def test_a_repository_that_is_not_in_the_cache_is_named():
  Kind.error = OSError('no file\nand much more')
  with pytest.raises(FileNotFoundError, match='hf download a/b') as e:
    hub.load_files(Kind, 'a/b')
  assert 'huggingface.co/a/b' in str(e.value)
  assert '(no file)' in str(e.value)


def test_a_folder_without_files_is_named(tmp_path):
  Kind.error = OSError('no file')
  with pytest.raises(
    FileNotFoundError, match=f'into {tmp_path}, with model.safetensors'
  ):
    hub.load_files(Kind, tmp_path)


def test_what_is_of_another_kind_is_refused():
  Kind.error = RuntimeError('sizes differ')
  with pytest.raises(ValueError, match='no readable Kind: sizes'):
    hub.load_files(Kind, 'a/b')
