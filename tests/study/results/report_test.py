"""The report: from a file of answers to numbers, with all that was left out."""

import dataclasses
import json

import pytest

from tests.fakes import study_sites
from v2meow_jax.study import protocol
from v2meow_jax.study import storage
from v2meow_jax.study.results import report

pytestmark = pytest.mark.slow

STUDY = study_sites.bare(num_clips=4, genres=('rock', None), num_silent=1)
LOGITS = (-1.5, 0.0, 1.5)


@pytest.fixture
def site(tmp_path):
  study = dataclasses.replace(
    STUDY,
    notes=('clip_00: alpha is 9 dB louder than beta',),
    left_out=({'clip': 'x', 'system': 'beta', 'reason': 'no such file'},),
  )
  (tmp_path / 'study.json').write_text(protocol.to_json(study))
  return tmp_path


@pytest.fixture
def no_plots(monkeypatch):
  monkeypatch.setattr(report.plots, 'draw', lambda *args: [])


def facts(site, **settings):
  path = report.write(site, **settings)
  return (
    path.read_text(),
    json.loads((site / 'report' / 'analysis.json').read_text()),
  )


def test_planted_systems_come_out_in_order_with_plots(site):
  pytest.importorskip('matplotlib')
  study_sites.save(
    site, STUDY, study_sites.simulate(STUDY, LOGITS, num_raters=30)
  )
  text, found = facts(site)
  assert found['num_raters'] == 30
  for question in protocol.QUESTIONS:
    scores = found['results'][question]['scores']
    means = [scores[s]['mean'] for s in STUDY.systems]
    assert means == sorted(means)
    assert all(
      scores[s]['low'] < planted < scores[s]['high']
      for s, planted in zip(STUDY.systems, LOGITS, strict=True)
    )
  for name in ('win_rates.png', 'genres.png', 'scores.png'):
    assert (site / 'report' / name).read_bytes().startswith(b'\x89PNG')
    assert f'({name})' in text
  assert '240 comparisons by 30 raters' in text


def test_who_and_what_was_left_out_is_listed(site, no_plots):
  raters = study_sites.simulate(STUDY, LOGITS, num_raters=3)
  lazy = [study_sites.answer(2, 2) for _ in raters[0].trials]
  raters[0] = dataclasses.replace(raters[0], answers=lazy)
  study_sites.save(site, STUDY, raters)
  (site / 'answers' / 'again.json').write_bytes(
    (site / 'answers' / 'answers_R2.json').read_bytes()
  )
  (site / 'answers' / 'broken.json').write_text('{')
  text, found = facts(site)
  assert found['num_raters'] == 2
  assert list(found['excluded']) == ['R0']
  assert any('same answer' in r for r in found['excluded']['R0'])
  # Which of two files with one code is read first is a matter of their names.
  assert set(found['rejected_files']) == {'answers_R2.json', 'broken.json'}
  for line in (
    'R0: ',
    'broken.json: not json',
    'x of beta: no such file',
    'clip_00: alpha is 9 dB louder',
  ):
    assert f'- {line}' in text
  assert '; 1 left out, see below; files rejected: 2, see below)' in text
  text, found = facts(site, keep_all=True)
  assert found['num_raters'] == 3
  assert '; 1 would be left out, see below; files' in text


def test_answers_of_the_server_and_of_files_are_counted_together(
  site, no_plots
):
  study_sites.save(
    site, STUDY, study_sites.simulate(STUDY, LOGITS, num_raters=2), first=1
  )
  store = storage.Storage(site / storage.FILE_NAME, STUDY)
  for num in (3, 0):
    token = store.join('consent', max_participants=9)
    store.progress(token)
    for position in range(num):
      store.answer(token, position, study_sites.fields(1, -1))
  found = facts(site, keep_all=True)[1]
  assert (found['num_raters'], found['num_answered_nothing']) == (2, 1)


def test_a_study_without_answers_has_a_report_that_says_so(site, no_plots):
  text, found = facts(site)
  assert found['num_raters'] == 0
  assert '0 comparisons by 0 raters' in text
  assert 'No scores' in text


def test_a_seed_below_0_is_refused(site):
  with pytest.raises(protocol.StudyError, match='seed is -1; wanted 0 or more'):
    report.write(site, seed=-1)
