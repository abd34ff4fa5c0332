"""A plan as a file: round trip, and nothing in it is trusted."""

import dataclasses
import json

import numpy as np
import pytest

from v2meow_jax.extractors.planning import plan as plan_lib


def example(**changes):
  beats = tuple(
    plan_lib.Beat(seconds=0.5 * i, downbeat=i % 4 == 0, energy=0.25)
    for i in range(16)
  )
  fields = {
    'seconds': 8.0,
    'tempo_bpm': 120.0,
    'beats_per_bar': 4,
    'source': 'prior',
    'beats': beats,
    'sections': (
      plan_lib.Section(start_seconds=0.0, mood='calm', energy=0.25),
      plan_lib.Section(
        start_seconds=4.0, mood='wild', energy=0.25, prompt='lauter Jazz'
      ),
    ),
    'end_seconds': 6.0,
  }
  return plan_lib.MusicPlan(**{**fields, **changes})


def test_a_plan_survives_its_file(tmp_path):
  known = example(video_sha256='0a' * 32)
  for plan in (example(), example(beats=(), end_seconds=None), known):
    plan_lib.write(tmp_path / 'plan.json', plan)
    assert plan_lib.read(tmp_path / 'plan.json') == plan


def test_a_plan_of_an_unknown_file_says_nothing_of_it():
  assert 'video_sha256' not in plan_lib.to_json(example())


def test_a_key_with_a_sharp_is_the_same_as_with_a_flat():
  assert example(key='F# minor') == example(key='Gb minor')
  assert example(key='Cb major') == example(key='B major')


def test_a_plan_that_is_not_there_is_named(tmp_path):
  with pytest.raises(ValueError, match='no plan .*none.json.*v2meow plan'):
    plan_lib.read(tmp_path / 'none.json')


def test_each_beat_has_a_line_of_its_own():
  lines = plan_lib.to_json(example()).splitlines()
  assert sum('"downbeat"' in line for line in lines) == 16


def edited(change):
  content = json.loads(plan_lib.to_json(example()))
  change(content)
  return json.dumps(content)


REFUSED = {
  'beats out of order': lambda c: c['beats'].reverse(),
  'two beats at once': lambda c: c['beats'][1].update(seconds=0.02),
  'a beat after the end': lambda c: c['beats'][-1].update(seconds=8.5),
  'a beat before the start': lambda c: c['beats'][0].update(seconds=-0.5),
  'a time that is not finite': lambda c: c['beats'][2].update(
    seconds=float('nan')
  ),
  'a time beyond floats': lambda c: c['beats'][2].update(seconds=10**400),
  'a time in words': lambda c: c['beats'][2].update(seconds='1.0'),
  'a yes where a number belongs': lambda c: c['beats'][2].update(energy=True),
  'a number where yes or no belongs': lambda c: c['beats'][2].update(
    downbeat=1
  ),
  'energy above 1': lambda c: c['beats'][2].update(energy=1.5),
  'a field that is unknown': lambda c: c.update(swing=0.5),
  'a field that is missing': lambda c: c['beats'][2].pop('energy'),
  'no section': lambda c: c.update(sections=[]),
  'a first section that is late': lambda c: c['sections'].pop(0),
  'a prompt of two lines': lambda c: c['sections'][0].update(prompt='a\nb'),
  'a prompt without end': lambda c: c['sections'][0].update(prompt='a' * 9999),
  'a tempo out of range': lambda c: c.update(tempo_bpm=1e9),
  'bars of no beats': lambda c: c.update(beats_per_bar=0),
  'an end after the clip': lambda c: c.update(end_seconds=9.0),
  'another version': lambda c: c.update(version=2),
  'a key without a mode': lambda c: c.update(key='C'),
  'a key that is none': lambda c: c.update(key='H major'),
  'a digest that is none': lambda c: c.update(video_sha256='0A' * 32),
  'a strange source': lambda c: c.update(source='stars'),
  'beats that are no list': lambda c: c.update(beats={}),
  'a beat that is no object': lambda c: c['beats'].__setitem__(0, 1.0),
}


@pytest.mark.parametrize('change', REFUSED.values(), ids=REFUSED)
def test_an_edit_that_makes_no_plan_is_refused(tmp_path, change):
  path = tmp_path / 'plan.json'
  path.write_text(edited(change))
  with pytest.raises(
    ValueError, match='is no plan: .*wanted|is no plan: .*not'
  ):
    plan_lib.read(path)


def test_what_is_no_json_is_refused(tmp_path):
  path = tmp_path / 'plan.json'
  for content in (b'', b'[]', b'\xff\xfe', b'[' * 100_000, b'3', b'{"a"'):
    path.write_bytes(content)
    with pytest.raises(ValueError, match='is no plan'):
      plan_lib.read(path)


def test_energy_lies_between_that_of_the_beats():
  beats = (
    plan_lib.Beat(seconds=1.0, downbeat=True, energy=0.0),
    plan_lib.Beat(seconds=3.0, downbeat=False, energy=1.0),
  )
  plan = example(beats=beats)
  assert plan.energy_at(np.array([0, 1.5, 2, 8])).tolist() == [0, 0.25, 0.5, 1]
  without = dataclasses.replace(plan, beats=())
  assert without.energy_at(np.array([0.0, 5.0])).tolist() == [0.25, 0.25]
  assert plan.section_at(4.0).mood == 'wild'
