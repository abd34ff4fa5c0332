"""The library can be read: few files a room, short files."""

import collections
import functools
import pathlib

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


@functools.cache
def paths() -> list[pathlib.Path]:
  """Every module of the library."""
  return sorted(LIBRARY.rglob('*.py'))


def name(path: pathlib.Path) -> str:
  return str(path.relative_to(LIBRARY))


def test_nothing_stands_at_the_top_but_what_the_tree_names():
  strangers = [p.name for p in LIBRARY.glob('*.py') if p.stem not in TOP]
  folders = {path.relative_to(LIBRARY).parts[0] for path in paths()}
  strangers += sorted(folders - ROOMS - {f'{name}.py' for name in TOP})
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
