"""A metric is a function and a row; the documentation has every row."""

import functools
import pathlib

import numpy as np
import pytest

from v2meow_jax.evaluation.listening import analyser
from v2meow_jax.evaluation.listening import detectors
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import metric_table
from v2meow_jax.evaluation.reports import runner

DOCS = (
  pathlib.Path(__file__).resolve().parents[3] / 'docs/evaluation.md'
).read_text()


@pytest.mark.parametrize('metric', metric_table.METRICS, ids=lambda m: m.name)
def test_the_documentation_has_the_function_of_a_row_and_what_is_better(metric):
  function = metric.function
  while isinstance(function, functools.partial):
    function = function.func
  name = f'{function.__module__.partition(".metrics.")[2]}.{function.__name__}'
  lines = [line for line in DOCS.splitlines() if f'`metrics.{name}`' in line]
  assert any(line.endswith(f'| {metric.better} |') for line in lines)


def test_a_row_takes_networks_a_detector_or_a_system_that_compares():
  for metric in metric_table.METRICS:
    takes = (metric.output, metric.detector, metric.needs == 'similarities')
    assert sum(map(bool, takes)) == 1, metric.name


def test_similarities_come_from_a_system_or_the_report_says_what_to_do():
  clips = [analyser.ClipFeatures(rows={}, arrays={})] * 3
  options = {'networks': [], 'metrics': ['retrieval']}
  found, missing = runner.score(clips, clips, similarities=np.eye(3), **options)
  assert (found['recall_at_1'].value, missing) == (1, {})
  found, missing = runner.score(clips, clips, **options)
  assert not found
  assert 'compares videos with music' in missing['retrieval']


def loudness_gap(reference, generated, *, seed):
  return {
    'loudness_gap': scores.of_clips(
      np.abs(np.array(generated) - np.array(reference)), seed=seed
    )
  }


def test_a_metric_of_the_sound_is_a_function_and_a_row(monkeypatch):
  rms = detectors.Detector(
    name='rms',
    rate_hz=16_000,
    compute=lambda sound: {'rms': sound(16_000).samples.std()},
  )
  row = metric_table.Metric(
    option='loudness',
    name='loudness_gap',
    needs='pairs',
    function=loudness_gap,
    better='lower',
    detector=rms,
    value=lambda arrays: float(arrays['rms']),
  )
  monkeypatch.setattr(metric_table, 'METRICS', (*metric_table.METRICS, row))
  assert metric_table.detectors_of(['loudness', 'fad']) == [rms]
  clips = [
    analyser.ClipFeatures(rows={}, arrays={'rms': {'rms': np.float64(value)}})
    for value in (0.1, 0.3)
  ]
  results, missing = runner.score(
    clips, clips[::-1], networks=[], metrics=['loudness']
  )
  assert results['loudness_gap'].value == pytest.approx(0.2)
  assert not missing
