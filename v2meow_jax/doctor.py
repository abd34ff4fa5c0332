"""Checks which parts work on this machine, and how to fix the others."""

import collections
from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import dataclasses
import importlib
from importlib import metadata
import platform
import re
import shutil
import subprocess
import sys
from typing import Any
from typing import Literal

import v2meow_jax

_PACKAGE = 'v2meow_jax'
_PYTHONS = ((3, 11), (3, 14))
_MIN_FREE_BYTES = 1 << 30
_IMPORT_TIMEOUT_SECONDS = 120

# Modules that generation needs; a broken wheel fails on import.
_BASE_MODULES = ('jax', 'flax', 'av', 'soundfile', 'soxr', 'safetensors')

CheckState = Literal['ok', 'off', 'FAIL']


@dataclasses.dataclass(frozen=True)
class Check:
  """One line of the report.

  Attributes:
    name: Name of the thing that was checked.
    state: 'ok'; 'off' when an optional part is missing; 'FAIL' when music
      cannot be generated because of it.
    detail: Result of the check.
    fix: Advice; empty when nothing needs doing.
  """

  name: str
  state: CheckState
  detail: str
  fix: str = ''


@dataclasses.dataclass(frozen=True)
class Extra:
  """An optional part of the installation.

  Attributes:
    name: Name of the extra, as in `pip install v2meow_jax[name]`.
    enables: Commands or features that need it.
    modules: Modules to import as a test; several packages of this field install
      side by side and then fail to import.
  """

  name: str
  enables: str
  modules: tuple[str, ...]


EXTRAS = (
  Extra(
    'data',
    'v2meow data prepare, SeqIO tasks',
    ('seqio', 'tensorflow_datasets', 'apache_beam'),
  ),
  Extra('train', 'v2meow train', ('clu.metric_writers', 'tensorboard')),
  Extra('eval', 'benchmarks, metrics', ('librosa', 'mir_eval', 'sklearn')),
  Extra('weights', 'v2meow weights fetch', ('pooch',)),
  Extra('buckets', 'names that begin with gs://', ('gcsfs',)),
  Extra('ray', 'v2meow batch --engine ray', ('ray',)),
  Extra('flow', 'optical flow for I3D', ('cv2',)),
  Extra(
    'hub',
    'CLAP, MusicCoCa, w2v-BERT, MERT and AST',
    ('torch', 'transformers', 'ai_edge_litert'),
  ),
  Extra('study', 'v2meow study serve', ('fastapi', 'uvicorn')),
  Extra('dev', 'launch/check.sh', ('pytest', 'torch')),
)


def main() -> int:
  """Prints the report; returns 0 when music can be generated, else 1."""
  checks = report()
  print(render(checks))
  return exit_code(checks)


def report() -> list[Check]:
  """Runs every check."""
  checks = [_python(), *_base_packages(), _devices(), *_media_codecs()]
  checks += [*_systems(), _programs(), _disk()]
  # Each waits for an interpreter of its own.
  with futures.ThreadPoolExecutor() as pool:
    return checks + list(pool.map(_extra, EXTRAS))


def render(checks: Sequence[Check]) -> str:
  """Formats the report: a line a check, its fix below it, then a verdict."""
  width = max(len(check.name) for check in checks)
  lines = []
  for check in checks:
    lines.append(f'{check.state:4}  {check.name:{width}}  {check.detail}')
    if check.fix:
      lines.append(f'{"":4}  {"":{width}}  -> {check.fix}')
  failed = [check.name for check in checks if check.state == 'FAIL']
  if failed:
    lines.append(f'\nGeneration does not work: {", ".join(failed)}.')
  else:
    lines.append('\nGeneration works: v2meow generate VIDEO -o OUT.mp4')
  return '\n'.join(lines)


def exit_code(checks: Sequence[Check]) -> int:
  """0 when music can be generated, else 1."""
  return int(any(check.state == 'FAIL' for check in checks))


def missing_requirements(
  extra: str | None,
  requirements: Sequence[str],
  installed: Callable[[str], str],
) -> list[str]:
  """Lists the distributions of an extra that are not installed.

  >>> reqs = ['numpy<3', 'librosa>=0.11; extra == "eval"']
  >>> missing_requirements('eval', reqs, metadata.version) in ([], ['librosa'])
  True

  Args:
    extra: Name of the extra; None: the base installation.
    requirements: Requirements from `importlib.metadata.requires`.
    installed: Function that returns the version of a distribution or raises
      PackageNotFoundError.

  Returns:
    Names, in the order of the requirements.
  """
  missing = []
  for requirement in requirements:
    marker = re.search(r'extra == [\'"]([\w-]+)[\'"]', requirement)
    if (marker and marker.group(1)) != extra:
      continue
    match = re.match(r'[\w.-]+', requirement)
    name = match.group() if match else requirement
    if name == _PACKAGE:
      continue
    try:
      installed(name)
    except metadata.PackageNotFoundError:
      missing.append(name)
  return missing


def _requirements() -> list[str]:
  try:
    return metadata.requires(_PACKAGE) or []
  except metadata.PackageNotFoundError:
    return []


def _python() -> Check:
  low, high = _PYTHONS
  detail = f'{platform.python_version()} at {sys.executable}'
  if low <= sys.version_info[:2] < high:
    return Check('python', 'ok', detail)
  fix = 'make the environment with Python 3.11, 3.12 or 3.13'
  return Check('python', 'FAIL', detail, fix)


def _base_packages() -> list[Check]:
  checks = []
  for module in _BASE_MODULES:
    try:
      importlib.import_module(module)
      checks.append(Check(module, 'ok', metadata.version(module)))
    except Exception as error:  # A broken wheel may raise anything.
      checks.append(
        Check(module, 'FAIL', _first_line(error), v2meow_jax.extra_command())
      )
  missing = missing_requirements(None, _requirements(), metadata.version)
  if missing:
    detail = f'without {", ".join(missing)}'
    checks.append(
      Check('base install', 'FAIL', detail, v2meow_jax.extra_command())
    )
  return checks


def _devices() -> Check:
  try:
    import jax

    devices = jax.devices()
  except Exception as error:  # Drivers fail in their own ways.
    fix = 'JAX_PLATFORMS=cpu uses the processor'
    return Check('devices', 'FAIL', _first_line(error), fix)
  kinds = collections.Counter(device.device_kind for device in devices)
  detail = ', '.join(f'{count} x {kind}' for kind, count in kinds.items())
  return Check('devices', 'ok', f'{devices[0].platform}: {detail}')


def _media_codecs() -> list[Check]:
  wanted: tuple[tuple[str, str, Literal['r', 'w'], CheckState, str], ...] = (
    ('read h264', 'h264', 'r', 'FAIL', 'most videos'),
    ('write aac', 'aac', 'w', 'FAIL', 'the soundtrack of an mp4'),
    ('write h264', 'libx264', 'w', 'off', 'v2meow data synth'),
    ('read hevc', 'hevc', 'r', 'off', 'videos of many phones'),
    ('read vp9', 'vp9', 'r', 'off', 'webm videos'),
    ('read av1', 'av1', 'r', 'off', 'recent web videos'),
  )
  reinstall = v2meow_jax.install_command('--force-reinstall av')
  fix = f'install the PyAV wheel: {reinstall}'
  checks = []
  for name, codec, mode, otherwise, use in wanted:
    try:
      from av import codec as av_codec

      av_codec.Codec(codec, mode)
      checks.append(Check(name, 'ok', use))
    except Exception as error:
      detail = f'needed for {use}: {_first_line(error)}'
      checks.append(Check(name, otherwise, detail, fix))
  return checks


def _systems() -> list[Check]:
  try:
    from v2meow_jax.inference import system
  except ImportError as error:
    fix = v2meow_jax.extra_command()
    return [Check('system', 'FAIL', _first_line(error), fix)]
  return [_system(name, system.load) for name in system.SHIPPED]


def _system(name: str, load: Callable[[str], Any]) -> Check:
  try:
    loaded = load(name)
  except Exception as error:  # Any failure to load is the finding.
    fix = 'restore the files: git checkout v2meow_jax/assets'
    return Check(f'system {name}', 'FAIL', _first_line(error), fix)
  detail = f'loads; sha256 {loaded.digest[:12]}, files as it names them'
  return Check(f'system {name}', 'ok', detail)


def _programs() -> Check:
  name = 'compiled programs'
  try:
    from v2meow_jax.inference.programs import compile_cache

    folder = compile_cache.folder()
  except ImportError as error:
    return Check(name, 'off', _first_line(error), v2meow_jax.extra_command())
  if folder:
    return Check(name, 'ok', f'kept in {folder}')
  fix = (
    f'set {compile_cache.VARIABLE} to a folder that is yours, and that others'
    ' cannot write to'
  )
  return Check(name, 'off', 'not kept: each command compiles', fix)


def _disk() -> Check:
  free = shutil.disk_usage('.').free
  detail = f'{free / 1e9:.1f} GB free in this folder'
  if free >= _MIN_FREE_BYTES:
    return Check('disk', 'ok', detail)
  return Check('disk', 'off', detail, 'make room for the results')


def _extra(extra: Extra) -> Check:
  name = f'extra {extra.name}'
  missing = missing_requirements(extra.name, _requirements(), metadata.version)
  if missing:
    problem = f'without {", ".join(missing)}'
  elif problem := _import_problem(extra.modules):
    problem = f'installed, but {problem}'
  else:
    return Check(name, 'ok', extra.enables)
  install = v2meow_jax.extra_command(extra.name)
  return Check(name, 'off', f'{extra.enables}: {problem}', install)


def _import_problem(modules: Sequence[str]) -> str:
  """Imports modules in a fresh interpreter; returns the error, '' if none."""
  code = 'import ' + ', '.join(modules)
  try:
    done = subprocess.run(
      [sys.executable, '-c', code],
      capture_output=True,
      text=True,
      timeout=_IMPORT_TIMEOUT_SECONDS,
    )
  except subprocess.TimeoutExpired:
    return f'importing takes over {_IMPORT_TIMEOUT_SECONDS} s'
  if done.returncode == 0:
    return ''
  lines = done.stderr.strip().splitlines()
  return lines[-1] if lines else f'exit code {done.returncode}'


def _first_line(error: BaseException) -> str:
  text = str(error).strip() or type(error).__name__
  return text.splitlines()[0]
