"""Keeps compiled programs between commands, so that only the first one waits."""

import hashlib
import os
import pathlib
import platform
import tempfile

import jax

_VARIABLE = 'JAX_COMPILATION_CACHE_DIR'
_MIN_COMPILE_SECONDS = 0.3


def enable() -> pathlib.Path | None:
  """Turns JAX's persistent cache on, in the user's cache folder.

  Programs compiled for one processor can crash on another, and home folders
  are shared: each kind of processor has a folder of its own.

  Returns:
    The folder; None when JAX_COMPILATION_CACHE_DIR names one already, or when
    none can be read and written, which costs time and nothing else.
  """
  if os.environ.get(_VARIABLE):
    return None
  try:
    base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    folder = pathlib.Path(base) / 'v2meow_jax' / f'xla-{_processor()}'
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      next(folder.iterdir(), None)
  except (OSError, RuntimeError):
    return None
  jax.config.update('jax_compilation_cache_dir', str(folder))
  jax.config.update(
    'jax_persistent_cache_min_compile_time_secs', _MIN_COMPILE_SECONDS
  )
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  return folder


def _processor() -> str:
  """A digest of what the processor is and can do."""
  facts = platform.machine() + platform.processor()
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text('utf-8').splitlines()
  except OSError:
    lines = []
  for name in ('model name', 'flags', 'Features'):
    facts += next((line for line in lines if line.startswith(name)), '')
  return hashlib.sha256(facts.encode()).hexdigest()[:12]
