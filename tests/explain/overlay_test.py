"""`v2meow explain`: its files are whole, as long as the clip, and hot in place."""

import json
import types

from matplotlib import image
import numpy as np
import pytest

from tests.fakes import planted_stage
from v2meow_jax import media
from v2meow_jax.cli import main
from v2meow_jax.explain import overlay
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import restore
from v2meow_jax.inference import system as system_lib
from v2meow_jax.models.sampling import options

SECONDS = 3.0


@pytest.fixture
def clip(tmp_path):
  path = tmp_path / 'clip.mp4'
  rng = np.random.default_rng(0)
  ground = rng.integers(60, 100, (64, 96, 3), np.uint8)
  frames = (np.roll(ground, 2 * i, axis=1) for i in range(30))
  write.write_video(path, frames, rate_hz=10.0)
  return path


def names(folder):
  return sorted(p.name for p in folder.iterdir())


@pytest.mark.slow
def test_the_command_writes_a_video_of_the_clips_length(clip, tmp_path, capsys):
  out = tmp_path / 'out.mp4'
  command = ['explain', str(clip), '-o', str(out), '--seed', '3']
  assert main.main([*command, '--system', 'tiny']) == 0
  written = ['out.mp4', 'out.mp4.json', 'out.png']
  assert names(tmp_path) == ['clip.mp4', *written]
  said = capsys.readouterr()
  printed = said.out.split()
  assert 'the style stand in for appearance and motion' in said.err
  assert sorted(printed) == [str(tmp_path / name) for name in written]
  info = probe.probe(out)
  assert info.seconds == pytest.approx(SECONDS)
  assert info.num_frames == 30
  sound = read.read_audio(out)
  assert len(sound.samples) == 3 * 16_000
  assert image.imread(tmp_path / 'out.png').shape[1] == 1600
  facts = json.loads((tmp_path / 'out.mp4.json').read_text())
  assert facts['seed'] == 3
  streams = facts['streams']
  assert set(streams) == {'appearance', 'motion', 'plan', 'style'}
  rows = sum(np.sum(s['attention'], 1) for s in streams.values())
  np.testing.assert_allclose(rows, np.ones(3), atol=1e-3)
  assert len(streams['motion']['influence_of_stream_nats']) == 3
  assert np.shape(streams['motion']['influence_of_bin_nats']) == (3, 3)


@pytest.mark.parametrize(
  ('empty', 'style', 'has_plan', 'said'),
  [
    (['near'], 0, True, 'the plan stands in for near, without influence here'),
    (
      ['near', 'far'],
      1,
      True,
      'the plan and the style stand in for near and far',
    ),
    ([], 1, True, None),
    (['near'], 0, False, None),
  ],
)
def test_inputs_that_a_plan_left_empty_are_named(empty, style, has_plan, said):
  inputs = (planted_stage.NEAR, planted_stage.FAR, planted_stage.STYLE)
  spec = planted_stage.spec(*inputs)
  streams = {s.name: np.ones((4, 2)) * (s.name not in empty) for s in inputs}
  streams['style'] = np.full((1, 2), style)
  result = types.SimpleNamespace(
    streams=streams, plan=_plan(SECONDS) if has_plan else None
  )
  told = overlay.stand_in(spec, result)
  assert told == said or (said and told.startswith(said))


def _plan(seconds):
  section = plan_lib.Section(start_seconds=0.0, mood='', energy=0.5)
  return plan_lib.MusicPlan(
    seconds=seconds,
    tempo_bpm=77.0,
    beats_per_bar=4,
    source='given',
    beats=(),
    sections=(section,),
  )


class PlantedSystem:
  """Silence, for a picture with a marked cell in its second 1."""

  parts = ('streams',)

  def __init__(self):
    inputs = (planted_stage.PICTURE, planted_stage.STYLE)
    self.stages = [restore.ModelStage(*planted_stage.encoder_decoder(*inputs))]
    self.windows = [options.Windows()]

  def run(self, video, prompt, seed, *, plan, on_progress):
    on_progress('streams', 1.0)
    cells = np.zeros((3, 16), np.int32)
    cells[1, 6] = planted_stage.MARKED_CODE
    return requests_lib.Soundtrack(
      audio=media.Audio(samples=np.zeros(48_000, np.float32), rate_hz=16_000),
      codes=np.zeros((75, 1), np.int32),
      streams={
        'picture': cells,
        'style': np.zeros((1, 2), np.float32),
        'music': np.zeros((16, 1), np.int32),
      },
      seconds_per_part={},
      settings={'seed': seed},
      seconds=3.0,
    )


@pytest.mark.slow
def test_the_cell_that_is_looked_at_is_red_when_it_is_seen(
  clip, tmp_path, monkeypatch
):
  monkeypatch.setattr(system_lib, 'load', lambda path: PlantedSystem())
  out = tmp_path / 'out.mp4'
  assert main.main(['explain', str(clip), '-o', str(out)]) == 0
  shown = read.read_video(out)
  left = (640 - 96) // 2 + 16  # Of the square of 64 in the frame of 96.
  plain = read.read_video(clip).frames.astype(np.float32)
  frames = shown.frames[:, :64, left : left + 64].astype(np.float32)
  redder = (frames - plain[:, :, 16:80])[..., 0]
  cells = redder.reshape(30, 4, 16, 4, 16).mean((2, 4)).reshape(30, 16)
  assert (cells[10:20, 6] > 60).all()
  cells[10:20, 6] = 0
  assert np.abs(cells).max() < 20


def fails(capsys, tmp_path, *argv):
  before = names(tmp_path)
  assert main.main(['explain', *map(str, argv)]) == 2
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert error.startswith('v2meow: error: ')
  assert names(tmp_path) == before
  return error


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    (('-o', 'out.wav'), '.mp4, .png'),
    (('-o', 'out.png', '--seed', '-1'), 'seed'),
    (('-o', 'out.png', '--bin-seconds', '0'), 'bin_seconds'),
    (('-o', 'no/out.png'), 'cannot be written'),
    (('-o', 'clip.mp4'), 'is an input as well'),
    (('-o', 'out.png', '--plan', 'no.json'), 'no plan'),
  ],
)
def test_what_cannot_be_done_is_known_before_the_work(
  options, said, clip, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  assert said in fails(capsys, tmp_path, clip, *options)


class Asked(PlantedSystem):
  """A system that says what it was to follow."""

  def run(self, video, prompt, seed, *, plan, on_progress):
    raise ValueError(f'asked for {plan.tempo_bpm:g} bpm')


def test_a_plan_is_followed_for_its_clip_alone(
  clip, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(system_lib, 'load', lambda path: Asked())
  out, path = tmp_path / 'out.png', tmp_path / 'plan.json'
  for seconds, said in ((SECONDS, 'asked for 77 bpm'), (9, 'clip of 9 s')):
    plan_lib.write(path, _plan(float(seconds)))
    error = fails(capsys, tmp_path, clip, '-o', out, '--plan', path)
    assert said in error and '--start' not in error


def test_a_layer_that_is_not_there_is_known_before_the_work(
  clip, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(system_lib, 'load', lambda path: PlantedSystem())
  out = tmp_path / 'out.png'
  error = fails(capsys, tmp_path, clip, '-o', out, '--layer', '7')
  assert 'layers 0 to 0' in error


def test_without_what_draws_the_extra_is_named(
  clip, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(overlay.importlib.util, 'find_spec', lambda name: None)
  error = fails(capsys, tmp_path, clip, '-o', tmp_path / 'out.png')
  assert '.[eval]' in error
