"""What is kept about a run, against what git, pip and JAX say of it."""

import hashlib
from importlib import metadata
import subprocess

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.training.checkpoints import run_facts


def test_a_commit_is_that_of_git_and_says_whether_it_was_changed(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  assert run_facts._git_commit() is None

  def git(*arguments):
    name = ('-c', 'user.name=a', '-c', 'user.email=a@b.c')
    done = subprocess.run(
      ['git', *name, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()

  git('init', '-q')
  (tmp_path / 'a').write_text('1')
  git('add', 'a')
  git('commit', '-qm', 'a')
  assert run_facts._git_commit() == git('rev-parse', 'HEAD')
  (tmp_path / 'a').write_text('2')
  assert run_facts._git_commit() == git('rev-parse', 'HEAD') + '-dirty'


def test_versions_are_those_that_are_installed():
  versions = run_facts.of_code()['versions']
  assert versions['jax'] == metadata.version('jax')
  assert versions['orbax-checkpoint'] == metadata.version('orbax-checkpoint')


def test_a_mesh_is_told_by_the_sizes_of_its_axes():
  mesh = jax.make_mesh((1, 1), ('data', 'fsdp'), devices=jax.devices()[:1])
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  state = {'w': jax.device_put(jnp.ones(3), whole)}
  assert run_facts.of_state(state)['mesh'] == {'data': 1, 'fsdp': 1}
  assert run_facts.of_state({'w': np.ones(3)})['mesh'] is None


def test_a_config_is_told_by_its_sha256():
  wanted = hashlib.sha256('ä = 1\n'.encode()).hexdigest()
  assert run_facts.config_digest('ä = 1\n') == wanted
