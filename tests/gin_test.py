"""Every recipe parses, every macro is used, every number says where it is from.

What is meant to be run: a run, then something to train, then, for a stage, an
override if wanted.
"""

import functools
import pathlib
import re

import pytest

from v2meow_jax import gin_config
from v2meow_jax import tokens

ROOT = pathlib.Path(__file__).resolve().parents[1]
GIN = ROOT / 'gin'
NAME = r'[A-Za-z_][\w.]*'
MACRO = re.compile(rf'^({NAME})\s*=', re.M)
USE = re.compile(rf'%({NAME})')
INCLUDE = re.compile(r"""^include\s+['"](.+)['"]""", re.M)
NUMBER = re.compile(r'(?<![\w.])-?\d[\d_]*(\.\d+)?(e-?\d+)?(?!\w)')

# Folders of one's own: `--gin.MODEL_DIR="'runs/codec'"` and so on.
CHOSEN_BY_THE_USER = ('MODEL_DIR', 'MANIFEST', 'FEATURES')


@functools.cache
def recipes() -> list[str]:
  return sorted(str(path.relative_to(GIN)) for path in GIN.rglob('*.gin'))


@functools.cache
def includes(name: str) -> list[str]:
  return INCLUDE.findall((GIN / name).read_text())


@functools.cache
def with_includes(name: str) -> str:
  """The text of a recipe after that of the files that it includes."""
  texts = [with_includes(included) for included in includes(name)]
  return '\n'.join([*texts, (GIN / name).read_text()])


@functools.cache
def parts() -> set[str]:
  """Recipes that others include."""
  return {part for name in recipes() for part in includes(name)}


@functools.cache
def runs() -> list[str]:
  return [n for n in recipes() if n.startswith('runs/') and n not in parts()]


@functools.cache
def trainable() -> list[str]:
  """Recipes that say, themselves or by an include, which model to train."""
  return [
    name
    for name in recipes()
    if not name.startswith('runs/')
    and 'MODEL' in MACRO.findall(with_includes(name))
  ]


@functools.cache
def preparations() -> list[str]:
  """Recipes that say which networks prepare data."""
  return [name for name in recipes() if name.startswith('prepare/')]


@functools.cache
def other_networks() -> list[str]:
  """Recipes of networks that may take the place of one in a preparation."""
  named = {name for name in recipes() if name.startswith('networks/')}
  return sorted(named - parts())


@functools.cache
def overrides() -> list[str]:
  """What is left and is no part of another recipe."""
  others = {*runs(), *trainable(), *preparations(), *parts()}
  return sorted({*recipes()} - others - {*other_networks()})


# Folders of what trains a stage as it stands.
OF_STAGES = ('stages/', 'systems/')


@functools.cache
def combinations() -> list[tuple[str, ...]]:
  """Command lines, in the order in which gin reads the files."""
  pairs = [
    (run, what)
    for run in runs()
    for what in trainable()
    if what.startswith('stages/') or not run.startswith('runs/t5x/')
  ]
  return pairs + [
    (run, what, override)
    for run, what in pairs
    for override in overrides()
    if what.startswith(OF_STAGES)
  ]


def strip_comment(line: str) -> str:
  """The line without its comment and with empty strings."""
  line = re.sub(r"'[^']*'|\"[^\"]*\"", "''", line)
  return line.partition('#')[0].rstrip()


@functools.cache
def macros(names: tuple[str, ...]) -> tuple[set[str], set[str]]:
  """Macros that a command line binds, and those that it uses."""
  code = '\n'.join(
    strip_comment(line)
    for name in names
    for line in with_includes(name).splitlines()
  )
  bound = {m for m in MACRO.findall(code) if '.' not in m}
  return bound, {m for m in USE.findall(code) if '.' not in m}


def unsourced_numbers(text: str) -> list[str]:
  """Lines with a number and neither `paper:` nor `ours:` beside or above.

  A recipe that begins with 'All of it ours:' has said it for every line.
  """
  if re.match(r'(#.*\n)*#.*All of it (ours|paper):', text):
    return []
  found = []
  above = False
  for line in text.splitlines():
    sourced = 'paper:' in line or 'ours:' in line
    code = strip_comment(line)
    if not line.strip():
      above = False
    elif not code.strip():
      above = above or sourced
    elif NUMBER.search(code.partition('=')[2]) and not (sourced or above):
      found.append(line)
  return found


def test_there_is_something_to_train():
  wanted = {f'stages/{s}.gin' for s in ('semantic', 'coarse', 'fine')}
  assert wanted <= set(trainable())
  assert 'runs/train.gin' in runs()
  assert 'tiny.gin' in overrides()


@pytest.fixture
def at_root(monkeypatch):
  """Where commands run, and find recipes and tasks; gin is left empty."""
  import gin

  monkeypatch.chdir(ROOT)
  monkeypatch.syspath_prepend(str(ROOT))
  yield
  gin.clear_config()


# Those of T5X need it: t5x_bridge_test.py.
@pytest.mark.data
def test_recipes_parse(at_root):
  import gin

  refused = {}
  for names in combinations():
    if 't5x' in names[0]:
      continue
    # A stage trains as it stands; what learns from clips is told which.
    needs = () if names[1].startswith(OF_STAGES) else CHOSEN_BY_THE_USER
    try:
      gin_config.parse(names, [f"{macro} = 'somewhere'" for macro in needs])
    except gin_config.ConfigError as e:
      refused[names] = str(e)
    if '%MODEL' not in gin.config_str():
      refused.setdefault(names, 'binds no model')
  assert not refused, _lines(refused)


def _lines(offenders: dict) -> str:
  return '\n'.join(f'{" ".join(k)}: {why}' for k, why in offenders.items())


def test_every_macro_that_is_used_is_bound():
  unbound = {names: used - bound for names, (bound, used) in _macros().items()}
  assert not {' '.join(n): missing for n, missing in unbound.items() if missing}


def test_every_macro_that_is_bound_is_used():
  unused = {
    names: bound - used - {'PARTS'}  # What the command line reads.
    for names, (bound, used) in _macros().items()
    if names[1:] == () or (len(names) == 2 and names[0].endswith('train.gin'))
  }
  assert unused
  assert not {' '.join(n): idle for n, idle in unused.items() if idle}


def _macros():
  alone = [(name,) for name in preparations()]
  return {names: macros(names) for names in [*combinations(), *alone]}


def test_a_preparation_names_networks_of_streams_that_stages_read(at_root):
  import gin
  from v2meow_jax import stages

  known = {*stages.PAPER, *stages.TINY, 'acoustic'}
  wrong = {}
  for recipe in preparations():
    for other in ((), *zip(other_networks(), strict=True)):
      files = (recipe, *other)
      gin_config.parse(files)
      prepared = gin.get_configurable('PARTS/macro')()
      names = [stream.name for stream in prepared.streams]
      if len({*names}) < len(names) or not {*names} <= known:
        wrong[files] = names
      for part in prepared.parts:
        licence = part.licence()['licence']
        if licence == 'not known' and not part.is_own:
          wrong[files] = f'{part} has no known licence'
  assert preparations() and not wrong, _lines(wrong)


@pytest.mark.data
def test_stages_read_what_the_recipes_of_their_networks_record(at_root):
  import gin
  from tasks import datasets
  from v2meow_jax import experiments
  from v2meow_jax.data import records

  def recorded(*files):
    gin_config.parse(files)
    return gin.get_configurable('PARTS/macro')().streams

  of_pictures = recorded('prepare/pictures.gin')
  of_vmas = recorded('prepare/vmas.gin')
  of_muvi = recorded('prepare/muvi.gin'), recorded('prepare/muvi_tiny.gin')
  of_songs = recorded('prepare/muvi_songs.gin')
  for recipe in experiments.recipes():
    spec = experiments.load_model(('runs/train.gin', recipe), (), ('gin',)).spec
    of_system = of_vmas if recipe.startswith('systems/') else of_pictures
    if recipe.startswith('systems/muvi/'):
      of_system = of_muvi['/tiny' in recipe]
    if recipe == 'systems/muvi/songs.gin':
      of_system = of_songs
    if recipe == 'systems/muvi/adaptors/cls.gin':
      of_system = recorded('prepare/muvi.gin', 'networks/class_token.gin')
    records.check_stage(of_system, spec)
  of_paper = recorded('prepare/paper.gin')
  of_worlds = ('synthetic', 'contrary', 'free', 'songs', 'vmas')
  for row in datasets.DATASETS:
    if row.name not in of_worlds and not row.name.startswith('muvi_'):
      for spec in row.stages:
        records.check_stage(of_vmas if spec.name == 'music' else of_paper, spec)
  widths = {}
  for network in (n for n in recipes() if n.startswith('networks/')):
    streams = recorded('prepare/paper.gin', network)
    (widths[network],) = {s.dim for s in streams if s.name == 'style'}
    for stage in ('semantic', 'coarse', 'fine'):
      files = ('runs/train.gin', f'stages/{stage}.gin', network)
      spec = experiments.load_model(files, (), ('gin',)).spec
      records.check_stage(streams, spec)
  assert set(widths.values()) == {64, 128, 512, 768}, widths


def test_every_macro_of_an_override_is_used_by_some_stage():
  idle = {
    override: macros((override,))[0]
    - {m for n in combinations() if override in n for m in macros(n)[1]}
    for override in overrides()
  }
  assert idle and not any(idle.values()), idle


def test_every_number_says_where_it_comes_from():
  lines = {n: unsourced_numbers((GIN / n).read_text()) for n in recipes()}
  wrong = {name: found for name, found in lines.items() if found}
  assert lines and not wrong, f'`paper:` or `ours:` is missing in {wrong}'


def test_recipes_stay_short_and_import_no_main():
  wrong = {}
  for name in recipes():
    lines = (GIN / name).read_text().splitlines()
    has_main = any('__main__' in line for line in lines)
    if has_main and not name.startswith('runs/t5x/'):
      wrong[name] = 'imports __main__'
    if len(lines) > 60 or max(map(len, lines)) > 80:
      wrong[name] = f'{len(lines)} lines, the longest {max(map(len, lines))}'
  assert not wrong, wrong


def test_unsourced_number_is_found():
  assert unsourced_numbers('a.b = 12') == ['a.b = 12']
  assert unsourced_numbers('a.b = 12  # paper: section 3') == []
  assert unsourced_numbers('a.b = 1_000') == ['a.b = 1_000']
  assert unsourced_numbers("a.b = 'base16'") == []
  assert unsourced_numbers('# ours: two cores\na.b = 1\na.c = 2\n') == []
  assert unsourced_numbers('# ours: x\na.b = 1\n\na.c = 2') == ['a.c = 2']
  assert unsourced_numbers('# X.\n# All of it ours: y.\n\na.c = 2') == []


@pytest.mark.data
@pytest.mark.parametrize(
  ('codec', 'stage', 'lengths', 'codes'),
  [
    ('encodec', 'coarse', {'semantic': 250, 'coarse': 1000}, 1024 + 2 * 2048),
    ('encodec', 'fine', {'coarse': 300, 'fine': 300}, 4 * 2048),
    ('soundstream_small', 'fine', {'coarse': 600, 'fine': 600}, 8 * 256),
    ('dac_24khz', 'coarse', {'semantic': 250, 'coarse': 3000}, 5 * 1024),
    ('dac_24khz', 'fine', {'coarse': 300, 'fine': 2100}, 32 * 1024),
  ],
)
def test_a_stage_trains_on_the_codes_of_another_codec(
  codec, stage, lengths, codes, at_root
):
  import gin

  files = (f'stages/{stage}.gin', f'networks/{codec}.gin')
  gin_config.parse(('runs/train.gin', *files))
  spec = gin.get_configurable('MODEL/macro')().spec
  assert spec.feature_lengths() == lengths
  assert tokens.IdSpace(spec).num_ids == 2 + codes


@pytest.mark.parametrize(
  ('network', 'layer'), [('musicfm', 7), ('w2v_bert', 17), ('mert', 7)]
)
def test_the_layer_of_a_semantic_network_is_chosen_in_gin(
  network, layer, at_root
):
  import gin

  files = ['prepare/paper.gin']
  files += [f'networks/{network}.gin'] * (network != 'musicfm')
  for chosen in (layer, 3):
    gin_config.parse(files, [f'SEMANTIC_LAYER = {chosen}'])
    prepared = gin.get_configurable('PARTS/macro')()
    (part,) = [p for p in prepared.parts if p.stream == 'semantic']
    assert part.kind == network and part.settings['layer'] == chosen
    assert network in part.settings['clusters']


def test_lloyd_and_a_random_start_are_chosen_in_gin(at_root):
  import gin
  from v2meow_jax.clusters import clustering

  gin_config.parse(['prepare/paper.gin'])
  prepared = gin.get_configurable('PARTS/macro')()
  assert prepared.clustering == clustering.MiniBatch()
  changed = ['CLUSTERING = @clustering.Lloyd()', "Lloyd.init = 'random'"]
  gin_config.check_used(['prepare/paper.gin'], changed)
  gin_config.parse(['prepare/paper.gin'], changed)
  prepared = gin.get_configurable('PARTS/macro')()
  assert prepared.clustering == clustering.Lloyd(init='random')
