"""Decides what reaches the terminal: printing in any locale, no alarms."""

import codecs
from collections.abc import Iterator
import contextlib
from importlib import abc
from importlib import util
import logging
import os
import re
import subprocess
import sys
import types
from typing import Any
import warnings

_CACHE_FAULT = re.compile(
  r"Error (reading|writing) persistent compilation cache entry for '.*?': (.*)"
)
_MOST_CHARACTERS = 120  # Of the reason that a cache cannot be used.


def prepare() -> None:
  """Prepares the process of a command, before it imports libraries.

  The C++ of XLA and TensorFlow logs their start, and alarms of slow compilation
  as errors. What really fails there raises an exception or ends the process
  with a fatal line, which is shown; TF_CPP_MIN_LOG_LEVEL=0 shows everything.
  """
  _open_streams()
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  logging.getLogger().addFilter(_is_wanted)
  logging.getLogger().addHandler(_Said(logging.WARNING))
  warnings.showwarning = _PlainWarnings(warnings.showwarning)
  sys.meta_path.insert(0, _QuietStart())


def _open_streams() -> None:
  """Makes printing work in every locale, and with streams that are closed."""
  codecs.register_error(_printable.__name__, _printable)
  for name in ('stdout', 'stderr'):
    stream = getattr(sys, name)
    if stream is None:
      setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))
    else:
      stream.reconfigure(errors=_printable.__name__)


def _printable(error: UnicodeError) -> tuple[str | bytes, int]:
  """Bytes of file names as they came; other text that does not fit, escaped."""
  try:
    return codecs.lookup_error('surrogateescape')(error)
  except UnicodeEncodeError:
    return codecs.lookup_error('backslashreplace')(error)


def _is_wanted(record: logging.LogRecord) -> bool:
  """Drops Beam's remark about a library of Google Cloud that is absent."""
  return not record.getMessage().startswith('apitools not found')


class _Said(logging.Handler):
  """Prints what is logged as the lines of a command, above its bar."""

  def emit(self, record: logging.LogRecord) -> None:
    """Says who warns: `v2meow`, or the library."""
    name = 'v2meow' if record.name == 'absl' else record.name
    line = f'{name}: {self.format(record)}'
    tqdm = sys.modules.get('tqdm')
    if tqdm is None:
      print(line, file=sys.stderr)
    else:
      tqdm.tqdm.write(line, file=sys.stderr)


class _PlainWarnings:
  """Says once, in a line, that the cache of compiled programs is broken."""

  def __init__(self, show: Any):
    self._show = show
    self._is_said = False

  def __call__(self, message: Warning | str, *place: Any) -> None:
    fault = _CACHE_FAULT.match(' '.join(str(message).split()))
    if fault is None:
      self._show(message, *place)
    elif not self._is_said:
      self._is_said = True
      import jax  # pylint: disable=g-import-not-at-top

      folder = jax.config.jax_compilation_cache_dir
      print(
        f'v2meow: the compiled programs kept in {folder} cannot be used'
        f' ({fault[2][:_MOST_CHARACTERS]}); delete that folder to wait less'
        ' next time.',
        file=sys.stderr,
      )


class _QuietStart(abc.MetaPathFinder):
  """Drops the lines in which TensorFlow says what it found when it starts.

  It writes them before it reads a level. Another process filters them, so that
  what it says when it ends this one is seen.
  """

  _FILTER = r"""
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin.buffer:
  if not re.match(rb'I\d{4} |WARNING: All log messages before absl', line):
    sys.stderr.buffer.write(line)
    sys.stderr.buffer.flush()
"""

  def find_spec(self, name, path, target=None):
    """Finds TensorFlow as others do, and has it imported under the filter."""
    del path, target
    if name != 'tensorflow':
      return None
    sys.meta_path.remove(self)
    spec = util.find_spec(name)
    if spec and spec.loader:
      start = spec.loader.exec_module

      def filtered(module: types.ModuleType) -> None:
        with self._filtered():
          start(module)

      spec.loader.exec_module = filtered
    return spec

  @contextlib.contextmanager
  def _filtered(self) -> Iterator[None]:
    command = [sys.executable, '-S', '-c', self._FILTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
      assert process.stdin is not None
      sys.stderr.flush()
      kept = os.dup(2)
      os.dup2(process.stdin.fileno(), 2)
      try:
        yield
      finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        process.stdin.close()
