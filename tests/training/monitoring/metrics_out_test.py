"""Logged metrics are those of the run, and no step is logged twice."""

import json

from etils import epath
import numpy as np

from v2meow_jax.training.monitoring import metrics_out


def test_lines_of_later_steps_and_half_lines_are_dropped(tmp_path):
  path = epath.Path(tmp_path) / metrics_out.NAME
  lines = [json.dumps({'step': s}) + '\n' for s in (10, 20, 20, 30)]
  path.write_text(''.join(lines) + '{"step": 2')
  metrics_out.keep_until(path, 20)
  assert path.read_text() == ''.join(lines[:3])
  assert [p.name for p in epath.Path(tmp_path).iterdir()] == [metrics_out.NAME]


def test_a_resumed_run_appends(tmp_path):
  for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
    out = metrics_out.MetricsOut(epath.Path(tmp_path), start, tensorboard=False)
    for step in steps:
      out.write(step, 'train', {'loss': start + step / 3})
    out.close()
  text = (tmp_path / metrics_out.NAME).read_text()
  scalars = [json.loads(line) for line in text.splitlines()]
  assert [m['step'] for m in scalars] == [1, 2, 3, 4]
  assert scalars[2]['train/loss'] == 3.0


def test_skipped_steps_count_as_skipped_and_nothing_else():
  steps = [
    {'loss': 1.0, 'learning_rate': 0.1, 'skipped': 0.0, 'norms': {'a': 1.0}},
    {'loss': np.nan, 'learning_rate': 0.2, 'skipped': 1.0, 'norms': {'a': 1.0}},
    {'loss': 3.0, 'learning_rate': 0.2, 'skipped': 0.0, 'norms': {'a': 1.0}},
  ]
  assert metrics_out.summary(steps) == {
    'loss': 2.0,
    'learning_rate': 0.2,
    'skipped': 1 / 3,
  }
  assert metrics_out.summary(steps[1:2]) == {'skipped': 1.0}


def test_a_mean_over_batches_counts_each_by_its_weight():
  heavy = {'loss': 4.0, 'skipped': 0.0, metrics_out.WEIGHT: 30.0}
  light = {'loss': 1.0, 'skipped': 0.0, metrics_out.WEIGHT: 10.0}
  wrong = {'loss': 9.0, 'skipped': 1.0, metrics_out.WEIGHT: 30.0}
  assert metrics_out.summary([heavy, light, wrong]) == {
    'loss': 3.25,
    'skipped': 1 / 3,
  }
  empty = {'loss': 0.0, metrics_out.WEIGHT: 0.0}
  assert metrics_out.summary([empty]) == {'loss': 0.0}


def test_the_line_shows_what_there_is():
  scalars = {
    'loss': 1.23456,
    'learning_rate': 1e-4,
    'examples_per_second': 12345.6,
    'skipped': 0.25,
    'goodput': 0.5,
  }
  line = metrics_out.line(scalars)
  assert line == 'loss 1.235, rate 0.0001, 1.235e+04 examples/s, skipped 25%'


def test_lines_in_a_bucket_are_there_after_a_while_and_at_the_end(
  bucket, monkeypatch
):
  def steps():
    text = bucket.objects[f'bucket/run/{metrics_out.NAME}'].decode()
    return [json.loads(line)['step'] for line in text.splitlines()]

  def run(start, *logged):
    folder = epath.Path('gs://bucket/run')
    out = metrics_out.MetricsOut(folder, start, tensorboard=False)
    for step in logged:
      out.write(step, 'train', {'loss': step})
    return out

  run(0, 1, 2, 3).close()
  assert steps() == [1, 2, 3]
  resumed = run(2, 3)
  assert steps() == [1, 2]
  monkeypatch.setattr(metrics_out, '_REPLACE_SECONDS', 0)
  resumed.write(4, 'train', {'loss': 4})
  assert steps() == [1, 2, 3, 4]
