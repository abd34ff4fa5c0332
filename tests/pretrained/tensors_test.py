"""Every kind of file gives the same tensors; others are refused unread."""

from flax import serialization
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from v2meow_jax.pretrained import tensors

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)
NAME = 'layer/kernel'


def write(path):
  """One tensor, as the suffix says."""
  if path.suffix == '.safetensors':
    safetensors_numpy.save_file({NAME: KERNEL}, path)
  elif path.suffix == '.npz':
    with path.open('wb') as file:
      np.savez(file, **{NAME: KERNEL})
  else:
    path.write_bytes(serialization.to_bytes({'layer': {'kernel': KERNEL}}))
  return path


@pytest.mark.parametrize('suffix', ['.safetensors', '.npz', '.msgpack', ''])
def test_every_kind_gives_the_tensors(tmp_path, suffix):
  path = write(tmp_path / f'weights{suffix}')
  (name,), (kernel,) = zip(*tensors.load(path).items(), strict=True)
  assert name == NAME
  np.testing.assert_array_equal(kernel, KERNEL)
  path.write_bytes(path.read_bytes()[:40])
  with pytest.raises(ValueError, match='damaged'):
    tensors.load(path)


@pytest.mark.parametrize('suffix', ['.safetensors', '.npz', '.msgpack'])
def test_only_names_with_a_prefix_are_taken(tmp_path, suffix):
  path = write(tmp_path / f'weights{suffix}')
  assert list(tensors.load(path, ('other', 'layer'))) == [NAME]
  assert not tensors.load(path, 'kernel')


@pytest.fixture
def checkpoint(tmp_path):
  """A folder that Orbax wrote."""
  import jax.numpy as jnp
  import orbax.checkpoint as ocp

  tree = {'layer': {'kernel': jnp.asarray(KERNEL)}, 'bias': np.ones(3)}
  ocp.PyTreeCheckpointer().save(tmp_path / 'checkpoint', tree)
  return tmp_path / 'checkpoint'


def test_a_checkpoint_of_orbax_gives_arrays_by_their_paths(checkpoint):
  found = tensors.load(checkpoint)
  assert sorted(found) == ['bias', NAME]
  assert type(found[NAME]) is np.ndarray
  np.testing.assert_array_equal(found[NAME], KERNEL)
  assert list(tensors.load(checkpoint, 'layer')) == [NAME]
  assert sorted(tensors.names(checkpoint)) == ['bias', NAME]
  with pytest.raises(ValueError, match="no 'layer/bias'.*wanted a test"):
    tensors.Tensors(found, 'a test').take('layer/bias', 3)


def test_a_damaged_checkpoint_of_orbax_is_named(checkpoint):
  (checkpoint / '_METADATA').write_text('{')
  with pytest.raises(ValueError, match='checkpoint is a damaged checkpoint'):
    tensors.load(checkpoint)


def test_pickles_are_not_read(tmp_path):
  for name in ('weights.pt', 'weights.bin'):
    path = tmp_path / name
    path.write_bytes(b'\x80\x04.')
    with pytest.raises(ValueError, match='can run code'):
      tensors.load(path)
  path = tmp_path / 'objects.npz'
  with path.open('wb') as file:
    np.savez(file, x=np.array([{}], dtype=object))
  with pytest.raises(ValueError, match='pickle'):
    tensors.load(path)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='nowhere'):
    tensors.load(tmp_path / 'nowhere.safetensors')


@pytest.mark.parametrize(
  ('value', 'said'),
  [
    (
      np.zeros((3, 2)),
      r'float64 of shape \(3, 2\); wanted floats of shape \(2, 3\)',
    ),
    (
      np.zeros((2, 3), np.int32),
      r'int32 of shape \(2, 3\); wanted floats of shape \(2, 3\)',
    ),
    (np.full((2, 3), np.inf), 'not finite'),
  ],
)
def test_a_wrong_tensor_is_named(value, said):
  with pytest.raises(ValueError, match=f"the file has '{NAME}' .*{said}"):
    tensors.Tensors({NAME: value}, 'a test').take(NAME, 2, 3)


def test_an_error_says_which_file_and_where_to_get_it(tmp_path):
  path = write(tmp_path / 'weights.safetensors')
  source = tensors.Tensors(tensors.load(path), 'a test', 'dac-16khz')
  for name, shape, said in (
    ('other', (4, 5), r"no 'other', wanted floats of shape \(4, 5\), among"),
    (NAME, (3, 2), rf"'{NAME}' as float32 of shape \(2, 3\); wanted floats"),
  ):
    with pytest.raises(ValueError, match=said) as caught:
      source.take(name, *shape)
    assert str(path) in str(caught.value)
    assert 'v2meow weights fetch dac-16khz' in str(caught.value)
    assert 'https://huggingface.co/descript/dac_16khz' in str(caught.value)


def test_floats_of_every_width_are_read(tmp_path):
  import ml_dtypes

  for kind in (np.float16, np.float64, ml_dtypes.bfloat16):
    taken = tensors.Tensors({NAME: KERNEL.astype(kind)}, 'a test').take(
      NAME, 2, 3
    )
    np.testing.assert_array_equal(taken, KERNEL)
    assert taken.dtype == np.float32


def test_a_tflite_file_is_known_by_its_kind(tmp_path):
  path = tmp_path / 'graph.tflite'
  path.write_bytes(b'\x1c\0\0\0TFL3and a graph')
  assert tensors.names(path) == ['TFL3']
  path.write_bytes(b'<html>')
  assert tensors.names(path) != ['TFL3']
  with pytest.raises(ValueError, match='is a .tflite file'):
    tensors.load(path)
