"""Every row of a batch is read, or named with what is wrong, before any work."""

import argparse
import json

import pytest

from v2meow_jax.cli import finish_flags
from v2meow_jax.cli.verbs import generate
from v2meow_jax.jobs.generate import items


def read(path, defaults=None, **options):
  return items.read(str(path), defaults or {}, **options)


def test_bad_rows_are_named_with_their_lines_and_can_be_left_out(tmp_path):
  manifest = tmp_path / 'manifest.jsonl'
  rows = [
    {'id': 'good', 'path': 'a.mp4'},
    {'id': 'good', 'path': 'b.mp4'},
    {'id': '../out', 'path': 'b.mp4'},
    {'id': '.hidden', 'path': 'b.mp4'},
    {'id': 'start', 'path': 'b.mp4', 'start': 3, 'end': 2},
    {'id': 'duck', 'path': 'b.mp4', 'duck': 6},
    {'id': 'best', 'path': 'b.mp4', 'best_of': 4, 'no_plan': True},
    {'id': 'takes', 'path': 'b.mp4', 'takes': 3},
    {'id': 'column', 'path': 'b.mp4', 'promt': 'jazz'},
    {'id': 'type', 'path': 'b.mp4', 'seed': 1.5},
    {'id': 'range', 'path': 'b.mp4', 'seed': -1},
    {'id': 'cold', 'path': 'b.mp4', 'temperature': [1, -1]},
    {'id': 'both', 'path': 'b.mp4', 'prompt': 'x', 'style_audio': 'y.wav'},
    {'id': 'wish', 'path': 'b.mp4', 'key': 'C major', 'no_plan': True},
    {'id': 'scheme', 'path': 'http://x/b.mp4'},
    {'path': 'b.mp4'},
    [],
  ]
  lines = [json.dumps(row) for row in rows]
  manifest.write_bytes(
    '\r\n\r\n'.join(['\ufeff' + lines[0], *lines[1:], '{']).encode()
  )
  with pytest.raises(ValueError, match='17 bad line') as error:
    read(manifest)
  for number in range(3, 36, 2):
    assert f'line {number}: ' in str(error.value)
  assert 'line 1: ' not in str(error.value)
  for words in (
    "'takes' is not possible",
    "column 'promt'",
    'keep_audio',
    'twice',
  ):
    assert words in str(error.value)
  (item,), left_out = read(manifest, skip_bad_rows=True)
  assert item.id == 'good' and len(left_out) == 17
  assert item.files == {'video': str(tmp_path / 'a.mp4')}


def test_all_that_is_wrong_with_the_columns_of_a_row_is_named(tmp_path):
  manifest = tmp_path / 'manifest.jsonl'
  row = {'id': 'a', 'path': 'a.mp4', 'promt': 'jazz', 'seed': 1.5, 'takes': 3}
  manifest.write_text(json.dumps(row))
  with pytest.raises(ValueError, match='1 bad line') as error:
    read(manifest)
  for words in (
    "column 'promt' is unknown",
    'seed is 1.5; wanted',
    "'takes' is not possible",
  ):
    assert words in str(error.value)


def test_a_row_wins_over_the_command_line_and_csv_says_what_json_does(tmp_path):
  (tmp_path / 'a.jsonl').write_text(
    '{"id": "a", "path": "a.mp4"}\n'
    '{"id": "b", "path": "/b.mp4", "seed": 7, "style_audio": "s.wav",'
    ' "temperature": [1, 0.5, 0], "no_plan": true}\n'
  )
  (tmp_path / 'a.csv').write_bytes(
    b'\xef\xbb\xbfid,path,seed,style_audio,temperature,no_plan\r\n'
    b'a,a.mp4,,,,\r\n\r\nb,/b.mp4,7,s.wav,1 0.5 0,true\r\n'
  )
  defaults = {'prompt': 'jazz, "loud"', 'bpm': 90.0, 'seed': 1, 'plan': None}
  for name in ('a.jsonl', 'a.csv'):
    (a, b), _ = read(tmp_path / name, defaults)
    assert a.options == {'prompt': 'jazz, "loud"', 'bpm': 90.0, 'seed': 1}
    assert b.options == {
      'seed': 7, 'temperature': [1, 0.5, 0], 'no_plan': True
    }  # fmt: skip
    assert b.files == {
      'video': '/b.mp4',
      'style_audio': str(tmp_path / 's.wav'),
    }


def test_a_row_may_say_whatever_generate_takes():
  parser = argparse.ArgumentParser()
  generate.add_options(parser)
  finish_flags.add(parser)
  finish_flags.add_best_of(parser)
  names = {a.dest for a in parser._actions} - {'help'}
  assert names == items.OPTIONS.keys()


def test_a_row_may_switch_off_what_holds_for_the_others(tmp_path):
  (tmp_path / 'a.jsonl').write_text(
    '{"id": "a", "path": "a.mp4", "fade_in": 2}\n'
    '{"id": "b", "path": "b.mp4", "keep_audio": false, "loudness": -23}\n'
  )
  (a, b), _ = read(
    tmp_path / 'a.jsonl', {'keep_audio': True, 'loudness': -14.0, 'start': None}
  )
  assert a.options == {'keep_audio': True, 'loudness': -14.0, 'fade_in': 2}
  assert b.options == {'loudness': -23.0}


def test_a_folder_is_a_list_of_its_videos(tmp_path):
  for name in ('b.MOV', 'a film (1).mp4', 'notes.txt'):
    (tmp_path / name).touch()
  found, _ = read(tmp_path, {'prompt': 'jazz'})
  assert [item.id for item in found] == ['a_film__1_', 'b']
  (tmp_path / 'b.mp4').touch()
  with pytest.raises(ValueError, match=r"b.mp4: the id 'b' is there twice"):
    read(tmp_path)


def test_ids_that_would_share_a_file_on_other_systems_are_refused(tmp_path):
  manifest = tmp_path / 'a.jsonl'
  rows = [{'id': name, 'path': 'a.mp4'} for name in ('Cat', 'dog', 'cAT')]
  manifest.write_text('\n'.join(map(json.dumps, rows)))
  with pytest.raises(
    ValueError, match=r"line 3: the id 'cAT' .*'Cat' \(line 1"
  ):
    read(manifest)
  found, left_out = read(manifest, skip_bad_rows=True)
  assert [item.id for item in found] == ['Cat', 'dog']
  assert len(left_out) == 1


def test_a_table_that_is_torn_or_empty_is_named(tmp_path):
  table = tmp_path / 'a.csv'
  table.write_text('id,path\na,a.mp4,more\nb,"b\n')
  with pytest.raises(ValueError, match=r'line 2: 3 cells; .*line 3: '):
    read(table)
  table.write_text('id,path\n')
  with pytest.raises(ValueError, match='holds no item'):
    read(table)
  for name in ('nowhere.jsonl', 'nowhere'):
    with pytest.raises(ValueError, match='no manifest.* folder of videos') as e:
      read(tmp_path / name)
    assert 'split' not in str(e.value)
  (tmp_path / 'film.MP4').write_bytes(b'\xff')
  with pytest.raises(ValueError, match='is a video, not a list'):
    read(tmp_path / 'film.MP4')


def test_all_but_where_things_lie_is_in_the_digest():
  def digest(settings=(), files=('video',), **options):
    item = items.Item(
      id='a', where='line 1', files=dict.fromkeys(files, 'x'), options=options
    )
    return item.digest(dict(settings))

  others = [
    digest(),
    digest(seed=1),
    digest(seed=1, prompt='x'),
    digest(files=('video', 'plan')),
    digest({'rows': 4}),
    digest({'rows': 8}),
  ]
  assert len(set(others)) == len(others)
  moved = items.Item(id='b', where='line 2', files={'video': 'y'}, options={})
  assert moved.digest({}) == digest()
