"""The command line as a user starts it: a process of its own."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
_CLI = 'import sys; from v2meow_jax.cli import main; sys.exit(main.main())'


def v2meow(*arguments, cwd=ROOT, **environment):
  """Runs `v2meow` in a folder and keeps what it prints."""
  return subprocess.run(
    [sys.executable, '-c', _CLI, *map(str, arguments)],
    cwd=cwd,
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': str(ROOT)} | environment,
    timeout=280,
  )
