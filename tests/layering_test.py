"""Who may import whom, and that importing does nothing else."""

import ast
import functools
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARY = ROOT / 'v2meow_jax'
RECIPES = {'tasks', 'tests', 'launch', 'benchmarks'}
DATA_LIBRARIES = {
  'tensorflow',
  'tensorflow_datasets',
  'tensorflow_text',
  'seqio',
  'apache_beam',
}
TORCH = {'torch', 'transformers'}

# The layer of a module is its room: the first part of its name. `NEVER`, which
# has rows for rooms inside a room too, holds for every import, `AT_IMPORT` for those that run when the module is imported;
# `ONLY` lists all that may be imported besides the standard library.
ONLY = {
  'specs': {'v2meow_jax.specs'},
  'stages': {'v2meow_jax.specs'},
  'tokens': {'numpy', 'jaxtyping', 'v2meow_jax.specs'},
  'media': {'numpy', 'v2meow_jax.specs'},
  'progress': {'tqdm'},
}


def rooms(*names: str) -> set[str]:
  return {f'v2meow_jax.{name}' for name in names}


# Rooms from the ground up; a room imports from those before it.
FLOORS = (
  ('specs', 'stages', 'tokens', 'media', 'progress', 'gin_config'),
  ('files', 'models', 'clusters'),
  ('pretrained', 'synthetic', 'data'),
  ('extractors', 'codecs', 'training'),
  ('parts',),
  ('inference', 'experiments'),
  ('explain', 'jobs', 'evaluation', 'doctor'),
  ('study', 'demo', 't5x_bridge'),
  ('cli',),
)
NEVER = {
  'files': DATA_LIBRARIES | TORCH | {'gin', 't5x', 'jax', 'flax'},
  'models': DATA_LIBRARIES | TORCH | {'gin', 't5x'},
  'clusters': DATA_LIBRARIES | TORCH | {'gin', 't5x'},
  'pretrained': (DATA_LIBRARIES - {'tensorflow'})
  | {'gin', 't5x'}
  | rooms('specs', 'stages', 'extractors', 'codecs', 'models', 'data')
  | rooms('training', 'inference', 'evaluation'),
  'extractors': DATA_LIBRARIES
  | {'gin', 't5x'}
  | rooms('data', 'models.sampling', 'models.stage_model', 'models.objectives'),
  'codecs': DATA_LIBRARIES
  | {'gin', 't5x'}
  | rooms('data', 'models', 'extractors', 'synthetic'),
  'synthetic': DATA_LIBRARIES
  | TORCH
  | {'gin', 't5x'}
  | rooms('data', 'models', 'codecs', 'extractors', 'pretrained'),
  'data': {'t5x', 'gin'}
  | rooms('models', 'codecs', 'extractors', 'training', 'pretrained'),
  'training': {'t5x'} | rooms('codecs', 'extractors', 'pretrained'),
  'parts': {'gin', 't5x'} | rooms('data', 'models', 'training'),
  'inference': DATA_LIBRARIES
  | {'t5x', 'gin'}
  | rooms('data', 'evaluation', 'explain', 'jobs', 'cli'),
  'explain': DATA_LIBRARIES
  | {'t5x', 'gin'}
  | rooms('data', 'jobs', 'training', 'pretrained', 'extractors', 'codecs')
  | rooms(*(f'evaluation.{r}' for r in ('listening', 'reports', 'controls'))),
  'jobs': {'t5x', 'gin'} | rooms('evaluation'),
  'jobs.generate': DATA_LIBRARIES | TORCH | rooms('data', 'jobs.prepare'),
  # Only the controls generate; sub-rooms import those before them.
  'evaluation': DATA_LIBRARIES
  | TORCH
  | {'t5x', 'gin'}
  | rooms('data', 'models', 'codecs', 'training', 'explain'),
  'evaluation.metrics': rooms(
    *('inference', 'extractors', 'synthetic'),
    *(f'evaluation.{r}' for r in ('listening', 'reports', 'controls')),
  ),
  'evaluation.listening': rooms(
    *('inference', 'synthetic', 'evaluation.reports', 'evaluation.controls')
  ),
  'evaluation.reports': rooms(
    *('inference', 'extractors', 'synthetic', 'evaluation.controls')
  ),
  # Media, statistics and pages: no network at all.
  'study': DATA_LIBRARIES
  | TORCH
  | {'gin', 't5x', 'jax', 'flax'}
  | rooms('data', 'models', 'codecs', 'extractors', 'training', 'inference'),
}
_LIGHT = DATA_LIBRARIES | TORCH | {'jax', 'flax', 'gin', 'av'}
AT_IMPORT = {
  'training': DATA_LIBRARIES | TORCH | {'gin', 'v2meow_jax.data'},
  'inference': TORCH,
  'study': {'fastapi', 'jinja2', 'uvicorn', 'matplotlib', 'scipy'},
  'codecs': TORCH,
  'extractors': TORCH,
  'pretrained': DATA_LIBRARIES | TORCH,
  'gin_config': DATA_LIBRARIES | TORCH | {'jax', 'gin'},
  'cli': _LIGHT,
  'doctor': _LIGHT,
  # Imports what builds a part when it is built.
  'parts': DATA_LIBRARIES
  | TORCH
  | {'jax', 'flax', 'gin'}
  | rooms('extractors', 'codecs', 'clusters', 'models', 'training'),
  'jobs': TORCH,
  # Reads recipes, which name data.
  'experiments': DATA_LIBRARIES | TORCH | {'gin', 'v2meow_jax.data'},
  't5x_bridge': TORCH | {'gin', 'v2meow_jax.cli'},
  # What the library says about itself.
  '': DATA_LIBRARIES | TORCH | {'gin'},
}
# These load TensorFlow; the last also T5X, which may be absent.
HEAVY = ('data', 'jobs', 't5x_bridge')
LAYERS = {room for floor in FLOORS for room in floor} | {''}


@functools.cache
def modules() -> dict[str, pathlib.Path]:
  """Every module of the library by its dotted name."""
  found = {}
  for path in sorted(LIBRARY.rglob('*.py')):
    parts = path.relative_to(ROOT).with_suffix('').parts
    found['.'.join(p for p in parts if p != '__init__')] = path
  return found


def layer(module: str) -> str:
  return module.partition('.')[2].partition('.')[0]


@functools.cache
def imports(module: str) -> tuple[set[str], set[str]]:
  """Names that a module imports: all of them, and those at import."""
  tree = ast.parse(modules()[module].read_text())
  lazy = {
    id(node)
    for function in ast.walk(tree)
    if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    for node in ast.walk(function)
  }
  all_names: set[str] = set()
  at_import: set[str] = set()
  for node in ast.walk(tree):
    names: set[str] = set()
    if isinstance(node, ast.Import):
      names = {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{module} imports relatively, line {node.lineno}'
      names = {f'{node.module}.{alias.name}' for alias in node.names}
    all_names |= names
    at_import |= set() if id(node) in lazy else names
  return all_names, at_import


def hits(names: set[str], forbidden: set[str]) -> set[str]:
  return {
    name
    for name in names
    if any(name == f or name.startswith(f + '.') for f in forbidden)
  }


@functools.cache
def fresh_interpreter(code: str, *argv: str) -> dict:
  """What a new interpreter prints as json on its last line."""
  done = subprocess.run(
    [sys.executable, '-c', code, *argv],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=180,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.strip().splitlines()[-1])


def test_every_module_has_a_layer():
  strangers = [m for m in modules() if layer(m) not in LAYERS]
  assert not strangers, f'give {strangers} a row in the table of this file'


def misplaced(module: str) -> set[str]:
  """Imports of a module that its layer may not have."""
  everything, at_import = imports(module)
  row = layer(module)
  inside = [
    name for name in NEVER if f'{module}.'.startswith(f'v2meow_jax.{name}.')
  ]
  wrong = {hit for name in inside for hit in hits(everything, NEVER[name])}
  wrong |= hits(at_import, AT_IMPORT.get(row, set()))
  if row in ONLY:
    known = {n for n in everything if root_of(n) in sys.stdlib_module_names}
    wrong |= everything - known - hits(everything, ONLY[row])
  return wrong


def root_of(name: str) -> str:
  return name.partition('.')[0]


def test_modules_import_only_what_their_layers_may():
  wrong = {m: names for m in modules() if (names := misplaced(m))}
  assert not wrong, f'move the modules, or import in the function: {wrong}'


def test_the_library_imports_no_recipe():
  wrong = {
    m: names for m in modules() if (names := hits(imports(m)[0], RECIPES))
  }
  assert not wrong, f'have these passed in, or named by gin: {wrong}'


def edges() -> dict[str, dict[str, set[str]]]:
  """Room -> rooms that it imports -> modules that do."""
  found: dict[str, dict[str, set[str]]] = {}
  for module in modules():
    for name in hits(imports(module)[0], {'v2meow_jax'}):
      a, b = layer(module), layer(name)
      if a and b and a != b:
        found.setdefault(a, {}).setdefault(b, set()).add(module)
  return found


def test_a_room_imports_from_the_floors_below_alone():
  floor = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
  upwards = [
    f'{a} -> {b} in {sorted(where)}'
    for a, targets in edges().items()
    for b, where in targets.items()
    if floor[b] > floor[a] or (floor[b] == floor[a] and a in edges().get(b, {}))
  ]
  assert not upwards, f'move a module down, or what it needs up: {upwards}'


_IMPORT_ALL = """
import json, os, sys
before = dict(os.environ)
import importlib
names = sys.argv[1:]
for name in names:
  importlib.import_module(name)
from absl import flags
ours = [
  module for module in flags.FLAGS.flags_by_module_dict()
  if module.startswith('v2meow_jax')
]
changed = sorted(
  key for key in {*before, *os.environ}
  if before.get(key) != os.environ.get(key)
)
print()
print(json.dumps({
  'modules': sorted(m for m in sys.modules),
  'flags': ours,
  'environment': changed,
}))
"""


@pytest.mark.slow
def test_everything_but_data_loads_neither_tensorflow_nor_torch_nor_gin():
  names = [m for m in modules() if layer(m) not in HEAVY]
  loaded = set(fresh_interpreter(_IMPORT_ALL, *names)['modules'])
  assert 'v2meow_jax.stages' in loaded
  assert not hits(loaded, DATA_LIBRARIES | TORCH | {'gin', 't5x'})


def test_specs_and_stages_load_the_standard_library_alone():
  code = (
    'import sys, json; import v2meow_jax.stages;'
    'print(json.dumps(sorted({m.partition(".")[0] for m in sys.modules})))'
  )
  loaded = set(fresh_interpreter(code))
  # Site hooks of an installation may load more before the first line runs.
  idle = set(fresh_interpreter(code.replace('import v2meow_jax.stages;', '')))
  assert loaded - idle - set(sys.stdlib_module_names) == {'v2meow_jax'}


def test_tokens_and_media_do_not_load_jax():
  code = (
    'import sys, json; import v2meow_jax.tokens, v2meow_jax.media;'
    'print(json.dumps(sorted(sys.modules)))'
  )
  assert not hits(set(fresh_interpreter(code)), {'jax'} | DATA_LIBRARIES)


@pytest.mark.data
def test_data_loads_no_network():
  names = [m for m in modules() if layer(m) == 'data']
  loaded = set(fresh_interpreter(_IMPORT_ALL, *names)['modules'])
  assert not hits(loaded, NEVER['data'] - {'gin'})


@pytest.mark.slow
def test_importing_has_no_effect():
  names = [m for m in modules() if layer(m) not in HEAVY]
  found = fresh_interpreter(_IMPORT_ALL, *names)
  assert found['flags'] == []
  # What the libraries set for themselves is theirs.
  third_party = fresh_interpreter(
    _IMPORT_ALL, 'jax', 'flax', 'optax', 'orbax.checkpoint', 'gin'
  )
  assert found['environment'] == third_party['environment']


def test_import_gin_is_the_library():
  assert not (ROOT / 'gin' / '__init__.py').exists()
  code = (
    'import json, gin; print(json.dumps('
    '[gin.__file__, hasattr(gin, "parse_config_files_and_bindings")]))'
  )
  path, is_library = fresh_interpreter(code)
  assert is_library
  assert ROOT / 'gin' not in pathlib.Path(path).parents
