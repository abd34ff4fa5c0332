"""Decides what reaches the terminal: printing in any locale, no alarms."""

import codecs
import logging
import os
import re
import sys
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
  warnings.showwarning = _PlainWarnings(warnings.showwarning)


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
