"""V2Meow on JAX: music for a video, in stages of sequence models."""

import os
import pathlib
import shlex
import sys

__version__ = '0.1.0'


def extra_command(name: str = '') -> str:
  """The command that installs this repository, from its root.

  Args:
    name: Extra to install with it; '': none.
  """
  what = f"'.[{name}]'" if name else '.'
  return install_command(f'-c requirements.lock -e {what}')


def install_command(what: str) -> str:
  """The command that installs packages where this process would find them.

  Args:
    what: Arguments of `pip install`, quoted for a shell.
  """
  return f'{_python()} -m pip install {what}'


def _python() -> str:
  """How a shell in this folder calls the interpreter of this process."""
  if os.environ.get('VIRTUAL_ENV') == sys.prefix:
    return 'python'
  path, here = pathlib.Path(sys.executable), pathlib.Path.cwd()
  if path.parent.parent.parent == here:
    path = path.relative_to(here)
  return shlex.quote(str(path))
