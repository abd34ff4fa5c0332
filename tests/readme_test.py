"""What README.md says is so: commands, flags, paths, the map, the example.

The commands of docs/training.md, docs/weights.md, docs/study.md and others too.
"""

import ast
import functools
import importlib
import importlib.util
import itertools
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests.fakes import command as command_line
from v2meow_jax import doctor
from v2meow_jax.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text()
TRAINING = (ROOT / 'docs/training.md').read_text()
WEIGHTS = (ROOT / 'docs/weights.md').read_text()
STUDY = (ROOT / 'docs/study.md').read_text()
EVALUATION = (ROOT / 'docs/evaluation.md').read_text()
MEDIA = (ROOT / 'docs/media.md').read_text()
BATCH = (ROOT / 'docs/batch.md').read_text()
SONGS = (ROOT / 'docs/songs.md').read_text()
MUVI = (ROOT / 'docs/muvi.md').read_text()
VMAS = (ROOT / 'docs/vmas.md').read_text()
FINISH = (ROOT / 'docs/finish.md').read_text()
PLAN = (ROOT / 'docs/plan.md').read_text()
GENERATING = (ROOT / 'docs/generating.md').read_text()
PAGES = (
  README,
  TRAINING,
  WEIGHTS,
  STUDY,
  EVALUATION,
  MEDIA,
  BATCH,
  SONGS,
  MUVI,
  VMAS,
  FINISH,
  PLAN,
  GENERATING,
)
GROUPS = ('data', 'weights', 'study', 'batch')  # Verbs of verbs.
VERBS_WITHIN = (('evaluate', 'table'),)
VARIABLE = re.compile('[A-Z][A-Z0-9_]*=')


def fences(language: str, page: str = README) -> list[str]:
  return re.findall(rf'^```{language}\n(.*?)^```', page, re.M | re.S)


def commands(*pages: str) -> list[list[str]]:
  """The words of each command, without variables that are set for it."""
  text = '\n'.join(f for p in pages or (README,) for f in fences('bash', p))
  lines = text.replace('\\\n', ' ').splitlines()
  found = [shlex.split(line, comments=True) for line in lines]
  bare = [itertools.dropwhile(VARIABLE.match, words) for words in found]
  return [words for words in map(list, bare) if words]


def v2meow_commands(*pages: str) -> list[list[str]]:
  """What follows `v2meow` in each command that calls it."""
  return [c[1:] for c in commands(*pages) if c[0].endswith('v2meow')]


def verb(arguments: list[str]) -> tuple[str, ...]:
  words = tuple(arguments[:2])
  return words if words[0] in GROUPS or words in VERBS_WITHIN else words[:1]


def flags(arguments: list[str]) -> list[str]:
  """Those of the verb; what follows a bare -- is for Beam."""
  own = itertools.takewhile(lambda a: a != '--', arguments)
  return [a.partition('=')[0] for a in own if re.match('--?[a-z]', a)]


@functools.cache
def help_of(*words: str) -> str:
  done = command_line.v2meow(*words, '--help')
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_readme_shows_the_commands_of_a_newcomer():
  lines = [' '.join(c) for c in commands()]
  install = lines.index('bash launch/quickstart.sh')
  assert lines[install + 1].startswith('.venv/bin/v2meow generate my.mp4')
  assert {verb(c)[0] for c in v2meow_commands()} == {
    'generate',
    'plan',
    'explain',
    'doctor',
    'data',
    'train',
    'export',
    'evaluate',
  }


@pytest.mark.parametrize('page', sorted((ROOT / 'docs').glob('*.md')))
def test_a_page_activates_the_environment_before_its_first_command(page):
  words = [c[0] for c in commands(page.read_text())]
  ours = [w for w in words if w.rpartition('/')[2] in ('v2meow', 'python')]
  assert set(ours) <= {'v2meow', 'python'}, ours
  if ours:
    assert 'source' in words[: words.index(ours[0])]


@pytest.mark.slow
def test_verbs_and_flags_exist():
  wrong = {}
  for arguments in v2meow_commands(*PAGES):
    text = help_of(*verb(arguments))
    offered = set(re.findall(r'(?<![\w-])--?[a-zA-Z][\w.-]*\b', text))
    bindings = {f for f in flags(arguments) if f.startswith('--gin.')}
    unknown = set(flags(arguments)) - offered
    unknown -= bindings if '--gin.' in text else set()
    if unknown:
      wrong[' '.join(arguments)] = unknown
  assert not wrong, wrong


def test_macros_that_commands_bind_are_used():
  idle = {}
  for arguments in v2meow_commands(README, TRAINING):
    if verb(arguments) != ('train',):
      continue
    pairs = [word.partition('=') for word in arguments]
    waiting = [value for flag, _, value in pairs if flag == '--gin_file']
    bound = {f[6:] for f, _, _ in pairs if re.match('--gin.[A-Z]', f)}
    used = set()
    while waiting:
      recipe = (ROOT / 'gin' / waiting.pop()).read_text()
      waiting += re.findall(r"^include '(.+)'", recipe, re.M)
      used |= set(re.findall(r'%([A-Z_]+)', recipe))
    if bound - used:
      idle[' '.join(arguments)] = bound - used
  assert not idle, idle


def missing(command: list[str]) -> list[str]:
  """Recipes, scripts and modules of a command that are not there."""
  values = [word.partition('=') for word in command]
  recipes = [
    f'gin/{value}' for name, _, value in values if name == '--gin_file'
  ]
  scripts = [word for word in command if word.startswith('launch/')]
  lost = [path for path in recipes + scripts if not (ROOT / path).is_file()]
  if '-m' in command and command[0].endswith('python'):
    module = command[command.index('-m') + 1]
    lost += [] if importlib.util.find_spec(module) else [module]
  return lost


def test_scripts_modules_and_recipes_of_commands_exist():
  wrong = {' '.join(c): lost for c in commands(*PAGES) if (lost := missing(c))}
  assert not wrong, wrong


def test_a_stranger_reads_it_at_one_sitting():
  assert len(README.splitlines()) <= 130


def test_every_path_of_the_map_exists():
  for line in fences('text')[0].splitlines():
    name = line.split()[0]
    path = ROOT / name
    assert path.is_dir() if name.endswith('/') else path.is_file(), name


LINK = re.compile(r'\]\(([^)#]+)\)')


def test_links_lead_somewhere():
  links = [('', link) for link in LINK.findall(README)]
  links += [('docs', link) for p in PAGES[1:] for link in LINK.findall(p)]
  dead = [
    link
    for folder, link in links
    if not link.startswith('https://') and not (ROOT / folder / link).exists()
  ]
  assert links and not dead, dead


def test_python_example_imports_what_exists():
  (example,) = fences('python')
  for node in ast.walk(ast.parse(example)):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        importlib.import_module(f'{node.module}.{alias.name}')
    else:
      assert not isinstance(node, ast.Import)


@pytest.fixture(scope='module')
def clip_folder(tmp_path_factory):
  """A folder with `my.mp4`, a clip of the synthetic world."""
  folder = tmp_path_factory.mktemp('readme')
  done = command_line.v2meow(
    *('data', 'synth', 'clip', '--num', '1', '--seed', '5', '--seconds', '4'),
    cwd=folder,
  )
  assert done.returncode == 0, done.stderr
  (clip,) = folder.glob('clip/**/*.mp4')
  clip.rename(folder / 'my.mp4')
  return folder


@pytest.mark.slow
def test_generate_command_makes_its_file(clip_folder):
  arguments = next(c for c in v2meow_commands() if c[0] == 'generate')
  done = command_line.v2meow(*arguments, cwd=clip_folder)
  assert done.returncode == 0, done.stderr
  assert (clip_folder / 'out.mp4').stat().st_size > 1000
  assert [p for p in clip_folder.iterdir() if p.suffix == '.json']


@pytest.mark.slow
def test_python_example_runs(clip_folder):
  (example,) = fences('python')
  done = subprocess.run(
    [sys.executable, '-c', example],
    cwd=clip_folder,
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    timeout=280,
  )
  assert done.returncode == 0, done.stderr
  samples, rate_hz = re.match(r'\((\d+),\) (\d+)', done.stdout).groups()
  # The clip lasts four seconds, and so does its music.
  assert int(samples) == pytest.approx(4 * int(rate_hz), abs=int(rate_hz) / 20)


@pytest.mark.slow
def test_doctor_finds_generation_working(monkeypatch, capsys):
  # Importing all extras takes long, and other tests do.
  modules = []

  def note(names):
    modules.extend(names)
    return ''

  monkeypatch.setattr(doctor, '_import_problem', note)
  assert main.main(['doctor']) == 0
  assert 'Generation works' in capsys.readouterr().out
  assert modules and all(map(importlib.util.find_spec, modules))
