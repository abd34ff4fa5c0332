"""The folder that keeps compiled programs, so that only the first command waits.

Compiled programs are code for one kind of processor, and run as the user: they
are read from a folder that is the user's alone.
"""

import functools
import hashlib
import os
import pathlib
import platform

import jax

from v2meow_jax.files import paths
from v2meow_jax.files import private_files

VARIABLE = 'V2MEOW_PROGRAMS_DIR'
_MIN_COMPILE_SECONDS = 0.3
# Ours: the programs of some fifty systems as small as the embedded one.
MAX_BYTES = 1_000_000_000


def enable() -> pathlib.Path | None:
  """Turns JAX's persistent cache on, in `folder`.

  Returns:
    The folder; None when JAX_COMPILATION_CACHE_DIR names one already, or when
    there is none, which costs time and nothing else.
  """
  if os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    return None
  kept = folder()
  if kept is None:
    return None
  private_files.make_room(kept, MAX_BYTES)
  jax.config.update('jax_compilation_cache_dir', str(kept))
  jax.config.update(
    'jax_persistent_cache_min_compile_time_secs', _MIN_COMPILE_SECONDS
  )
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  return kept


def folder() -> pathlib.Path | None:
  """The folder of compiled programs, for this processor and user alone.

  It lies in $V2MEOW_PROGRAMS_DIR, or without it in `paths.user_cache`.
  Programs compiled for one processor can crash on another, and home folders
  are shared: each kind of processor has a folder of its own. Beyond 1 GB, what
  was used longest ago leaves.

  Returns:
    The folder; None when V2MEOW_PROGRAMS_DIR is empty or in a bucket, or when no
    folder can be made, read and written to that others cannot write to.
  """
  base = os.environ.get(VARIABLE)
  if base == '' or '://' in (base or ''):  # Who may write to a bucket?
    return None
  try:
    if base is None:
      base = paths.user_cache()
    made = pathlib.Path(base) / f'xla-{processor()}'
    return made if private_files.make_folder(made) else None
  except (OSError, RuntimeError):  # There may be no home at all.
    return None


@functools.cache
def processor() -> str:
  """A digest of what the processor is and can do."""
  facts = platform.machine() + platform.processor()
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text('utf-8').splitlines()
  except OSError:
    lines = []
  for name in ('model name', 'flags', 'Features'):
    facts += next((line for line in lines if line.startswith(name)), '')
  return hashlib.sha256(facts.encode()).hexdigest()[:12]
