"""Sampling is compared on the same ids, and with the bytes it has to read."""

import importlib
import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow

decode = importlib.import_module('benchmarks.decode')
decoders = importlib.import_module('benchmarks.networks.decoders')
report = importlib.import_module('benchmarks.report')

TINY = decode.Shape(
  sizes={
    'emb_dim': 32,
    'num_heads': 2,
    'head_dim': 16,
    'mlp_dim': 48,
    'num_encoder_layers': 2,
    'num_decoder_layers': 2,
  },
  num_inputs=7,
  num_targets=60,
  num_cpu_targets=20,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
  monkeypatch.setattr(decode, 'SHAPES', {'tiny': TINY})
  monkeypatch.setattr(decode, '_STREAM_SIDE', 64)


def another(written):
  """A sampler of ids of its own."""
  return lambda model, params, read: lambda: written


@pytest.fixture
def alone(monkeypatch):
  """No T5X and no torch."""

  def absent(model, params, read):
    raise ImportError('not here')

  monkeypatch.setattr(decoders, 't5x', absent)
  monkeypatch.setattr(decoders, 'hf', absent)


def test_without_others_our_own_side_is_measured(alone, tmp_path, capsys):
  path = tmp_path / 'out.json'
  decode.main(['--batch', '2', '--rounds', '2', '--json', str(path)])
  said = capsys.readouterr()
  assert 'without t5x (not here)' in said.err
  assert '7 -> 20' in said.out
  (row,) = json.loads(path.read_text())['rows']
  assert (row['shape'], row['batch']) == ('tiny', 2)
  assert row['t5x_ms'] is None and row['hf_ms'] is None
  seconds = row['bytes_per_step'] / row['bytes_per_second']
  assert row['roofline_share'] == pytest.approx(1e3 * seconds / row['ours_ms'])


def test_a_step_reads_the_decoder_and_the_keys_and_values_so_far():
  model, params, read = decode.stage(TINY, 3, on_cpu=True)
  assert read.shape == (3, 7) and model.target_length == 20
  # Self-attention, query and output of cross-attention, gated MLP, three norms.
  layer = 4 * 32 * 32 + 2 * 32 * 32 + 3 * 32 * 48 + 3 * 32
  weights = 2 * layer + 1024 * 32
  # Ten positions of the target on average, seven of the encoder.
  keys_values = 3 * (10 + 7) * 2 * 2 * 2 * 16
  assert decode.bytes_per_step(model, params, 3) == 4 * (weights + keys_values)


@pytest.mark.parametrize(
  'name',
  [
    pytest.param('hf', marks=pytest.mark.torch),
    pytest.param('t5x', marks=pytest.mark.t5x),
  ],
)
def test_others_write_the_same_ids(name):
  if name == 't5x':
    pytest.importorskip('t5x')
  model, params, read = decode.stage(TINY, 2, True)
  ours = decoders.ours(model, params, read)()
  assert len(np.unique(ours)) > 10
  theirs = getattr(decoders, name)(model, params, read)()
  np.testing.assert_array_equal(ours, theirs)


def test_other_ids_are_no_comparison(alone, monkeypatch, capsys):
  monkeypatch.setattr(decoders, 'hf', another(np.zeros((2, 20), int)))
  assert report.run(lambda: decode.main(['--batch', '2'])) == 2
  assert 'hf writes other ids than ours, from position 0' in (
    capsys.readouterr().err
  )
