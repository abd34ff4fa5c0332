"""scores.json: what is written comes back, and nothing else is read."""

import importlib
import json
import pathlib
import re

import numpy as np
import pytest

from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores

DOCS = pathlib.Path(__file__).parents[3] / 'docs/evaluation.md'


def run(**changes):
  made = {
    'run': 'tiny',
    'dataset': 'synthetic',
    'task': 'video',
    'clips': ('a', 'b'),
    'settings': {'seed': 3},
    'libraries': {'numpy': np.__version__},
    'metrics': {
      'beat_f': scores.of_clips(np.array([0.5, 1.0]), seed=0, window=0.07),
      'fad/vggish': scores.Score(value=1.25, num_clips=2),
    },
  }
  return scores.Scores(**{**made, **changes})


def test_what_is_written_is_read_again(tmp_path):
  path = tmp_path / scores.FILE_NAME
  scores.write(path, run())
  assert scores.read(path) == run()
  assert scores.read(tmp_path) == run()
  assert [p.name for p in tmp_path.iterdir()] == [scores.FILE_NAME]


def test_the_file_has_the_fields_that_its_readers_expect(tmp_path):
  scores.write(tmp_path / 'scores.json', run())
  content = json.loads((tmp_path / 'scores.json').read_text())
  assert content['version'] == 1 and content['run'] == 'tiny'
  metric = content['metrics']['beat_f']
  assert metric['value'] == 0.75 and metric['num_clips'] == 2
  assert metric['per_clip'] == [0.5, 1.0]
  assert metric['low'] == 0.5 and metric['high'] == 1.0
  assert metric['details'] == {'window': 0.07}


def test_one_clip_and_one_pair_of_pairs_have_no_interval():
  one = scores.of_clips(np.array([0.5]), seed=0)
  assert (one.value, one.low, one.high) == (0.5, None, None)
  grid = np.array([[0.0, 1.0], [3.0, 0.0]])
  two = scores.of_mismatched(grid, seed=0)
  assert (two.value, two.low, two.per_clip) == (2.0, None, (1.0, 3.0))
  three = scores.of_mismatched(np.arange(9.0).reshape(3, 3), seed=0)
  assert three.low < three.value < three.high


def test_a_score_of_pairs_is_the_mean_of_its_values_per_clip():
  grid = np.random.default_rng(0).random((7, 7))
  for score in (
    scores.of_mismatched(grid, seed=0),
    scores.of_all_pairs(grid, seed=0),
  ):
    assert score.value == pytest.approx(np.mean(score.per_clip))
    assert len(score.per_clip) == score.num_clips == 7


def test_a_score_of_clips_is_their_mean_with_its_interval():
  values = np.random.default_rng(0).random(20)
  interval = bootstrap.mean_interval(values, seed=4)
  score = scores.of_clips(values, seed=4)
  assert (score.value, score.low, score.high) == (
    interval.mean,
    interval.low,
    interval.high,
  )
  assert str(score) == str(interval)
  assert str(scores.Score(value=2.0, num_clips=1)) == '2.000'


def test_details_that_json_cannot_hold_leave_the_old_file(tmp_path):
  path = tmp_path / 'scores.json'
  scores.write(path, run())
  with pytest.raises(ValueError, match='JSON'):
    scores.write(path, run(settings={'seed': np.nan}))
  with pytest.raises(TypeError, match='serializable'):
    scores.write(path, run(settings={'seed': np.zeros(2)}))
  assert scores.read(path) == run()


@pytest.mark.parametrize(
  'change, names',
  [
    ({'version': 2}, 'version 2'),
    ({'extra': 1}, 'extra'),
    ({'task': 'music'}, 'music'),
    ({'run': 3}, 'run of the file is 3'),
    ({'clips': 'ab'}, 'clips'),
    ({'metrics': {'x': {'value': 1.0}}}, "metric 'x' has"),
    ({'metrics': []}, 'metrics'),
  ],
)
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(
  tmp_path, change, names
):
  path = tmp_path / 'scores.json'
  scores.write(path, run())
  path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
  with pytest.raises(ValueError, match=names) as e:
    scores.read(path)
  assert str(path) in str(e.value)


@pytest.mark.parametrize(
  'field, value, names',
  [
    ('value', 'high', "value of metric 'beat_f' is 'high'"),
    ('value', True, 'True'),
    ('per_clip', [1.0], '2 clips with 1'),
    ('per_clip', [1.0, 'x'], 'per_clip'),
    ('low', float('nan'), 'NaN is not finite'),
    ('details', [], 'details'),
  ],
)
def test_a_metric_that_is_wrong_is_named(tmp_path, field, value, names):
  path = tmp_path / 'scores.json'
  scores.write(path, run())
  content = json.loads(path.read_text())
  content['metrics']['beat_f'][field] = value
  path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match=names):
    scores.read(path)


@pytest.mark.parametrize('text', ['', '[1]', '{', '[' * 100_000, '\xff'])
def test_what_is_no_json_is_refused(tmp_path, text):
  path = tmp_path / 'scores.json'
  path.write_bytes(text.encode('latin-1'))
  with pytest.raises(ValueError, match='holds no scores'):
    scores.read(path)


def test_a_score_that_is_not_finite_is_refused():
  with pytest.raises(ValueError, match='not finite'):
    scores.Score(value=np.nan, num_clips=1)


def test_libraries_have_what_figures_depend_on():
  assert scores.libraries()['numpy'] == np.__version__


def test_the_file_that_the_docs_show_is_read(tmp_path):
  (example,) = re.findall(r'```json\n(.*?)```', DOCS.read_text(), re.S)
  path = tmp_path / 'scores.json'
  path.write_text(example)
  assert scores.read(path).metrics['bcs'].details['saturated']


def test_the_functions_that_the_docs_name_are_there():
  rows = re.findall(r'^\| .* \| `(\w+\.\w+)\.(\w+)` \|', DOCS.read_text(), re.M)
  assert len(rows) >= 8
  for module, name in rows:
    found = importlib.import_module(f'v2meow_jax.evaluation.{module}')
    assert callable(getattr(found, name))


def test_a_folder_without_scores_says_what_was_wanted(tmp_path):
  with pytest.raises(FileNotFoundError, match='`v2meow evaluate` wrote'):
    scores.read(tmp_path)
