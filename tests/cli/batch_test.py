"""`v2meow batch` makes what `v2meow generate --rows` makes, and says how it went."""

import json

import pytest

from tests.fakes import scene_clips
from v2meow_jax.cli import main
from v2meow_jax.inference import system

pytestmark = pytest.mark.slow


def test_an_item_is_the_same_as_alone_and_other_options_are_refused(
  tmp_path, monkeypatch, capsys
):
  for number, seconds in enumerate((1.0, 2.0)):
    scene_clips.write(tmp_path / f'{number}.mp4', seconds, number)
  rows = [
    {'id': 'a', 'path': '0.mp4', 'prompt': 'calm piano', 'seed': 5},
    {'id': 'b', 'path': '1.mp4', 'start': 0.5, 'end': 1.75, 'best_of': 2},
  ]
  manifest = tmp_path / 'clips.jsonl'
  manifest.write_text('\n'.join(map(json.dumps, rows)))
  loaded = system.load('tiny')
  monkeypatch.setattr(system, 'load', lambda *_: loaded)
  out = tmp_path / 'music'
  command = ['batch', str(manifest), '-o', str(out), '--rows', '4']
  command += ['--system', 'tiny']
  command += ['--loudness', '-16', '--fade_in', '0.2']
  assert main.main([*command, '--bpm', '100']) == 0
  assert 'the stages waited for' in capsys.readouterr().out
  for row in rows:
    alone = tmp_path / f'{row["id"]}.mp4'
    words = ['generate', str(tmp_path / row['path']), '-o', str(alone)]
    words += ['--system', 'tiny']
    words += ['--rows', '4', '--bpm', '100', '--seed', str(row.get('seed', 0))]
    words += ['--loudness', '-16', '--fade_in', '0.2']
    for name in ('prompt', 'start', 'end', 'best_of'):
      words += [f'--{name}', str(row[name])] if name in row else []
    assert main.main(words) == 0
    assert (out / alone.name).read_bytes() == alone.read_bytes()
    facts = [
      json.loads((folder / f'{alone.name}.json').read_text())
      for folder in (tmp_path, out)
    ]
    assert facts[1].pop('record')['sha256'] == facts[0]['output_sha256']
    assert facts[0].pop('seconds_per_part') and facts[0].pop('made_from')
    assert facts[0] == facts[1]
  redone = {}
  for row in rows:
    path = out / f'{row["id"]}.mp4'
    before, video = path.read_bytes(), str(tmp_path / row['path'])
    words = ['generate', video, '-o', str(path), '--redo', '0.5-1']
    words += ['--system', 'tiny']
    assert main.main(words) == 0
    redone[path] = path.read_bytes()
    assert redone[path] != before
  capsys.readouterr()
  for _ in range(2):
    assert main.main([*command, '--bpm', '100']) == 0
    assert 'made again' not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in redone} == redone
  rows[1]['negative'] = 'drums'
  manifest.write_text('\n'.join(map(json.dumps, rows)))
  assert main.main([*command, '--bpm', '100']) == 2
  assert 'line 2: a negative prompt acts through' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('words', 'said'),
  [
    (['--shard', '3'], 'wanted I/N'),
    (['--shard', '1/3', '--engine', 'ray'], 'leave out --shard'),
    (['--actors', '3'], 'go with --engine'),
    (['--engine', 'beam', '--actors', '3', '--', '--x'], 'is of --engine ray'),
    (['--workers', '0'], '--workers is 0'),
    (['--rows', '0'], 'rows is 0; wanted 1 to 256'),
    (['--time_limit', 'nan'], '--time_limit is nan'),
    (['--seed', '-1'], 'seed is -1'),
    (['--duck', '6'], 'give --keep_audio'),
    (['--start', '3', '--end', '2'], 'start is 3 and end 2'),
    (['--format', 'webm', '--rate', '44100'], 'leave --rate out'),
    (['--system', 'nowhere'], 'nowhere is not a system'),
    (['--plan', 'nowhere.json'], "--plan: there is no file 'nowhere.json'"),
  ],
)
def test_a_wrong_call_is_refused_before_any_work(tmp_path, capsys, words, said):
  (tmp_path / 'a.jsonl').write_text('{"id": "a", "path": "a.mp4"}')
  out = tmp_path / 'out'
  command = ['batch', str(tmp_path / 'a.jsonl'), '-o', str(out), *words]
  assert main.main(command) == 2
  assert said in capsys.readouterr().err
  assert not out.exists()
  assert main.main(['batch', 'status', str(out)]) == 2
  assert 'no folder of a batch' in capsys.readouterr().err
