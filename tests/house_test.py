"""The library can be read: few files a room, short files, names used once."""

import ast
import collections
import functools
import pathlib
import re

LIBRARY = pathlib.Path(__file__).resolve().parents[1] / 'v2meow_jax'
MAX_FILES = 15
MAX_LINES = 500
# The tree of the library at its top.
TOP = {
  *('__init__', 'specs', 'stages', 'tokens', 'media', 'parts', 'gin_config'),
  *('experiments', 'doctor', 'progress', 't5x_bridge'),
}
ROOMS = {
  *('files', 'pretrained', 'extractors', 'clusters', 'codecs', 'models'),
  *('training', 'data', 'inference', 'jobs', 'evaluation', 'explain', 'study'),
  *('demo', 'cli', 'synthetic', 'assets'),
}
# What every network has; the module says which is meant.
PARTS_OF_NETWORKS = {
  *('Decoder', 'Encoder', 'Layer', 'Quantizer', 'ResidualBlock'),
  'ResidualUnit',
}
# How no description of an argument begins: a phrase without its noun.
FRAGMENT = re.compile(
  r'(Of|That|What|Its|As|How|Whose|From|See|Which|Likewise)\b'
  r'(?! many| much| frames? to)'
)
# A capital, a value, a type with its axes, or a function.
BEGINNING = re.compile(r'[A-Z\d`\'"({\[.-]|\w+\[|[\w, ]+->')
SECTION = re.compile(r'(Args|Attributes|Returns|Raises|Yields|Examples?):')
ENTRY = re.compile(r'  (\*{0,2}\w+): (.*)')


@functools.cache
def paths() -> list[pathlib.Path]:
  """Every module of the library."""
  return sorted(LIBRARY.rglob('*.py'))


def name(path: pathlib.Path) -> str:
  return str(path.relative_to(LIBRARY))


@functools.cache
def tree(path: pathlib.Path) -> ast.Module:
  return ast.parse(path.read_text())


def entries(docstring: str) -> list[tuple[str, str]]:
  """Arguments and attributes of a docstring: names and descriptions."""
  found = []
  described = False
  for line in docstring.splitlines():
    if section := SECTION.match(line):
      described = section[1] in ('Args', 'Attributes')
    elif described and (entry := ENTRY.match(line)):
      found.append((entry[1], entry[2]))
  return found


def is_fragment(description: str) -> bool:
  return bool(FRAGMENT.match(description) or not BEGINNING.match(description))


def test_nothing_stands_at_the_top_but_what_the_tree_names():
  there = {path.relative_to(LIBRARY).parts[0] for path in paths()}
  strangers = sorted(there - ROOMS - {f'{name}.py' for name in TOP})
  assert not strangers, f'these belong into a room: {strangers}'


def test_a_room_can_be_seen_at_one_look():
  files = collections.Counter(
    path.parent for path in paths() if path.stem != '__init__'
  )
  crowded = {name(room): n for room, n in files.items() if n > MAX_FILES}
  assert not crowded, f'more than {MAX_FILES} files, cut into rooms: {crowded}'


def test_a_module_fits_in_one_reading():
  lines = {name(p): len(p.read_text().splitlines()) for p in paths()}
  long = {path: count for path, count in lines.items() if count > MAX_LINES}
  assert not long, f'more than {MAX_LINES} lines, cut in two: {long}'


def test_a_class_name_is_used_once():
  where = collections.defaultdict(list)
  for path in paths():
    for node in ast.walk(tree(path)):
      if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
        where[node.name].append(name(path))
  twice = {
    cls: files
    for cls, files in where.items()
    if len(files) > 1 and cls not in PARTS_OF_NETWORKS
  }
  assert not twice, f'names that say which of them it is, for {twice}'


def test_descriptions_of_arguments_make_sense_alone():
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
  fragments = [
    f'{name(path)}: {node.name}: {argument}: {description}'
    for path in paths()
    for node in ast.walk(tree(path))
    if isinstance(node, kinds)
    for argument, description in entries(ast.get_docstring(node) or '')
    if is_fragment(description)
  ]
  lines = '\n'.join(fragments)
  assert not fragments, f'begin each with a noun:\n{lines}'


def test_a_fragment_is_noticed():
  described = entries(
    'Does.\n\nArgs:\n  seed: Of the world.\n  num: How many rows.\n'
    'Returns:\n  x: Of none.'
  )
  assert described == [('seed', 'Of the world.'), ('num', 'How many rows.')]
  assert [is_fragment(text) for _, text in described] == [True, False]
  assert is_fragment('that listen') and not is_fragment('float[b, dim]')
