"""A study in the paper's tables: from folders of clips to Tables 1 and 4."""

import json

import pytest

from tests.fakes import study_sites
from v2meow_jax.cli import main
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import tables
from v2meow_jax.study import answers
from v2meow_jax.study import assignment
from v2meow_jax.study import protocol
from v2meow_jax.study.results import report

NUM_RATERS = 5
# Whom everyone prefers, 0: nobody; by clip and pair of systems.
RELEVANCE = {
  ('clip_0', 'alpha', 'beta'): -1,
  ('clip_1', 'alpha', 'beta'): 0,
  ('clip_0', 'alpha', 'gamma'): -2,
  ('clip_1', 'alpha', 'gamma'): -1,
  ('clip_0', 'beta', 'gamma'): -1,
  ('clip_1', 'beta', 'gamma'): 2,
}


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
  monkeypatch.setattr(report.plots, 'draw', lambda *args: [])


@pytest.fixture
def answered(site):
  """A built study, and raters of one mind, who would rather hear the second."""
  study = protocol.load(site)

  def respond(trial):
    if trial.kind == protocol.INSTRUCTED:
      return study_sites.answer(trial.wanted, trial.wanted)
    if trial.kind == protocol.SILENCE:
      return study_sites.answer(0, trial.towards_second(-1))
    pair = study.pairs[trial.pair]
    given = RELEVANCE[pair.clip, pair.first, pair.second]
    return study_sites.answer(
      trial.towards_second(given), trial.towards_second(1)
    )

  raters = [
    answers.Rater(code=f'R{i}', trials=t, answers=[respond(x) for x in t])
    for i, t in enumerate(assignment.booklets(study, NUM_RATERS))
  ]
  study_sites.save(site, study, raters)
  return site


def analyse(site, *options):
  assert not main.main(['study', 'analyse', str(site), *options])
  return sorted((site / 'report').glob('*/'))


def means(text, method):
  """Figures of a row without their intervals, blank cells as ''."""
  line = next(x for x in text.splitlines() if x.startswith(f'| **{method}**'))
  cells = [cell.strip() for cell in line.strip('|').split('|')[1:]]
  return [cell.partition(' ')[0] for cell in cells]


def test_win_rates_stand_in_tables_1_and_4(answered):
  folders = analyse(answered, '--baseline', 'gamma', '--dataset', 'mv100k')
  assert [f.name for f in folders] == ['alpha', 'beta', 'gamma']
  text = tables.main(folders)
  table_1, table_4 = text[: text.index('## Table 1b')], text.split('## ')[-1]
  assert table_4.startswith('Table 4')
  # A tie is no win; the baseline's own rate is the mean over the others.
  assert means(table_1, 'alpha') == ['', '', '', '', '100.0', '0.0']
  assert means(table_1, 'beta') == ['', '', '', '', '50.0', '0.0']
  assert means(table_1, 'gamma') == ['', '', '', '', '25.0', '100.0']
  assert means(table_4, 'alpha') == ['50.0', '0.0']
  assert means(table_4, 'beta') == ['0.0', '100.0']
  assert means(table_4, 'gamma') == ['', '']


def test_prompted_systems_stand_in_table_1b(answered):
  folders = analyse(
    answered,
    *('--baseline', 'gamma', '--dataset', 'musiccaps'),
    *('--task', 'video+text'),
  )
  text = tables.main(folders)
  start, end = text.index('## Table 1b'), text.index('## Table 2')
  assert means(text[start:end], 'alpha')[-2:] == ['100.0', '0.0']
  assert '**alpha**' not in text[:start] + text[end:]


def test_scores_say_what_led_to_them(answered):
  analyse(answered, '--baseline', 'gamma')
  run = scores.read(answered / 'report' / 'alpha')
  study = protocol.load(answered)
  assert (run.run, run.dataset, run.task) == ('alpha', 'own clips', 'video')
  assert run.clips == ('clip_0', 'clip_1')
  assert set(run.metrics) == {
    f'{name}{against}'
    for name in ('visual_relevance', 'music_preference')
    for against in ('', '_variants')
  }
  score = run.metrics['visual_relevance_variants']
  assert (score.value, score.low, score.high) == (0.5, 0.0, 1.0)
  assert score.num_clips == 2
  told = {
    'study': study.id,
    'against': ['beta'],
    'num_answers': 2 * NUM_RATERS,
    'num_wins': NUM_RATERS,
    'num_ties': NUM_RATERS,
    'num_losses': 0,
    'num_raters': NUM_RATERS,
  }
  assert told.items() <= score.details.items()
  settings = run.settings
  assert settings['baselines'] == ['gamma']
  assert settings['rules']['max_failed_checks'] == 0
  assert settings['clips']['clip_0'] == dict(
    study.files[study.clips['clip_0'].files['alpha']]
  )


def test_no_code_of_a_participant_is_in_scores(answered):
  path = answered / 'answers' / 'answers_R3.json'
  sent = json.loads(path.read_text())
  sent['code'] = 'SECRETCODE'
  for answer in sent['answers']:
    answer['seconds'] = 0.1
  path.write_text(json.dumps(sent))
  (answered / 'answers' / 'again.json').write_text(json.dumps(sent))
  for folder in analyse(answered):
    text = (folder / scores.FILE_NAME).read_text()
    assert 'SECRETCODE' not in text
    assert 'before both clips can have been played' in text
  assert 'SECRETCODE' in (answered / 'report' / 'report.md').read_text()


def test_without_a_baseline_all_are_variants(answered):
  for folder in analyse(answered):
    run = scores.read(folder)
    assert set(run.metrics) == {
      'visual_relevance_variants',
      'music_preference_variants',
    }
    others = run.metrics['visual_relevance_variants'].details['against']
    assert others == [s for s in study_sites.SYSTEMS if s != run.run]


def test_a_study_that_was_built_with_a_baseline_needs_none_given(answered):
  path = answered / 'study.json'
  fields = json.loads(path.read_text())
  path.write_text(json.dumps(fields | {'baseline': 'beta'}))
  analyse(answered)
  run = scores.read(answered / 'report' / 'alpha')
  assert run.metrics['visual_relevance'].details['against'] == ['beta']


def test_a_system_without_answers_has_no_scores_any_more(answered):
  analyse(answered)
  for path in (answered / 'answers').iterdir():
    path.unlink()
  assert analyse(answered) == []


def test_a_baseline_that_is_no_system_is_refused(answered, capsys):
  for names in (['delta'], ['alpha', 'beta', 'gamma']):
    options = [word for name in names for word in ('--baseline', name)]
    assert main.main(['study', 'analyse', str(answered), *options]) == 2
  said = capsys.readouterr().err
  assert "'delta' is none of ['alpha', 'beta', 'gamma']" in said
  assert 'all systems are baselines' in said
  assert not (answered / 'report').exists()
