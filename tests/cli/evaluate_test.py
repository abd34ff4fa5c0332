"""`v2meow evaluate`: mistakes in one line, and a report end to end."""

import shutil

import numpy as np
import pytest
import soundfile

from v2meow_jax.cli import main
from v2meow_jax.evaluation.metrics import scores

RATE_HZ = 22_050


def clicks(path, bpm, seconds=4.0):
  samples = np.zeros(round(seconds * RATE_HZ))
  click = np.hanning(200) * np.sin(np.arange(200) * 0.5)
  for start in np.arange(0, seconds - 0.1, 60 / bpm):
    at = round(start * RATE_HZ)
    samples[at : at + 200] += 0.5 * click
  soundfile.write(path, samples, RATE_HZ)


@pytest.mark.parametrize(
  'argv, named',
  [
    ([], '--system SYSTEM'),
    (['--generated', 'a'], '--reference DIR'),
    (['--generated', 'a', '--reference', 'b'], '-o is missing'),
    (
      ['--generated', 'a', '--reference', 'b', '-o', 'c', '--num', '3'],
      '--num',
    ),
    (['--system', 's', '--generated', 'a', '-o', 'c'], 'or --system'),
    (['--system', 's', '-o', 'c', '--prompts', 'p'], '--prompts goes with'),
    (
      ['--generated', 'a', '--reference', 'b', '-o', 'c', '--metrics', 'fid'],
      'fad, kld, mcc, is, beats',
    ),
    (
      ['--generated', 'a', '--reference', 'b', '-o', 'c', '--network', 'nn'],
      "'nn'",
    ),
  ],
)
def test_a_mistake_is_one_line_and_no_file(
  argv, named, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  assert main.main(['evaluate', *argv]) == 2
  error = capsys.readouterr().err.strip()
  assert named in error and '\n' not in error
  assert not list(tmp_path.iterdir())


def test_help_teaches(capsys):
  for verb in (['evaluate'], ['evaluate', 'table']):
    with pytest.raises(SystemExit):
      main.main([*verb, '--help'])
    text = capsys.readouterr().out.partition('example')[2]
    assert f'v2meow {" ".join(verb)} ' in text


def test_the_tables_are_printed_without_a_run(capsys):
  assert main.main(['evaluate', 'table']) == 0
  assert '## Table 2' in capsys.readouterr().out


@pytest.mark.slow
def test_two_clips_give_a_report_with_plots_and_a_row_of_table_2(
  tmp_path, capsys
):
  made, true, out = (tmp_path / name for name in ('made', 'true', 'out'))
  for folder in (made, true):
    folder.mkdir()
  clicks(true / 'a.wav', 120)
  clicks(true / 'b.wav', 100)
  shutil.copy(true / 'a.wav', made)
  clicks(made / 'b.wav', 83)
  argv = ['--generated', made, '--reference', true, '-o', out]
  argv += ['--dataset', 'aist', '--run_name', 'mine']
  # Two clips of one row each are enough for a distance, and no more.
  assert main.main(['evaluate', *map(str, argv)]) == 0
  assert '| `fad/tiny-style` | ' in capsys.readouterr().out
  argv += ['--metrics', 'mcc,beats']
  assert main.main(['evaluate', *map(str, argv)]) == 0
  printed = capsys.readouterr().out
  assert '`mcc_audio/tiny-style`' in printed
  assert 'report.md: 2 clips scored, 0 left out, 0 metrics' in printed
  found = scores.read(out).metrics
  first, second = found['beat_f'].per_clip
  assert first == 1.0 and second < 0.7
  plots = sorted(path.name for path in (out / 'plots').iterdir())
  assert plots == [
    'beats_0.png',
    'beats_1.png',
    'distributions.png',
    'spectrograms_0.png',
    'spectrograms_1.png',
  ]
  text = (out / 'report.md').read_text()
  assert all(f'(plots/{name})' in text for name in plots)
  assert main.main(['evaluate', 'table', str(out)]) == 0
  assert '| **mine** (aist, 2 clips) | ' in capsys.readouterr().out
