"""Compiled programs are loaded by later processes, if nothing differs."""

from concurrent import futures
import dataclasses
import math
import os
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache
import jax.numpy as jnp
import numpy as np
import pytest

import v2meow_jax
from v2meow_jax.files import released
from v2meow_jax.inference import restore
from v2meow_jax.inference import system
from v2meow_jax.inference.programs import compile_cache
from v2meow_jax.inference.programs import kept
from v2meow_jax.models.sampling import options

X = np.linspace(0, 1, 7, dtype=np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Where programs are kept; JAX's own cache is empty and stays so."""
  monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path))
  settings = {
    'jax_compilation_cache_dir': str(tmp_path / 'jax'),
    'jax_persistent_cache_min_compile_time_secs': math.inf,
  }
  before = {name: getattr(jax.config, name) for name in settings}
  for name, value in settings.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield compile_cache.folder()
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  kept.constant_facts.cache_clear()


def run(x: Any = X, scale: Any = 2.0, identity: Any = 'f'):
  """What a new process does: bytes of the result, and how often it traced."""
  traced = []

  def function(arrays, scale):
    traced.append(None)
    return jnp.sin(arrays['x']) * scale

  kept.constant_facts.cache_clear()
  program = kept.Program(function, name='f', identity=identity)
  first, second = (np.asarray(program({'x': x}, scale)) for _ in range(2))
  np.testing.assert_array_equal(first, second)
  return first.tobytes(), len(traced)


def files(folder):
  return sorted(folder.glob('*.program'))


def test_a_later_process_traces_nothing_and_gets_the_same_bytes(folder):
  wanted, count = run()
  assert count == 1
  assert run() == (wanted, 0)
  np.testing.assert_allclose(
    np.frombuffer(wanted, np.float32), np.sin(X) * 2, rtol=1e-6
  )
  other, count = run(scale=3.0)  # A number is no shape.
  assert count == 0
  np.testing.assert_allclose(
    np.frombuffer(other, np.float32), np.sin(X) * 3, rtol=1e-6
  )


def test_other_shapes_and_another_identity_are_other_programs(folder):
  run()
  others: list[dict[str, Any]] = [
    {'x': X[:3]},
    {'x': np.arange(7)},
    {'identity': 'g'},
  ]
  for other in others:
    assert [run(**other)[1], run(**other)[1]] == [1, 0]


def test_without_an_identity_or_a_folder_nothing_is_kept(folder, monkeypatch):
  for _ in range(2):
    assert run(identity=None)[1] == 1
  monkeypatch.setenv(compile_cache.VARIABLE, '')
  for _ in range(2):
    assert run()[1] == 1
  assert not files(folder)


DIFFERENCES = {
  'jax': lambda m: m.setattr(jax, '__version__', '0.0.1'),
  'processor': lambda m: m.setattr(compile_cache, 'processor', lambda: 'old'),
  'cores': lambda m: m.setattr(os, 'sched_getaffinity', lambda _: range(99)),
  'XLA': lambda m: m.setenv('XLA_FLAGS', os.environ.get('XLA_FLAGS', '') + ' '),
}


@pytest.mark.parametrize('difference', DIFFERENCES)
def test_where_something_differs_it_is_compiled_again(
  difference, folder, monkeypatch
):
  wanted, _ = run()
  with monkeypatch.context() as patch:
    DIFFERENCES[difference](patch)
    assert run() == (wanted, 1)
    assert run() == (wanted, 0)
  assert run() == (wanted, 0)


def test_a_setting_of_jax_that_acts_on_programs_makes_others(folder):
  run()
  with jax.default_matmul_precision('float32'):
    assert run()[1] == 1
  assert run()[1] == 0


def test_another_code_of_the_library_makes_others(
  folder, tmp_path, monkeypatch
):
  source = tmp_path / 'library' / 'room' / 'module.py'
  source.parent.mkdir(parents=True)
  source.write_text('a = 1\n')
  root = tmp_path / 'library' / '__init__.py'
  monkeypatch.setattr(v2meow_jax, '__file__', str(root))
  assert [run()[1], run()[1]] == [1, 0]
  source.write_text('a = 2\n')
  assert [run()[1], run()[1]] == [1, 0]
  source.rename(source.with_name('other.py'))
  assert [run()[1], run()[1]] == [1, 0]


def test_damaged_files_are_compiled_again_without_a_word(folder, capfd):
  wanted, _ = run()
  (file,) = files(folder)
  whole = file.read_bytes()
  changed = bytearray(whole)
  changed[len(whole) // 2] ^= 1
  for damaged in (bytes(changed), whole[: len(whole) // 2], b''):
    file.write_bytes(damaged)
    assert run() == (wanted, 1)
    assert file.read_bytes() != damaged
    assert run() == (wanted, 0)
  assert capfd.readouterr() == ('', '')


def test_what_xla_cannot_load_is_compiled_again(folder, monkeypatch):
  wanted, _ = run()
  (file,) = files(folder)
  # The digest fits, but it is no program.
  kept.private_files.write(folder, file.name, b'nothing')
  assert run() == (wanted, 1)
  assert run() == (wanted, 0)


def test_what_came_out_of_jaxs_own_cache_is_not_kept(folder, monkeypatch):
  # XLA leaves the functions of a program out that it has loaded itself.
  monkeypatch.setenv(compile_cache.VARIABLE, '')
  name = 'jax_persistent_cache_min_compile_time_secs'
  before = getattr(jax.config, name)
  jax.config.update(name, 0)
  try:
    wanted, _ = run()
  finally:
    jax.config.update(name, before)
  monkeypatch.setenv(compile_cache.VARIABLE, str(folder.parent))
  for _ in range(2):
    assert run() == (wanted, 1)
  assert not files(folder)


def test_a_program_that_fails_when_it_runs_is_compiled_again(
  folder, monkeypatch
):
  wanted, _ = run()

  def fails(*_):
    raise jax.errors.JaxRuntimeError('NOT_FOUND: Function fusion not found')

  load = kept._load
  monkeypatch.setattr(kept, '_load', lambda *a: load(*a) and fails)
  assert run() == (wanted, 1)


def test_a_folder_or_a_file_that_others_may_write_to_is_not_used(folder):
  wanted, _ = run()
  (file,) = files(folder)
  folder.chmod(0o770)
  before = file.read_bytes(), file.stat()
  for _ in range(2):
    assert run() == (wanted, 1)
  assert (file.read_bytes(), file.stat()) == before
  folder.chmod(0o700)
  file.chmod(0o620)
  assert run() == (wanted, 1)
  assert file.stat().st_mode & 0o777 == 0o600  # It was made again.
  assert run() == (wanted, 0)


def test_what_is_another_users_is_not_used(folder, monkeypatch):
  wanted, _ = run()
  monkeypatch.setattr(os, 'geteuid', lambda: os.getuid() + 1)
  assert run() == (wanted, 1)


def test_a_folder_that_cannot_be_written_costs_nothing(folder, monkeypatch):
  def fails(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(kept.private_files, 'write', fails)
  for _ in range(2):
    assert run()[1] == 1
  assert not files(folder)


def test_threads_that_ask_at_once_share_one_compilation():
  traced = []

  def function(x):
    traced.append(None)
    return x + 1

  program = kept.Program(function, name='f', identity=None)
  with futures.ThreadPoolExecutor(8) as pool:
    results = list(pool.map(program, [X] * 8))
  assert len(traced) == 1
  np.testing.assert_array_equal(results, [X + 1] * 8)


def test_a_failure_is_met_by_each_who_asks():
  program = kept.Program(lambda x: x @ x, name='f', identity=None)
  for ask in (program, program.prepare):
    with pytest.raises(TypeError):
      ask(np.zeros((2, 3), np.float32))


def test_a_program_may_be_part_of_another_one():
  program = kept.Program(lambda x: x * 2, name='f', identity=None)
  np.testing.assert_array_equal(jax.jit(program)(X), X * 2)


def test_stages_that_compute_in_other_types_are_other_programs(monkeypatch):
  row = released.read_config(system.SHIPPED['tiny'])['stages'][2]['model']
  keys = []

  def make(self, key, *_):
    keys.append(key)

  monkeypatch.setattr(kept.Program, '_make', make)
  for change in ({}, {}, {'dtype': 'bfloat16'}, {'relative_num_buckets': 32}):
    model = restore.build_model(row)
    model.network = dataclasses.replace(model.network, **change)
    stage = restore.ModelStage(model, {}, keep=True)
    stage.prepare(1, options.AS_TRAINED)
  assert keys[0] == keys[1]
  assert len(set(keys)) == 3
