"""Systems of other acoustic stages differ from the tiny one in these alone."""

import importlib
import types

import numpy as np
import pytest

from v2meow_jax.files import released
from v2meow_jax.inference import loading
from v2meow_jax.inference import restore

parallel = importlib.import_module('benchmarks.parallel')


@pytest.mark.slow
def test_a_system_packed_of_the_tiny_ones_stages_is_the_tiny_one(
  tmp_path, monkeypatch
):
  folder, config, _ = parallel._tiny()
  rows = {row['name']: row for row in config['stages']}

  def read_stage(run):
    params = loading.read_params(folder, run.name)
    return rows[run.name]['model'], params, rows[run.name]['trained_steps']

  monkeypatch.setattr(restore, 'read_stage', read_stage)
  packed = parallel.pack(tmp_path, 'pair')
  made = loading.upgraded(released.read_config(packed))
  kept = loading.upgraded(released.read_config(folder))
  for key in ('networks', 'sound', 'streams', 'visual'):
    assert made[key] == kept[key], key
  for new, old in zip(made['stages'], kept['stages'], strict=True):
    assert new['name'] == old['name']
    for key in ('spec', 'network', 'moments'):
      assert new['model'].get(key) == old['model'].get(key), key
    temperatures = (
      stage['model']['sampler']['sampling']['temperature']
      for stage in (new, old)
    )
    assert len({*temperatures}) == 1
    leaves = (_leaves(f, new['name']) for f in (packed, folder))
    for x, y in zip(*leaves, strict=True):
      np.testing.assert_array_equal(x, y)


def _leaves(folder, stage):
  import jax

  return jax.tree.leaves(loading.read_params(folder, stage))


def test_the_distance_is_of_the_music_to_the_true_one():
  rng = np.random.default_rng(0)
  true = list(rng.normal(size=(40, 10, 2)))
  moved = [x + [3.0, 4.0] for x in true]
  scenes = types.SimpleNamespace(_true=true)

  def distance(*sets):
    return parallel.Scenes.distance(scenes, *sets)

  assert distance(true).mean == pytest.approx(0, abs=1e-9)
  far = distance(moved)
  assert far.mean == pytest.approx(25, rel=1e-6)
  assert far.low <= 25 <= far.high
  # By how much the first is further away than the second.
  assert distance(moved, true).mean == pytest.approx(25, rel=1e-6)
  assert distance(true, moved).mean == pytest.approx(-25, rel=1e-6)


def test_systems_take_turns_and_the_first_is_not_counted(monkeypatch):
  order = []
  monkeypatch.setattr(parallel.time, 'perf_counter', lambda: float(len(order)))

  def system(name):
    def run(video, seed):
      order.append((name, video, seed))
      return types.SimpleNamespace(seconds_per_part={'codec': 10.0 * seed})

    return types.SimpleNamespace(run=run)

  systems = {name: system(name) for name in ('pair', 'parallel')}
  times = parallel.take_times(systems, 'clip', 3)
  assert order[:4] == [
    (name, 'clip', seed) for seed in (0, 1) for name in systems
  ]
  assert times['pair'] == {'whole': 1.0, 'codec': 20.0}
