"""A checkpoint of TensorFlow is known by its files, however it is named."""

import pytest

from v2meow_jax.pretrained import convert


def names(path):
  return [file.name for file in convert.tensorflow_files(path)]


def test_a_checkpoint_is_found_by_prefix_index_and_folder(tmp_path):
  files = ['model.ckpt.index']
  files += [f'model.ckpt.data-0000{i}-of-00002' for i in (0, 1)]
  for name in (*files, 'model.ckpt.meta', 'checkpoint', 'model.ckpt-7.data-0'):
    (tmp_path / name).touch()
  assert names(tmp_path / 'model.ckpt') == files
  assert names(tmp_path / 'model.ckpt.index') == files
  assert names(tmp_path) == files
  (tmp_path / 'model.ckpt-7.index').touch()
  assert names(tmp_path) == []  # Which of the two?
  assert names(tmp_path / 'model.ckpt') == files


def test_of_a_saved_model_the_variables_are_found(tmp_path):
  (tmp_path / 'variables').mkdir()
  (tmp_path / 'saved_model.pb').touch()
  files = ['variables.index', 'variables.data-00000-of-00001']
  for name in files:
    (tmp_path / 'variables' / name).touch()
  assert names(tmp_path) == files


def test_one_file_is_known_by_its_end(tmp_path):
  # The magic number of LevelDB's tables, low byte first.
  end = 0xDB4775248B80FB57.to_bytes(8, 'little')
  for name, content in (
    ('vggish_model.ckpt', b'x' * 40 + end),
    ('pickle.ckpt', b'\x80\x02' + b'x' * 40),
    ('empty.ckpt', b''),
  ):
    (tmp_path / name).write_bytes(content)
  assert names(tmp_path / 'vggish_model.ckpt') == ['vggish_model.ckpt']
  for name in ('pickle.ckpt', 'empty.ckpt', 'nothing.ckpt'):
    assert names(tmp_path / name) == []


_WRAPPED = """Traceback (most recent call last):
  File "<string>", line 12, in <module>
    raise pickle.UnpicklingError(_get_wo_message(str(e))) from None
_pickle.UnpicklingError: Weights only load failed. Re-running might do.
Please file an issue: WeightsUnpickler error:{}
Unsupported operand 0

Check the documentation.
"""


@pytest.mark.parametrize(
  ('said', 'reason'),
  [
    (_WRAPPED.format(' \n'), 'Unsupported operand 0'),
    (_WRAPPED.format(' Unsupported global.'), 'Unsupported global'),
    ('Traceback:\n  raise ValueError(x)\nValueError: bad\n', 'ValueError: bad'),
    ('KeyError: 1\nduring which\nRuntimeError: 2\n\nsee', 'RuntimeError: 2'),
    ('it holds no tensors by name\n', 'it holds no tensors by name'),
    ('', 'no message'),
  ],
)
def test_the_reason_is_no_line_of_a_program(said, reason):
  assert convert._reason(said) == reason


def test_without_pytorch_the_extra_that_has_it_is_named(monkeypatch):
  monkeypatch.setattr(convert.importlib.util, 'find_spec', lambda _: None)
  with pytest.raises(ImportError, match=r"-e '\.\[hub\]'"):
    convert.require('torch')
