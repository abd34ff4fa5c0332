"""Pages: texts are escaped, copies are whole and say nothing of systems."""

import json
import re

import pytest

from tests.fakes import study_sites
from v2meow_jax.study import answers
from v2meow_jax.study import pages
from v2meow_jax.study import protocol


def exported(index):
  text = re.search(
    r'<script type="application/json" id="exported">(.*?)</script>',
    index.read_text(),
    re.S,
  )
  assert text is not None
  return json.loads(text[1])


def test_a_text_is_shown_as_text(site):
  (site / 'pages' / 'consent.txt').write_text('One <b>\n\nTwo & three')
  study = protocol.load(site)
  html = pages.render(study, pages.read_texts(site))
  assert '<p>One &lt;b&gt;</p>' in html
  assert '<p>Two &amp; three</p>' in html


def test_a_changed_consent_has_another_digest(site):
  before = pages.consent_digest(pages.read_texts(site))
  (site / 'pages' / 'thanks.txt').write_text('Bye')
  assert pages.consent_digest(pages.read_texts(site)) == before
  (site / 'pages' / 'consent.txt').write_text('Another')
  assert pages.consent_digest(pages.read_texts(site)) != before


def test_what_is_still_to_be_filled_in_is_found(site):
  found = pages.placeholders(pages.read_texts(site))
  assert found == ['[NAME, INSTITUTION]', '[DATE]', '[NAME, E-MAIL]']


@pytest.mark.parametrize('data', [None, b'\xff\xfe', b'x' * 100_001])
def test_a_text_that_cannot_be_read_is_named(site, data):
  path = site / 'pages' / 'instructions.txt'
  path.unlink()
  if data is not None:
    path.write_bytes(data)
  with pytest.raises(protocol.StudyError, match='instructions.txt'):
    pages.read_texts(site)


def test_a_copy_has_all_that_is_shown_and_nothing_more(site, tmp_path):
  index = pages.export(site, tmp_path / 'out')
  files = {
    p.relative_to(tmp_path / 'out').as_posix()
    for p in (tmp_path / 'out').rglob('*')
    if p.is_file()
  }
  shown = {
    trial[side]
    for booklet in exported(index)['booklets']
    for trial in booklet
    for side in ('left', 'right')
  }
  assert files - shown == {'index.html', 'study.css', 'study.js'}
  assert shown <= files


def test_a_copy_does_not_say_who_made_what(site, tmp_path):
  index = pages.export(site, tmp_path / 'out')
  text = index.read_text()
  for word in (*study_sites.SYSTEMS, 'clip_0', protocol.SILENCE, str(site)):
    assert word not in text


def test_a_copy_loads_nothing_from_elsewhere(site, tmp_path):
  pages.export(site, tmp_path / 'out')
  for name in ('index.html', 'study.css', 'study.js'):
    assert '//' not in re.sub(
      r'^\s*//.*', '', (tmp_path / 'out' / name).read_text(), flags=re.M
    )


def test_answers_to_a_copy_are_read_against_its_booklets(site, tmp_path):
  index = pages.export(site, tmp_path / 'out')
  study, told = protocol.load(site), exported(index)
  booklets = pages.read_booklets(site)
  assert [[pages.shown(study, t) for t in b] for b in booklets] == (
    told['booklets']
  )
  path = tmp_path / 'answers.json'
  answer = {**study_sites.fields(1, -1, (1.0, 1.0)), 'seconds': 3.0}
  fields = {
    'format': told['format'],
    'study': told['study'],
    'booklet': 7,
    'code': 'ABCD2345',
    'consent': '',
    'answers': [answer],
  }
  path.write_text(json.dumps(fields))
  rater = answers.read_file(path, study, booklets)
  assert rater.trials == booklets[7]


def test_a_second_copy_has_the_same_booklets(site, tmp_path):
  first = exported(pages.export(site, tmp_path / 'one'))
  (site / 'pages' / 'thanks.txt').write_text('Bye')
  assert exported(pages.export(site, tmp_path / 'two')) == first
  with pytest.raises(protocol.StudyError, match='is there already'):
    pages.export(site, tmp_path / 'two')


def test_the_minutes_that_are_promised_are_those_of_the_clips(site):
  study = study_sites.bare(num_comparisons=14, num_checks=2)
  html = pages.render(study, pages.read_texts(site))
  # Two clips of 10 s and 15 s to answer, 16 times.
  assert 'There are 16 comparisons' in html
  assert 'about 9 minutes' in html
  short = study_sites.bare(num_comparisons=1, num_checks=0)
  html = pages.render(short, pages.read_texts(site))
  assert 'There is 1 comparison, about 1 minute in all.' in html
