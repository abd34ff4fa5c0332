"""The proof of the paper's sizes fails where something is not as it should be."""

from concurrent import futures
import importlib
import json

import numpy as np
import pytest

full_size = importlib.import_module('benchmarks.full_size')
report = importlib.import_module('benchmarks.report')


@pytest.fixture
def streams():
  """Of two seconds; what the stages write reaches to the end of a window."""
  return {
    'clip': np.ones((2, 768), np.float32),
    'flow': np.ones((2, 1024), np.float32),
    'style': np.zeros((1, 512), np.float32),
    'semantic': np.full((250, 1), 1023),
    'coarse': np.full((500, 4), 1023),
    'fine': np.zeros((150, 8), int),
    'acoustic': np.zeros((100, 12), int),
  }


def test_streams_of_the_paper_have_no_fault(streams):
  assert full_size.stream_faults(streams, 2) == []


@pytest.mark.parametrize(
  ('name', 'change', 'fault'),
  [
    ('clip', lambda x: x[:1], "'clip' has shape .1, 768.; wanted 2 frames"),
    ('flow', lambda x: x[:, 1:], "'flow' has shape .2, 1023.; wanted 2 frames"),
    ('clip', lambda x: x * np.nan, "'clip' is not finite"),
    ('semantic', lambda x: x + 1, 'codes from 1024 to 1024; wanted 0 to 1023'),
    ('fine', lambda x: x - 1, 'codes from -1 to -1; wanted 0 to 1023'),
    ('coarse', lambda x: x[:99], 'wanted 100 frames of 4 for 2 s at 50 Hz'),
    ('acoustic', lambda x: x[:99], 'wanted 100 frames of 12 for 2 s at 50 Hz'),
    ('acoustic', lambda x: None, "no stream 'acoustic'"),
  ],
)
def test_a_stream_that_is_wrong_is_a_fault(streams, name, change, fault):
  changed = {**streams, name: change(streams[name])}
  (found,) = full_size.stream_faults(changed, 2)
  with pytest.raises(ValueError, match=fault):
    raise ValueError(found)


def test_a_sound_of_another_length_or_rate_is_a_fault():
  assert full_size.sound_faults(32_000, 16_000, 2) == []
  assert '31999 samples' in full_size.sound_faults(31_999, 16_000, 2)[0]
  assert '24000 Hz' in full_size.sound_faults(48_000, 24_000, 2)[0]


def test_more_than_twelve_gigabytes_is_a_fault():
  assert full_size.memory_faults(12_000_000_000) == []
  assert '12.10 GB' in full_size.memory_faults(12_100_000_000)[0]


def test_a_fault_ends_the_benchmark_with_another_exit_code(monkeypatch, capsys):
  figures = {
    'samples': 1,
    'wanted_samples': 2,
    'wall_seconds': 1.0,
    'peak_bytes': 1,
    'seconds_per_part': {},
    'streams': {},
    'faults': ['one sample is missing'],
  }
  monkeypatch.setattr(full_size, 'measure', lambda *_: figures)
  assert report.run(lambda: full_size.main([])) == 2
  said = capsys.readouterr()
  assert 'one sample is missing' in said.err and 'peak memory' in said.out


@pytest.mark.slow
@pytest.mark.torch
def test_a_tiny_system_is_proven_from_the_command_line(
  tmp_path, root, monkeypatch
):
  monkeypatch.chdir(root)

  def thread(count, mp_context):
    del mp_context  # A process would import torch and TensorFlow again.
    return futures.ThreadPoolExecutor(count)

  monkeypatch.setattr(full_size.futures, 'ProcessPoolExecutor', thread)
  path = tmp_path / 'out.json'
  full_size.main(['--tiny', '--json', str(path)])
  found = json.loads(path.read_text())
  assert found['samples'] == found['wanted_samples'] == 32_000
  assert found['faults'] == [] and found['peak_bytes'] > 100e6
  assert found['streams']['acoustic'] == [100, 12]
  assert {'clip', 'flow', 'acoustic'} <= set(found['licences'])
