"""Work that was interrupted: gone on with, never taken for another's, never torn."""

import dataclasses
import fcntl
import os
import signal
import time

import numpy as np
import pytest

from tests.fakes import forks
from tests.fakes import scene_clips
from tests.fakes import small_system
from v2meow_jax import specs
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests
from v2meow_jax.inference import streams
from v2meow_jax.inference.films import unfinished

SPEC = specs.StageSpec(
  name='semantic',
  inputs=(specs.FeatureSpec(name='motion', dim=1, rate_hz=2.0),),
  target=specs.TokenSpec(name='semantic', codebook_size=99, rate_hz=4.0),
  crop_seconds=2.0,
)


def codes(number):
  return np.full((8, 1), number, np.int32)


def opened(out, key='a', resume=True):
  return unfinished.opened({out: key}, resume=resume)


def interrupted(out, key='a', windows=3):
  with pytest.raises(KeyboardInterrupt), opened(out, key) as (work,):
    work.windows(SPEC)
    for number in range(windows):
      work.add(SPEC, codes(number))
    raise KeyboardInterrupt


def kept(out, **options):
  with opened(out, **options) as (work,):
    return [int(window[0, 0]) for window in work.windows(SPEC)]


def test_windows_are_there_again_after_an_interruption(tmp_path):
  out = tmp_path / 'out.wav'
  interrupted(out)
  assert unfinished.is_kept(out)
  with pytest.raises(KeyboardInterrupt), opened(out) as (work,):
    np.testing.assert_array_equal(list(work.windows(SPEC))[2], codes(2))
    work.add(SPEC, codes(3))
    raise KeyboardInterrupt
  assert kept(out) == [0, 1, 2, 3]
  assert not list(tmp_path.iterdir())  # It was done.


@pytest.mark.parametrize('options', [{'key': 'b'}, {'resume': False}])
def test_what_another_key_made_is_never_used(tmp_path, options):
  out = tmp_path / 'out.wav'
  interrupted(out)
  assert kept(out, **options) == []


def test_a_torn_or_changed_record_and_what_follows_it_is_none(tmp_path):
  out = tmp_path / 'out.wav'
  interrupted(out)
  file = unfinished.folder(out) / 'semantic.windows'
  whole = file.read_bytes()
  for data, wanted in (
    (whole[:-1], [0, 1]),
    (whole + b'12345', [0, 1, 2]),
    (whole[:50] + b'\1' + whole[51:], [0]),
    (b'', []),
  ):
    interrupted(out, windows=0)
    file.write_bytes(data)
    with pytest.raises(KeyboardInterrupt), opened(out) as (work,):
      assert [int(w[0, 0]) for w in work.windows(SPEC)] == wanted
      work.add(SPEC, codes(7))
      raise KeyboardInterrupt
    assert kept(out) == [*wanted, 7]


def test_work_that_is_refused_is_not_kept(tmp_path):
  with pytest.raises(ValueError), opened(tmp_path / 'out.wav'):
    raise ValueError
  assert not list(tmp_path.iterdir())


def test_two_processes_do_not_make_one_output(tmp_path):
  out = tmp_path / 'out.wav'
  interrupted(out)
  with open(unfinished.folder(out) / 'lock') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match='another process is making'):
      kept(out)
  assert kept(out) == [0, 1, 2]


def test_a_name_that_fills_its_disk_is_kept_as_well(tmp_path):
  out = tmp_path / ('ü' * 120 + '.wav')
  interrupted(out)
  assert kept(out) == [0, 1, 2]


def test_what_was_read_is_there_again_to_the_bit(tmp_path):
  out = tmp_path / 'out.wav'
  rng = np.random.default_rng(0)
  sections = tuple(
    plan_lib.Section(start_seconds=s, mood='', energy=0.5, label=label)
    for s, label in ((0.0, 'A'), (8.0, 'B'), (16.0, 'A'))
  )
  plan = plan_lib.MusicPlan(
    seconds=24.0,
    tempo_bpm=120.0,
    beats_per_bar=4,
    source='given',
    beats=tuple(
      plan_lib.Beat(seconds=i / 2, downbeat=i % 4 == 0, energy=0.1)
      for i in range(48)
    ),
    sections=sections,
    key='C major',
  )
  clip = pipeline.ClipStreams(
    streams={'plan': rng.normal(size=(9, 28)).astype(np.float32)},
    seconds=24.04,
    seed=5,
    style_starts=(0.0, 8.0),
    returns=streams.themes.returns(plan),
  )
  assert clip.returns
  read = streams.ReadRequest(
    clip=clip, plan=plan, settings={'seed': 5}, not_used={'prompt': 'why'}
  )
  with pytest.raises(KeyboardInterrupt), opened(out) as (work,):
    assert work.reading() is None
    work.keep_reading(read)
    raise KeyboardInterrupt
  with pytest.raises(KeyboardInterrupt), opened(out) as (work,):
    again = work.reading()
    raise KeyboardInterrupt
  assert again is not None
  assert (again.plan, again.settings, again.not_used) == (
    plan,
    {'seed': 5},
    {'prompt': 'why'},
  )
  np.testing.assert_array_equal(
    again.clip.streams['plan'], clip.streams['plan']
  )
  assert again.clip.style_starts == clip.style_starts
  np.testing.assert_array_equal(
    again.clip.returns[0].times, clip.returns[0].times
  )
  file = unfinished.folder(out) / 'read.safetensors'
  file.write_bytes(file.read_bytes()[:-1] + b'x')
  with opened(out) as (work,):
    assert work.reading() is None


class _System:
  num_groups = 1


def test_the_key_is_another_for_all_that_acts_on_the_sound():
  request = requests.Request(video='a.mp4', seed=1)
  facts = {'system_sha256': 'x', 'rows': {'semantic': 1}, 'licences': {}}

  def key(request=request, video='v', **changes):
    return unfinished.key(_System(), request, video, {**facts, **changes})

  others = [
    key(video='w'),
    key(dataclasses.replace(request, seed=2)),
    key(dataclasses.replace(request, prompt='jazz')),
    key(dataclasses.replace(request, plan=None)),
    key(dataclasses.replace(request, plan=planner.Wishes(bpm=99.0))),
    key(system_sha256='y'),
    key(rows={'semantic': 2}),
  ]
  assert len({key(), *others}) == 1 + len(others)
  assert key() == key(licences={'weights': 'free'})


_RUN = """
import sys
from v2meow_jax.inference import soundtrack
soundtrack.write(sys.argv[1], sys.argv[2], system_dir=sys.argv[3], resume=True)
"""


@pytest.mark.slow
def test_killed_at_any_instant_it_ends_with_the_same_bytes(tmp_path):
  video, system = tmp_path / 'in.mp4', tmp_path / 'system'
  scene_clips.write(video, 24.0, 3)
  small_system.pack(system, small_system.CHAINS['two'])
  outputs = tmp_path / 'outputs'
  outputs.mkdir()
  out = outputs / 'out.wav'
  programs = {'V2MEOW_PROGRAMS_DIR': str(tmp_path / 'programs')}
  parent = forks.Parent(
    'v2meow_jax.inference.soundtrack',
    'v2meow_jax.inference.system',
    environment={**os.environ, **programs},
  )

  def run(until=None):
    """Runs the command, or kills it; bytes that were kept when it began."""
    folder = unfinished.folder(out)
    before = sum(f.stat().st_size for f in folder.glob('*.windows'))
    with parent.start(_RUN, video, out, system) as process:
      while until is not None and not process.has_ended():
        if until(folder):
          process.kill()
        time.sleep(0.002)
      return before, process.wait()

  def more_than(name, share):
    def reached(folder):
      file = folder / f'{name}.windows'
      return file.exists() and file.stat().st_size > share

    return reached

  with parent:
    assert run() == (0, 0)
    wanted = out.read_bytes()
    sidecar = (outputs / 'out.wav.json').read_text()
    (outputs / 'out.wav.json').unlink()
    rng = np.random.default_rng()
    record = 50 * 4 + 8
    kept_before = []
    for until in (
      lambda folder: folder.exists(),
      more_than('semantic', record * rng.integers(0, 10)),
      more_than('coarse', record * rng.integers(0, 10)),
    ):
      before, code = run(until)
      kept_before.append(before)
      assert code == -signal.SIGKILL
    before, code = run()
    assert code == 0 and out.read_bytes() == wanted
    assert before > max(kept_before) > 0
    assert sorted(path.name for path in outputs.iterdir()) == [
      'out.wav',
      'out.wav.json',
    ]
    made = (outputs / 'out.wav.json').read_text()
    assert made.count('\n') == sidecar.count('\n')
