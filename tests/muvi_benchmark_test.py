"""Runs of benchmarks.muvi come after what they begin with, and take turns."""

import importlib
import types

import pytest

from v2meow_jax.synthetic import held_out

muvi = importlib.import_module('benchmarks.muvi')
muvi_runs = importlib.import_module('benchmarks.muvi_runs')
muvi_scenes = importlib.import_module('benchmarks.muvi_scenes')


def options(*argv):
  return muvi._options(argv)


@pytest.mark.parametrize('adaptors', [muvi_runs.ADAPTORS, ('average',), ()])
def test_each_run_has_a_recipe_and_comes_after_its_sources(root, adaptors):
  runs = muvi_runs.table(adaptors)
  steps = vars(options())
  seen = set()
  for name, run in runs.items():
    assert (root / 'gin' / 'systems' / 'muvi' / f'{run.recipe}.gin').exists()
    assert seen.issuperset(run.sources)
    assert steps[run.steps] > 0
    seen.add(name)
  ours = set(muvi_runs.ADAPTORS) & runs.keys()
  assert ours == set(adaptors)
  for kind in adaptors:
    # The last source wins: a pre-training of the same adaptor.
    assert runs[kind].sources[-1] == f'synchrony_{kind}'
    assert runs[kind].bindings == runs[f'synchrony_{kind}'].bindings


def test_all_adaptors_are_trained_unless_some_are_named(capsys):
  assert tuple(options().adaptors) == muvi_runs.ADAPTORS
  assert options('--adaptors', 'sigmoid').adaptors == ['sigmoid']
  assert options('--adaptors').adaptors == []
  with pytest.raises(SystemExit):
    options('--adaptors', 'cls')
  assert "invalid choice: 'cls'" in capsys.readouterr().err


class Training:
  """Stands in for the commands of a training; keeps what was asked for, when."""

  def __init__(self, monkeypatch, fails=None):
    self.begun, self.ended, self.fails = [], [], fails
    for name in ('_prepare', '_export'):
      monkeypatch.setattr(muvi_runs, name, lambda folder, name, *_: name)
    monkeypatch.setattr(muvi_runs.report, 'verb', self.verb)
    for name in ('prepare', 'pack'):
      monkeypatch.setattr(muvi_runs.parallel, name, lambda *_: 'masked')
    monkeypatch.setattr(
      muvi_runs.parallel, 'train', lambda *_: self.run('acoustic')
    )

  def verb(self, folder, *words):
    (path,) = (w for w in words if 'MODEL_DIR' in w)
    name = path.rpartition('/')[2].strip("'")
    (folder / name).mkdir()
    self.run(name)

  def run(self, name):
    self.begun.append((name, tuple(self.ended)))
    if name == self.fails:
      raise ValueError(f'{name} failed')
    self.ended.append(name)


@pytest.mark.parametrize('at_once', [1, 2, 4])
def test_runs_wait_for_what_they_begin_with(tmp_path, monkeypatch, at_once):
  training = Training(monkeypatch)
  steps = {n: 3 for n in muvi._DEFAULT_STEPS} | {'context_steps': 0}
  adaptors = ('sigmoid', 'average')
  systems, masked = muvi_runs.train(tmp_path, 12, adaptors, steps, at_once)
  runs = muvi_runs.table(adaptors)
  assert 'in_context' not in systems
  assert systems.keys() == {
    n for n, r in runs.items() if r.is_system and n != 'in_context'
  }
  assert list(masked) == ['masked', 'masked, few passes']
  for name, ended in training.begun:
    if name != 'acoustic':
      assert set(runs[name].sources) <= set(ended), name
  # What is done is not trained again.
  training.begun.clear()
  muvi_runs.train(tmp_path, 12, adaptors, steps | {'masked_steps': 0}, at_once)
  assert not training.begun


def test_what_fails_is_raised_and_what_waits_for_it_is_not_begun(
  tmp_path, monkeypatch
):
  training = Training(monkeypatch, fails='muvi')
  steps = dict.fromkeys(muvi._DEFAULT_STEPS, 3)
  with pytest.raises(ValueError, match='muvi failed'):
    muvi_runs.train(tmp_path, 12, (), steps, 1)
  names = [name for name, _ in training.begun]
  assert 'few_steps' not in names and 'in_context' not in names


def test_what_is_timed_takes_turns_and_the_first_is_not_counted(monkeypatch):
  now, order = [0.0], []
  clock = types.SimpleNamespace(perf_counter=lambda: now[0])
  monkeypatch.setattr(muvi_scenes, 'time', clock)
  monkeypatch.setattr(held_out, 'write_video', lambda *_, **__: 'clip')

  def slow(seconds):
    def generate(video, seed):
      order.append((seconds, video, seed))
      now[0] += seconds * (1 if seed else 100)

    return generate

  scenes = types.SimpleNamespace(scenes=['scene'])
  calls = {'fast': slow(1.0), 'slow': slow(3.0)}
  assert muvi_scenes.Scenes.take_times(scenes, calls, 3) == {
    'fast': 1.0,
    'slow': 3.0,
  }
  assert order[:4] == [(s, 'clip', n) for n in (0, 1) for s in (1.0, 3.0)]
