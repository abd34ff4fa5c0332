"""What `v2meow generate` reads and hands to a system."""

import collections
import functools
import json
import pathlib
import types

import numpy as np
import pytest

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files import atomic
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import soundtrack
from v2meow_jax.inference import system as system_lib
from v2meow_jax.inference.films import unfinished
from v2meow_jax.inference.finish import options as finish_options
from v2meow_jax.inference.finish import output as output_lib
from v2meow_jax.models.sampling import options as sampling_options

TONE_HZ = 15_000


class Listening:
  """A system whose style network hears at one rate, and keeps what it got."""

  num_groups = 1
  parts = ('streams', 'codec')
  stages = ()

  def __init__(self, style_rate_hz):
    self.style_rate_hz = style_rate_hz
    self.heard = None
    self.batches = []
    self.settings = {}
    self.silent_seeds = ()

  def resolve(self, sampling, rows):
    del sampling
    return (), (rows,)

  def follows(self, plan, *prompts):
    return plan is not None

  def describe(self, samplings, windows):
    return {'sampling': samplings, 'rows': windows}

  def run_batch(self, requests, **options):
    self.heard = requests[0].style_audio
    self.batches.append([request.seed for request in requests])
    return [
      types.SimpleNamespace(
        audio=media.Audio(
          # As long as ten frames at 25 Hz.
          samples=np.full(3200, request.seed not in self.silent_seeds) * 0.5,
          rate_hz=8000,
        ),
        settings=self.settings,
        streams={},
        seconds_per_part={},
        seconds=0.4,
        plan=None,
      )
      for request in requests
    ]


@pytest.fixture
def style(tmp_path):
  """A tone that no sound at 16 kHz can hold."""
  time = np.arange(48_000) / 48_000
  samples = 0.5 * np.sin(2 * np.pi * TONE_HZ * time).astype(np.float32)
  path = tmp_path / 'style.wav'
  write.write_audio(path, media.Audio(samples=samples, rate_hz=48_000))
  return path


@pytest.mark.parametrize(('rate_hz', 'audible'), [(48_000, 0.5), (16_000, 0)])
def test_a_style_is_heard_at_the_rate_of_its_network(
  style, tmp_path, monkeypatch, rate_hz, audible
):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(10)))
  system = Listening(rate_hz)
  monkeypatch.setattr(system_lib, 'load', lambda *_: system)
  soundtrack.write(
    str(video), str(tmp_path / 'out.wav'), style_audio=str(style)
  )
  assert system.heard is not None and system.heard.rate_hz == rate_hz
  middle = system.heard.samples[rate_hz // 4 : rate_hz // 2]
  assert np.abs(middle).max() == pytest.approx(audible, abs=0.02)


def test_what_is_not_used_is_said_once(tmp_path, monkeypatch, capsys):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(10)))
  system = Listening(16_000)
  system.settings = {'not_used': {'style_audio': 'it is silent'}}
  monkeypatch.setattr(system_lib, 'load', lambda *_: system)
  soundtrack.write(str(video), str(tmp_path / 'out.wav'), takes=3)
  errors = capsys.readouterr().err
  assert errors.count('--style-audio is not used: it is silent.') == 1
  facts = json.loads((tmp_path / 'out_3.wav.json').read_bytes())
  assert facts['not_used'] == {'style_audio': 'it is silent'}


@pytest.mark.parametrize(
  ('rows', 'num_groups', 'batches'),
  [
    (None, 1, [[5], [6], [7]]),
    (2, 1, [[5, 6], [7]]),
    (8, 1, [[5, 6, 7]]),
    (None, 2, [[5, 6], [7]]),
  ],
)
def test_takes_share_the_rows_that_are_asked_for(
  tmp_path, monkeypatch, rows, num_groups, batches
):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(10)))
  system = Listening(16_000)
  system.num_groups = num_groups
  monkeypatch.setattr(system_lib, 'load', lambda *_: system)
  paths = soundtrack.write(
    str(video), str(tmp_path / 'out.wav'), seed=5, takes=3, rows=rows
  )
  assert [path.name for path in paths] == [
    'out_1.wav',
    'out_2.wav',
    'out_3.wav',
  ]
  assert all(path.exists() for path in paths)
  assert system.batches == batches


def test_a_style_without_sound_is_refused_before_a_system_is_loaded(
  tmp_path, monkeypatch
):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(10)))

  def load(*_):
    raise AssertionError

  monkeypatch.setattr(system_lib, 'load', load)
  with pytest.raises(probe.UnsupportedMedia, match='no audio track'):
    soundtrack.write(
      str(video), str(tmp_path / 'out.wav'), style_audio=str(video)
    )


def test_the_embedded_system_hears_at_16_khz_and_others_at_their_own():
  system = system_lib.load('tiny')
  assert system.style_rate_hz == 16_000
  network = types.SimpleNamespace(sample_rate_hz=48_000)
  system.__dict__['styles'] = {'style': network}
  assert system.style_rate_hz == 48_000


def test_what_became_of_the_film_is_said_and_in_the_sidecar(
  tmp_path, monkeypatch, capsys
):
  source, plain = tmp_path / 'in.gif', tmp_path / 'plain.mp4'
  media_clips.encode(
    source,
    media_clips.planted(range(10)),
    container='gif',
    codec='gif',
    pix_fmt='rgb8',
  )
  media_clips.encode(plain, media_clips.planted(range(10)))
  monkeypatch.setattr(system_lib, 'load', lambda *_: Listening(16_000))
  for video, picture in ((source, 'H.264'), (plain, 'copied')):
    out = tmp_path / 'out.mp4'
    soundtrack.write(str(video), str(out))
    facts = json.loads((tmp_path / 'out.mp4.json').read_text())
    assert (facts['picture'], facts['left_out']) == (picture, [])
    assert ('encoded again, as H.264' in capsys.readouterr().err) == (
      picture == 'H.264'
    )


@pytest.mark.parametrize(
  ('stretches', 'said'),
  [
    ([], '--duck found no speech in the sound of in.mp4.'),
    ([(1.2, 3.0)], '--duck found 1.8 s of speech, at 1.2-3 s in the sound'),
    (
      [(2.0 * i, 2.0 * i + 1) for i in range(9)],
      'found 9 s of speech, at 0-1, 2-3, 4-5 and 6 more up to 17 s in the sound',
    ),
    (None, ''),
  ],
)
def test_speech_that_ducks_the_music_is_said(capsys, stretches, said):
  written = output_lib.Output(
    film=None,
    seconds=20.0,
    rate_hz=48_000,
    finish={} if stretches is None else {'speech': stretches},
  )
  soundtrack.say_output('in.mp4', pathlib.Path('out.wav'), written)
  told = capsys.readouterr().err
  assert said in told and bool(said) == bool(told)


def test_a_film_for_another_container_is_refused_before_a_system_is_loaded(
  tmp_path, monkeypatch
):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(10)))
  monkeypatch.setattr(system_lib, 'load', None)
  with pytest.raises(probe.UnsupportedMedia, match='ask for .mp4'):
    soundtrack.write(str(video), str(tmp_path / 'out.webm'))


@pytest.mark.slow
def test_a_file_is_scanned_once_for_all_that_is_made_of_it(
  tmp_path, monkeypatch
):
  scanned, scan = collections.Counter(), probe._scan

  def counted(container, *args):
    scanned[container.name] += 1
    return scan(container, *args)

  monkeypatch.setattr(probe, '_scan', counted)
  video, style = str(tmp_path / 'video.mp4'), str(tmp_path / 'style.wav')
  media_clips.encode(tmp_path / 'video.mp4', media_clips.planted(range(10)))
  noise = np.random.default_rng(0).normal(size=32_000).astype(np.float32) / 9
  write.write_audio(style, media.Audio(samples=noise, rate_hz=16_000))
  soundtrack.write(video, str(tmp_path / 'out.mp4'), style_audio=style, takes=2)
  assert (scanned[video], scanned[style]) == (1, 1)
  system_lib.load('tiny').generate_batch([video] * 2, seeds=[0, 1])
  assert scanned[video] == 2


def test_a_take_that_is_silent_is_no_success_and_leaves_no_file(
  tmp_path, monkeypatch
):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(10)))
  system = Listening(16_000)
  system.silent_seeds = (6,)
  monkeypatch.setattr(system_lib, 'load', lambda *_: system)
  with pytest.raises(ValueError, match='out_2.wav: the sound is silent'):
    soundtrack.write(str(video), str(tmp_path / 'out.wav'), seed=5, takes=3)
  made = sorted(path.name for path in tmp_path.glob('out*'))
  assert made == ['out_1.wav', 'out_1.wav.json', 'out_3.wav', 'out_3.wav.json']


class Planned(Listening):
  """A system that follows the plan of a request."""

  def run_batch(self, requests, **options):
    (made,) = super().run_batch(requests, **options)
    made.plan = requests[0].plan
    return [made]


@pytest.mark.parametrize('whose', ['of no file', 'of this', 'of another'])
def test_a_plan_of_another_video_is_followed_and_said(
  tmp_path, monkeypatch, capsys, whose
):
  video, out = tmp_path / 'in.mp4', tmp_path / 'out.wav'
  media_clips.encode(video, media_clips.planted(range(10)))
  digests = {'of this': atomic.sha256(video), 'of another': '0a' * 32}
  plan = _plan(video_sha256=digests.get(whose))
  monkeypatch.setattr(system_lib, 'load', lambda *_: Planned(16_000))
  soundtrack.write(str(video), str(out), plan=plan)
  facts = json.loads((tmp_path / 'out.wav.json').read_bytes())
  said = capsys.readouterr().err
  if whose != 'of another':
    assert 'notes' not in facts and '--plan' not in said
    return
  assert 'made for another file' in facts['notes']['plan']
  assert said.count(f'v2meow: --plan {facts["notes"]["plan"]}') == 1


def test_a_negative_prompt_without_guidance_is_refused_before_the_work(
  tmp_path, monkeypatch
):
  video, system = tmp_path / 'in.mp4', Listening(16_000)
  media_clips.encode(video, media_clips.planted(range(10)))
  monkeypatch.setattr(system_lib, 'load', lambda *_: system)
  with pytest.raises(ValueError, match='guidance of style, which is off'):
    soundtrack.write(str(video), str(tmp_path / 'out.wav'), negative='drums')
  assert not system.batches


def _plan(**changes):
  return plan_lib.MusicPlan(
    seconds=0.4,
    tempo_bpm=120.0,
    beats_per_bar=4,
    source='given',
    beats=(plan_lib.Beat(seconds=0.1, downbeat=True, energy=0.5),),
    sections=(plan_lib.Section(start_seconds=0.0, mood='', energy=0.5),),
    **changes,
  )


class Interrupted(Listening):
  """A system that is interrupted at its third take, and notes what was kept."""

  def __init__(self):
    super().__init__(16_000)
    self.kept = []

  def run_batch(self, requests, *, kept=(), **options):
    (work,) = kept
    mark = work.folder / 'mark'
    self.kept.append(mark.exists())
    mark.touch()
    if len(self.kept) == 3:
      raise KeyboardInterrupt
    (made,) = super().run_batch(requests, **options)
    settings = {'seed': requests[0].seed}
    fields = vars(made) | {'settings': settings, 'plan': _plan()}
    return [requests_lib.Soundtrack(codes=np.zeros((1, 1)), **fields)]


def test_the_best_of_several_goes_on_with_the_takes_that_were_made(
  tmp_path, monkeypatch
):
  video, out = tmp_path / 'in.mp4', tmp_path / 'out.wav'
  media_clips.encode(video, media_clips.planted(range(10)))
  system = Interrupted()
  monkeypatch.setattr(system_lib, 'load', lambda *_: system)
  monkeypatch.setattr(unfinished, 'MIN_SECONDS', 0.0)

  def write():
    return soundtrack.write(str(video), str(out), best_of=4, resume=True)

  with pytest.raises(KeyboardInterrupt):
    write()
  assert not out.exists()
  assert write() == [out]
  assert system.kept == [False] * 3 + [True] * 3 + [False]
  assert {path.name for path in tmp_path.iterdir()} == {
    *('in.mp4', 'out.wav', 'out.wav.json')
  }


@pytest.mark.slow
def test_a_take_and_the_best_of_several_are_what_they_are_alone(tmp_path):
  video = str(tmp_path / 'video.mp4')
  media_clips.encode(tmp_path / 'video.mp4', media_clips.planted(range(100)))

  def write(name, **options):
    paths = soundtrack.write(video, str(tmp_path / name), **options)
    return [path.read_bytes() for path in paths]

  finish = finish_options.Finish(loudness_lufs=-16.0, fade_in_seconds=0.5)
  takes = write('takes.mp4', seed=5, takes=3, finish=finish)
  assert len(set(takes)) == 3
  assert write('alone.mp4', seed=6, finish=finish) == [takes[1]]
  best = write('best.mp4', seed=5, best_of=3, finish=finish)
  facts = json.loads((tmp_path / 'best.mp4.json').read_bytes())
  scores = {t['seed']: t['score'] for t in facts['best_of']['takes']}
  assert scores.keys() == {5, 6, 7}
  assert facts['seed'] == max(scores, key=scores.get)
  assert best == [takes[facts['seed'] - 5]]
  assert facts['finish']['reached_lufs'] == pytest.approx(-16, abs=0.1)
  assert (facts['sample_rate_hz'], facts['finish']['num_channels']) == (
    48_000,
    2,
  )


def test_a_plan_of_a_part_wants_its_part_before_a_system_is_loaded(
  tmp_path, monkeypatch
):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(30)))
  part = plan_lib.MusicPlan(
    seconds=0.4,
    tempo_bpm=120.0,
    beats_per_bar=4,
    source='given',
    beats=(plan_lib.Beat(seconds=0.0, downbeat=True, energy=0.5),),
    sections=(plan_lib.Section(start_seconds=0.0, mood='', energy=0.5),),
  )
  write = functools.partial(soundtrack.write, str(video), plan=part)
  with monkeypatch.context() as patch:
    patch.setattr(system_lib, 'load', lambda *_: pytest.fail('loaded'))
    with pytest.raises(ValueError, match='give the --start and --end that it'):
      write(str(tmp_path / 'out.wav'))
    with pytest.raises(ValueError, match='the part of the video has 0.2 s'):
      write(str(tmp_path / 'out.wav'), start=0.5, end=0.7)
  monkeypatch.setattr(system_lib, 'load', lambda *_: Listening(16_000))
  write(str(tmp_path / 'out.wav'), start=0.5, end=0.9)
  assert (tmp_path / 'out.wav').exists()


def test_takes_that_cannot_be_compared_are_refused_before_a_system_is_loaded(
  tmp_path, monkeypatch
):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(10)))
  monkeypatch.setattr(system_lib, 'load', None)
  for options, message in (
    ({'best_of': 3, 'takes': 2}, 'choose one'),
    ({'best_of': 3, 'plan': None}, 'leave out --no_plan'),
    ({'best_of': 0}, 'best_of is 0; wanted 1 to 100'),
    ({'start': 3.0}, r'within the 0\.400 s of the film'),
    ({'finish': finish_options.Finish(rate_hz=50_000)}, 'leave --rate out'),
  ):
    with pytest.raises(ValueError, match=message):
      soundtrack.write(str(video), str(tmp_path / 'out.mp4'), **options)


def test_takes_of_which_nothing_is_drawn_are_refused(tmp_path, monkeypatch):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(10)))
  system = Listening(16_000)
  still = sampling_options.Sampling(temperature=0.0)
  monkeypatch.setattr(system, 'resolve', lambda *_: ((still, still), (None,)))
  monkeypatch.setattr(system_lib, 'load', lambda *_: system)
  out = str(tmp_path / 'out.wav')
  with pytest.raises(ValueError, match='so that 2 takes would be the same'):
    soundtrack.write(str(video), out, takes=2)


def test_music_for_a_part_is_asked_for_the_part_alone(tmp_path, monkeypatch):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(30)))
  system = Listening(16_000)
  monkeypatch.setattr(system_lib, 'load', lambda *_: system)
  out = tmp_path / 'out.wav'
  soundtrack.write(str(video), str(out), start=0.2, end=0.6)
  facts = json.loads((tmp_path / 'out.wav.json').read_bytes())
  assert (facts['music_from'], facts['music_to']) == pytest.approx((0.2, 0.6))
  samples = read.read_audio(out, rate_hz=8000).samples
  assert len(samples) == round(1.2 * 8000)
  assert not samples[:1590].any() and not samples[4810:].any()
  assert np.abs(samples[1700:2000]).min() > 0.1


def test_sound_that_is_not_there_to_keep_is_said(tmp_path, monkeypatch, capsys):
  video = tmp_path / 'video.mp4'
  media_clips.encode(video, media_clips.planted(range(10)))
  monkeypatch.setattr(system_lib, 'load', lambda *_: Listening(16_000))
  finish = finish_options.Finish(keep_audio=True)
  soundtrack.write(str(video), str(tmp_path / 'out.mp4'), finish=finish)
  said = '--keep_audio is not used: the film has no sound.'
  assert capsys.readouterr().err.count(said) == 1
