"""Collects facts about a run for its checkpoints."""

import functools
import hashlib
from importlib import metadata
import platform
import subprocess
from typing import Any

import jax

import v2meow_jax

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def of_state(state: Any) -> dict[str, Any]:
  """Describes where the arrays of a state lie.

  Args:
    state: A tree of arrays.

  Returns:
    `mesh` (sizes of its axes by name; None without one), the numbers of
    `devices` and `processes` of the job, and its `platform`.
  """
  shardings = (getattr(x, 'sharding', None) for x in jax.tree.leaves(state))
  meshes = (getattr(sharding, 'mesh', None) for sharding in shardings)
  return {
    'mesh': next((dict(m.shape) for m in meshes if m is not None), None),
    'devices': jax.device_count(),
    'processes': jax.process_count(),
    'platform': jax.default_backend(),
  }


@functools.cache
def of_code() -> dict[str, Any]:
  """Returns `versions` by package, and `git_commit` of the working directory."""
  return {
    'versions': {
      'python': platform.python_version(),
      'v2meow_jax': v2meow_jax.__version__,
      **{name: metadata.version(name) for name in _PACKAGES},
    },
    'git_commit': _git_commit(),
  }


def differences(before: Any, now: Any, name: str) -> list[str]:
  """Lists what changed between two facts, JSON data; [] for equal ones.

  >>> differences({'a': 1, 'b': [1, 2]}, {'a': 1, 'b': [1, 3]}, 'data')
  ['data.b.1 was 2 and is 3']
  """
  old, new = _entries(before), _entries(now)
  if old is None or new is None or type(before) is not type(now):
    return [] if before == now else [f'{name} was {before} and is {now}']
  return [
    line
    for key in dict.fromkeys([*old, *new])
    for line in differences(old.get(key), new.get(key), f'{name}.{key}')
  ]


def _entries(value: Any) -> dict[Any, Any] | None:
  """Entries of a dict or list by key or number; None of anything else."""
  if isinstance(value, list):
    return dict(enumerate(value))
  return value if isinstance(value, dict) else None


def config_digest(config_text: str) -> str:
  """Returns the hex SHA-256 of a gin text, to compare runs by."""
  return hashlib.sha256(config_text.encode()).hexdigest()


def _git_commit() -> str | None:
  """Returns the commit, with '-dirty' if files changed; None outside of git."""
  command = ['git', 'describe', '--always', '--dirty', '--abbrev=40']
  try:
    done = subprocess.run(
      [*command, '--exclude=*'],
      capture_output=True,
      check=True,
      text=True,
      timeout=30,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()
