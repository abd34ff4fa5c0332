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


def test_a_system_of_masked_codes_is_trained_unless_it_has_no_steps(
  tmp_path, monkeypatch
):
  done = []
  for name in ('prepare', 'train', 'pack'):
    monkeypatch.setattr(
      muvi_runs.parallel, name, lambda *given, name=name: done.append(given)
    )
  assert not muvi_runs.masked(tmp_path, 12, 0) and not done
  systems = muvi_runs.masked(tmp_path, 12, 34)
  work = tmp_path / 'masked'
  assert done == [
    (work, 12),
    (work, 'acoustic', 34),
    (work, 'parallel'),
    (work, 'few passes'),
  ]
  assert list(systems) == ['masked', 'masked, few passes']


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
