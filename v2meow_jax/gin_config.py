"""Reads gin recipes with allowed imports only, and errors that name the line.

A gin file is a program: an import in it runs code, and dynamic registration
reaches anything in a module, what the module imports among it. So imports are
checked against a list, and names for being the module's own, before gin reads
the text; released systems contain no gin.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import difflib
import importlib
import logging
import pathlib
import re
import sys
import types
from typing import Any

ALLOWED_IMPORTS = (
    '__gin__', 'flax', 'jax', 'jestimator', 'optax', 'seqio', 't5x', 'tasks',
    'v2meow_jax', '__main__',
)  # fmt: skip
_FUNCTION = types.FunctionType | types.BuiltinFunctionType
_DATASETS = 'tasks/datasets.py'
_IMPORT = re.compile(
  r'^\s*(?:import\s+([\w.]+)|from\s+([\w.]+)\s+import\s+(\w+))'
  r'(?:\s+as\s+(\w+))?'
)
# `module.function` and `module.function.argument`, where they are no text.
_SELECTOR = re.compile(r'(?<![\w.%\'"])(\w+(?:\.\w+)+)')
_USED = re.compile(r'%([A-Za-z_]\w*)')
_MACRO = re.compile(r'^\s*([A-Za-z_]\w*)\s*=')
_INCLUDE = re.compile(r"""^\s*include\s+['"]([^'"]+)['"]""")


class ConfigError(ValueError):
  """A recipe is missing or wrong; the message names file and line."""


def find(name: str, search_paths: Sequence[str]) -> pathlib.Path:
  """Finds a recipe; ConfigError lists where it was looked for."""
  for folder in ('', *search_paths):
    path = pathlib.Path(folder) / name
    if path.is_file():
      return path
  raise ConfigError(
    f'there is no gin file {name!r}; looked in the working directory and'
    f' {list(search_paths)}. Run from the repository root, or pass'
    ' --gin_search_paths.'
  )


def included(
  path: pathlib.Path, search_paths: Sequence[str]
) -> list[pathlib.Path]:
  """Lists the recipes that a recipe includes directly, in order."""
  matches = map(_INCLUDE.match, _text(path).splitlines())
  return [find(m.group(1), search_paths) for m in matches if m]


def _with_included(
  path: pathlib.Path, search_paths: Sequence[str], *above: pathlib.Path
) -> Iterator[pathlib.Path]:
  """Yields a recipe and all that it includes, directly or indirectly."""
  if path in above:
    raise ConfigError(f'{path} includes itself, by way of {above[-1]}.')
  yield path
  for part in included(path, search_paths):
    yield from _with_included(part, search_paths, *above, path)


def _text(path: pathlib.Path) -> str:
  try:
    return path.read_text('utf-8')
  except UnicodeDecodeError as e:
    raise ConfigError(f'{path} is not UTF-8 at byte {e.start}.') from e


def check_imports(path: pathlib.Path, search_paths: Sequence[str]) -> None:
  """Refuses imports from outside the allowed packages, includes followed.

  Names that a module only imports are refused as well: what `subprocess` runs
  for a module of ours, it would run for a recipe.

  Raises:
    ConfigError: Names the file, the line and the package or name.
  """
  for recipe in _with_included(path, search_paths):
    modules = {}
    for number, line in enumerate(_text(recipe).splitlines(), 1):
      place = f'{recipe}, line {number}'
      if match := _IMPORT.match(line):
        _check_package(place, match)
        name, module = _imported(place, match)
        modules[name] = module
        continue
      for selector in _SELECTOR.findall(line.partition('#')[0]):
        first, *names = selector.split('.')
        if modules.get(first) is not None:
          _check_own(place, selector, modules[first], names)


def _check_package(place: str, match: re.Match) -> None:
  package = (match.group(1) or match.group(2)).split('.')[0]
  if package not in ALLOWED_IMPORTS:
    raise ConfigError(
      f'{place}: importing {package!r} is not allowed in a recipe; allowed are'
      f' {", ".join(ALLOWED_IMPORTS)}.'
    )


def _imported(
  place: str, match: re.Match
) -> tuple[str, types.ModuleType | None]:
  """Name and module of an import; None for what gin itself provides."""
  whole, package, name, alias = match.groups()
  path = whole or f'{package}.{name}'
  local = alias or path.split('.')[0 if whole else -1]
  if path.split('.')[0] in ('__gin__', '__main__'):
    return local, None
  try:
    module = importlib.import_module(path)
  except ModuleNotFoundError as e:
    if e.name and not path.startswith(e.name):
      return local, None  # Something optional is missing; gin will say so.
    raise ConfigError(f'{place}: there is no module {path!r}.') from e
  return local, sys.modules[local] if whole and not alias else module


def _check_own(
  place: str, selector: str, module: types.ModuleType, names: Sequence[str]
) -> None:
  """Refuses a name that leads out of the packages of a module."""
  package = module.__name__.split('.')[0]
  owner: Any = module
  for name in names:
    owner = getattr(owner, name, None)
    if owner is None or not isinstance(
      owner, types.ModuleType | type | _FUNCTION
    ):
      return  # An argument, or a name that gin reports as missing.
    home = getattr(owner, '__module__', None) or getattr(owner, '__name__', '')
    if home.split('.')[0] != package:
      raise ConfigError(
        f'{place}: {selector} is of {home!r}, which {module.__name__} only'
        ' imports; a recipe may name what a module defines itself.'
      )


def check_used(
  files: Sequence[str],
  bindings: Sequence[str],
  search_paths: Sequence[str] = ('gin',),
) -> None:
  """Refuses a binding of the command line that no recipe reads.

  Args:
    files: Names of recipes, see `parse`.
    bindings: Bindings of the command line, such as 'TRAIN_STEPS = 100'.
    search_paths: Folders that hold recipes.

  Raises:
    ConfigError: Names the binding and what it may have been meant for.
  """
  texts = [*bindings]
  for name in files:
    for recipe in _with_included(find(name, search_paths), search_paths):
      texts.append(re.sub(r'#.*', '', _text(recipe)))
  used = set(_USED.findall('\n'.join(texts)))
  for binding in bindings:
    match = _MACRO.match(binding)
    if match and match.group(1) not in used:
      name = match.group(1)
      near = difflib.get_close_matches(name, used, n=1)
      meant = (
        f'did you mean {near[0]}?' if near else f'they read {sorted(used)}.'
      )
      raise ConfigError(f'{name} is read by none of the recipes: {meant}')


def parse(
  files: Sequence[str],
  bindings: Sequence[str] = (),
  search_paths: Sequence[str] = ('gin',),
) -> None:
  """Parses recipes in order into gin's global config, later ones win.

  Args:
    files: Names of recipes, relative to a search path or the working directory.
    bindings: Bindings to read last, such as 'TRAIN_STEPS = 100'.
    search_paths: Folders that hold recipes.

  Raises:
    ConfigError: A file is missing, imports what it may not, or does not parse.
  """
  import gin  # pylint: disable=g-import-not-at-top

  paths = [find(name, search_paths) for name in files]
  for folder in search_paths:
    gin.add_config_file_search_path(folder)
    beside = pathlib.Path(folder).resolve().parent
    if (beside / _DATASETS).is_file() and str(beside) not in sys.path:
      sys.path.append(str(beside))  # Recipes are not installed.
  for path in paths:
    check_imports(path, search_paths)
  for binding in bindings:
    if _IMPORT.match(binding) or _INCLUDE.match(binding) or '\n' in binding:
      raise ConfigError(f'{binding!r} is not a binding; wanted NAME=VALUE.')
  gin.clear_config()
  root = logging.getLogger()
  root.addFilter(_found_elsewhere)
  try:
    gin.parse_config_files_and_bindings(
      [str(p) for p in paths], list(bindings), finalize_config=True
    )
  except Exception as e:  # gin raises many kinds, all with file and line.
    message = ' '.join(str(e).split())
    if 'malformed node' in message:
      message += ' A text needs quotes of its own: --gin.NAME="\'text\'".'
    raise ConfigError(message) from e
  finally:
    root.removeFilter(_found_elsewhere)


def _found_elsewhere(record: logging.LogRecord) -> bool:
  """Drops gin's error for each search path that an include is not in."""
  return not record.getMessage().startswith('Path not found: ')
