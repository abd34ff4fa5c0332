"""One script measures an accelerator; here it runs the same path, tiny."""

import importlib
import json

import pytest

from tests.fakes import random_system

accelerator = importlib.import_module('benchmarks.accelerator')
flows = importlib.import_module('benchmarks.flows')
report = importlib.import_module('benchmarks.report')

ROW = {
  'shape': 'base',
  'batch': 8,
  'ours_ms': 0.25,
  'over_t5x': None,
  'roofline_share': 0.5,
}


def test_what_fails_is_said_and_the_rest_is_in_the_table():
  figures = {
    'device': 'a chip',
    'decode': [ROW],
    'generate': {'seconds_of_clip': 10.0, 'failed': 'MemoryError: too much'},
    'flow': {
      'seconds_of_clip': 30.0,
      'steps': 8,
      'frames': 750,
      'parameters': 164_000_000,
      'dtype': 'bfloat16',
      'stage_seconds': 0.25,
      'codec_seconds': 0.125,
    },
    'training': {
      'muvi': {'failed': 'ValueError: no such device'},
      'fine': {'failed': 'ValueError: no such recipe'},
      'coarse': {
        'rows': 8,
        'dtype': 'bfloat16',
        'seconds': 0.5,
        'flops': 1e12,
        'mfu': 0.4,
      },
    },
  }
  text = accelerator.markdown(figures)
  assert '| base, batch 8, share of the roofline | 0.50 | 0.80 |' in text
  assert 'T5X' not in text
  assert '| a clip | not measured: MemoryError: too much |' in text
  assert '| fine | not measured: ValueError: no such recipe |' in text
  assert '| flow | 30 s, 8 steps, 164 M, bfloat16 | 0.250 s | 0.3 s |' in text
  assert '| flow | 30 s, 8 steps, decoding | 0.125 s |  |' in text
  assert '| muvi | not measured: ValueError: no such device | 0.45 |' in text
  assert '| coarse, 8 rows, bfloat16, MFU | 0.40 | 0.35 |' in text
  assert len({line.count('|') for line in text.splitlines()[2:]}) == 1


@pytest.mark.slow
def test_full_sizes_are_not_begun_on_a_cpu(capsys):
  assert report.run(lambda: accelerator.main([])) == 2
  assert 'no accelerator here' in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_step_is_measured_at_tiny_sizes(tmp_path, root, monkeypatch):
  monkeypatch.chdir(root)
  # Another process imports TensorFlow again.
  monkeypatch.setattr(accelerator, 'apart', lambda function, *a: function(*a))
  out, table = tmp_path / 'out.json', tmp_path / 'table.md'
  accelerator.main(
    ['--tiny', '--rounds', '1', '--part', 'training', '--stage', 'fine']
    + ['--json', str(out), '--table', str(table)]
  )
  trained = json.loads(out.read_text())['training']['fine']
  assert trained['dtype'] == 'bfloat16' and trained['mfu'] is None
  assert trained['seconds'] > 0
  # Two rows of 1,800 positions, 16 wide with 32 in the MLP, a layer, three
  # passes: attention over the square, projections, and logits of 1,024 codes.
  positions = 2 * 1800
  layer = 4 * 1800 * 16 + 2 * (4 * 16 * 16 + 3 * 16 * 32)
  assert trained['flops'] > 3 * positions * layer
  assert trained['flops'] < 3 * positions * (layer + 2 * 16 * 13_000)
  assert 'not measured' not in table.read_text()


@pytest.mark.slow
def test_a_flow_is_measured_at_tiny_sizes(root, monkeypatch):
  monkeypatch.chdir(root)
  played = flows.measure(tiny=True, seconds=2.0, steps=3, rounds=1)
  assert (played['frames'], played['steps']) == (50, 3)
  assert played['dtype'] == 'bfloat16'
  assert played['stage_seconds'] > 0 and played['codec_seconds'] > 0


@pytest.mark.slow
def test_a_training_step_of_a_flow_is_counted(root, monkeypatch):
  monkeypatch.chdir(root)
  found = accelerator.utilisation('muvi', 2, random_system.TINY_STAGES, 1)
  # Two rows of 1,000 frames of 1,024 numbers, 16 wide: those in and out, what is
  # told of the known ones, and a layer; patches cost more than nothing.
  frames = 2 * 1000
  least = 2 * 2 * 1024 * 16 + 4 * 1000 * 16 + 2 * (4 * 16 * 16 + 3 * 16 * 32)
  assert 3 * frames * least < found['flops'] < 3 * 3 * frames * least
  assert found['mfu'] is None
