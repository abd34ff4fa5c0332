"""Programs that are compiled once on a machine, and loaded by later processes.

What XLA compiled is kept as it serialises it, without the trees of Python
objects that JAX would pickle: the arguments of a `Program` are leaves in an
order, and its result is one array.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import contextlib
import functools
import hashlib
import json
import math
import os
import pathlib
import threading
from typing import Any

from absl import logging
import jax
import jaxlib
import numpy as np

import v2meow_jax
from v2meow_jax.files import private_files
from v2meow_jax.inference.programs import compile_cache

# Settings of JAX that say where programs are kept, not what they are.
_OF_CACHES = ('jax_compilation_cache', 'jax_persistent_cache')
_FLAGS = ('XLA_FLAGS', 'LIBTPU_INIT_ARGS')

_Run = Callable[[Sequence[Any]], jax.Array]  # Of the leaves of the arguments.


class Program:
  """A function of arrays, compiled for each shape of its arguments.

  It is compiled once on a machine: a later process loads what was compiled, if
  nothing that acts on it differs.
  """

  def __init__(
    self, function: Callable[..., jax.Array], *, name: str, identity: Any
  ):
    """Compiles nothing yet.

    Args:
      function: Function of trees of arrays that gives one array.
      name: Name of the program, for messages.
      identity: JSON data that, with the code of this library, determines what
        `function` computes; None: the program is not kept.
    """
    self._name = name
    self._identity = identity
    # Arguments that nothing reads are passed, too.
    self._function = jax.jit(function, keep_unused=True)
    self._compiled: dict[str, futures.Future[_Run]] = {}
    self._lock = threading.Lock()

  def __call__(self, *arguments: Any) -> jax.Array:
    """The result for some arguments: trees of arrays and numbers."""
    leaves, tree = jax.tree.flatten(arguments)
    if any(map(_is_elsewhere, leaves)):
      return self._function(*arguments)
    return self._compiled_for(leaves, tree)(leaves)

  def prepare(self, *arguments: Any) -> None:
    """Loads or compiles the program for arguments of these shapes.

    Args:
      *arguments: Trees as of a call, whose arrays may be `jax.ShapeDtypeStruct`.
    """
    leaves, tree = jax.tree.flatten(arguments)
    if not any(map(_is_elsewhere, leaves)):
      self._compiled_for(leaves, tree)

  def _compiled_for(self, leaves: Sequence[Any], tree: Any) -> _Run:
    """The program for leaves of some shapes; made once, whoever asks."""
    shapes = [_shape(x) for x in leaves]
    facts = (self._name, self._identity, str(tree), str(shapes), *_facts())
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    with self._lock:
      is_new = key not in self._compiled
      made = self._compiled.setdefault(key, futures.Future())
    if is_new:
      try:
        made.set_result(self._make(key, tree, shapes))
      except BaseException as e:
        del self._compiled[key]
        made.set_exception(e)
    return made.result()

  def _make(
    self, key: str, tree: Any, shapes: Sequence[jax.ShapeDtypeStruct]
  ) -> _Run:
    folder = None if self._identity is None else compile_cache.folder()
    file = folder / f'{key}.program' if folder else None
    if file and (loaded := _load(file, shapes)):
      return _or_else(loaded, lambda: self._compile(tree, shapes, file))
    return self._compile(tree, shapes, file)

  def _compile(
    self,
    tree: Any,
    shapes: Sequence[jax.ShapeDtypeStruct],
    file: pathlib.Path | None,
  ) -> _Run:
    """Compiles a program, and keeps it in a file if there is one."""
    lowered = self._function.lower(*tree.unflatten(shapes))
    if file is None:
      compiled = lowered.compile()
    else:
      with _outside_of_jaxs_cache() as is_new:
        compiled = lowered.compile()
      # What XLA has loaded, it does not serialise whole.
      if is_new():
        _keep(compiled, file)
    return lambda leaves: compiled(*tree.unflatten(leaves))


def _is_elsewhere(x: Any) -> bool:
  """Whether a leaf is traced, or lies on others than the first device."""
  if isinstance(x, jax.core.Tracer) or jax.config.jax_default_device:
    return True
  return isinstance(x, jax.Array) and x.devices() != {jax.devices()[0]}


def _shape(x: Any) -> jax.ShapeDtypeStruct:
  if isinstance(x, jax.ShapeDtypeStruct):
    return x
  aval = jax.typeof(x)
  return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def _load(
  file: pathlib.Path, shapes: Sequence[jax.ShapeDtypeStruct]
) -> _Run | None:
  """The program that was kept; None when there is none to trust."""
  content = private_files.read(file.parent, file.name)
  if content is None:
    return None
  device = jax.devices()[0]
  try:
    from jax._src.lib import xla_client  # pylint: disable=g-import-not-at-top

    devices = xla_client.DeviceList((device,))
    executable = device.client.deserialize_executable(content, devices)
  except Exception as e:  # Another version of a library may raise anything.
    logging.info('A kept program cannot be loaded (%s); compiling it.', e)
    return None

  def run(leaves: Sequence[Any]) -> jax.Array:
    arrays = [
      x if isinstance(x, jax.Array) else np.asarray(x, s.dtype)
      for x, s in zip(leaves, shapes, strict=True)
    ]
    results = executable.execute_sharded(jax.device_put(arrays, device))
    return results.disassemble_into_single_device_arrays()[0][0]

  return run


def _or_else(loaded: _Run, compile_again: Callable[[], _Run]) -> _Run:
  """A loaded program, or another one once that has failed."""
  chosen = [loaded]

  def run(leaves: Sequence[Any]) -> jax.Array:
    if chosen[0] is not loaded:
      return chosen[0](leaves)
    try:
      return loaded(leaves).block_until_ready()
    except jax.errors.JaxRuntimeError as e:
      logging.info('A kept program fails (%s); compiling it.', e)
      chosen[0] = compile_again()
      return chosen[0](leaves)

  return run


@contextlib.contextmanager
def _outside_of_jaxs_cache() -> Iterator[Callable[[], bool]]:
  """Keeps what this thread compiles out of JAX's own cache.

  Yields:
    Whether nothing came out of that cache, either.
  """
  from jax._src import config  # pylint: disable=g-import-not-at-top

  _listen()
  before = _thread.num_hits = getattr(_thread, 'num_hits', 0)
  with config.persistent_cache_min_compile_time_secs(math.inf):
    yield lambda: _thread.num_hits == before


@functools.cache
def _listen() -> None:
  """Counts the programs that each thread gets out of JAX's cache."""

  def count(event: str, **_: Any) -> None:
    if event == '/jax/compilation_cache/cache_hits':
      _thread.num_hits = getattr(_thread, 'num_hits', 0) + 1

  jax.monitoring.register_event_listener(count)


_thread = threading.local()


def _keep(compiled: Any, file: pathlib.Path) -> None:
  """Keeps a program, if it can be."""
  try:
    content = compiled.runtime_executable().serialize()
    private_files.write(file.parent, file.name, content)
    private_files.make_room(file.parent, compile_cache.MAX_BYTES)
  except Exception as e:  # A full disk, or a device that cannot serialise.
    logging.info('A compiled program cannot be kept (%s).', e)


def _facts() -> list[str]:
  """Facts of this process that act on every program."""
  settings = {
    name: str(value)
    for name, value in jax.config.values.items()
    if not name.startswith(_OF_CACHES)
  }
  flags = [os.environ.get(name, '') for name in _FLAGS]
  return [*constant_facts(), json.dumps(settings, sort_keys=True), *flags]


@functools.cache
def constant_facts() -> tuple[str, ...]:
  """Code, libraries, device and processor."""
  import flax  # pylint: disable=g-import-not-at-top

  device = jax.devices()[0]
  cores = (
    len(os.sched_getaffinity(0))
    if hasattr(os, 'sched_getaffinity')
    else os.cpu_count()
  )
  return (
    _code_digest(),
    jax.__version__,
    jaxlib.__version__,
    flax.__version__,
    np.__version__,
    device.platform,
    device.device_kind,
    device.client.platform_version,
    compile_cache.processor(),
    str(cores),
  )


def _code_digest() -> str:
  """A digest of the library's own sources."""
  digest = hashlib.sha256()
  root = pathlib.Path(v2meow_jax.__file__).parent
  for path in sorted(root.rglob('*.py')):
    digest.update(os.fsencode(path.relative_to(root)) + b'\n')
    digest.update(hashlib.sha256(path.read_bytes()).digest())
  return digest.hexdigest()
