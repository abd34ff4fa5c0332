"""Songs on disk are reproducible, resumable, and what trainers read."""

import json

import numpy as np
import pytest

from tests.fakes import tiny_soundfont
from v2meow_jax.cli import main
from v2meow_jax.files import manifests
from v2meow_jax.files import read
from v2meow_jax.synthetic import captions
from v2meow_jax.synthetic import compose
from v2meow_jax.synthetic import scene as scene_lib
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.songs import song as song_lib
from v2meow_jax.synthetic.songs import song_world


@pytest.fixture(scope='module')
def bank(tmp_path_factory):
  return str(tiny_soundfont.write(tmp_path_factory.mktemp('bank') / 'a.sf2'))


def _write(out, bank, **options):
  manifest = song_world.write(
    out,
    **{'num': 3, 'seed': 4, 'seconds': 6.0, 'progress': False, **options},
    instruments=bank,
  )
  return [json.loads(line) for line in manifest.read_text().splitlines()]


@pytest.fixture(scope='module')
def written(bank, tmp_path_factory):
  out = tmp_path_factory.mktemp('songs') / 'first'
  return out, _write(out, bank)


def test_two_runs_give_equal_bytes(written, bank, tmp_path):
  out, lines = written
  banks.load.cache_clear()
  assert _write(tmp_path / 'second', bank) == lines
  for path in (out / 'clips').iterdir():
    assert (
      path.read_bytes() == (tmp_path / 'second/clips' / path.name).read_bytes()
    )


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(written, bank, tmp_path):
  assert _write(tmp_path, bank, workers=2) == written[1]


def test_an_interrupted_run_is_completed(written, bank, tmp_path):
  out, lines = written
  _write(tmp_path, bank)
  kept = tmp_path / 'clips/000000.flac'
  written_ns = kept.stat().st_mtime_ns
  (tmp_path / 'clips/000001.flac').unlink()
  (tmp_path / 'manifest.jsonl').unlink()
  assert _write(tmp_path, bank) == lines
  assert kept.stat().st_mtime_ns == written_ns


def test_another_bank_is_another_run(written, tmp_path):
  out, _ = written
  other = tiny_soundfont.write(tmp_path / 'a.sf2', tone_generators={48: 10})
  with pytest.raises(ValueError, match='instruments_sha256'):
    _write(out, str(other))


def test_the_manifest_is_one_that_trainers_read(written):
  out, lines = written
  clips = manifests.read(out / 'manifest.jsonl')
  assert [c.id for c in clips] == ['000000', '000001', '000002']
  for index, (clip, line) in enumerate(zip(clips, lines, strict=True)):
    song = song_lib.sample(4, index, 6.0)
    assert clip.plan is not None and clip.plan['tempo_bpm'] == song.tempo_bpm
    assert clip.caption
    assert (line['genre'], line['mode']) == (song.style, song.mode)
    audio = read.read_audio(clip.path)
    assert len(audio.samples) == 96_000
    assert np.square(audio.samples).mean() > 1e-6


def test_the_command_renders_songs_and_refuses_what_is_about_pictures(
  tmp_path, bank, capsys
):
  command = ['data', 'synth', str(tmp_path / 'out'), '--num', '1']
  songs = [*command, '--world', 'songs', '--seconds', '5']
  assert main.main([*songs, '--instruments', bank]) == 0
  assert capsys.readouterr().out.strip().endswith('manifest.jsonl')
  assert (tmp_path / 'out/clips/000000.flac').exists()
  for wrong, message in (
    ([*songs, '--surprise', '1'], 'about scenes'),
    ([*command, '--instruments', bank], 'go with --world songs'),
    ([*songs, '--instruments', 'no.sf2'], 'no bank of instruments'),
  ):
    assert main.main(wrong) == 2
    assert message in capsys.readouterr().err


def test_the_drawn_world_is_what_it_was():
  # Written by the library as it was before there were songs.
  scene = scene_lib.sample(1, 2, 4.0)
  facts = scene.genre, scene.tempo_bpm, scene.key, scene.mode
  assert facts == ('house', 121.78, 'C', 'major')
  caption = 'quiet club dance music at 122 bpm in C major'
  assert captions.caption(scene) == caption
  loudness = np.abs(compose.music(scene).samples).sum()
  assert loudness == pytest.approx(5074.056640625, rel=1e-5)
