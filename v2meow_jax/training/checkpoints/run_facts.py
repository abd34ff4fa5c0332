"""What a checkpoint should say about the run that wrote it."""

from __future__ import annotations

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
  """Where the arrays of a state lie.

  Args:
    state: A tree of arrays.

  Returns:
    `mesh`, the sizes of its axes by name (None without one), and the numbers
    of `devices` and `processes` of the job.
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
  """`versions` by package, and `git_commit` of the working directory."""
  return {
    'versions': {
      'python': platform.python_version(),
      'v2meow_jax': v2meow_jax.__version__,
      **{name: metadata.version(name) for name in _PACKAGES},
    },
    'git_commit': _git_commit(),
  }


def config_digest(config_text: str) -> str:
  """Hex sha256 of a gin text, to compare runs by."""
  return hashlib.sha256(config_text.encode()).hexdigest()


def _git_commit() -> str | None:
  """Of the working directory, '-dirty' when changed; None outside of git."""
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
