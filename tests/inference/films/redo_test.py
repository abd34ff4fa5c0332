"""A stretch is made again, and every sample outside it stays."""

import json
import shutil
import types

import numpy as np
import pyloudnorm
import pytest

from tests.fakes import scene_clips
from tests.fakes import small_system
from v2meow_jax.cli import main
from v2meow_jax.files import outputs
from v2meow_jax.files import read
from v2meow_jax.inference import soundtrack
from v2meow_jax.inference.films import recorded_codes
from v2meow_jax.inference.films import redo
from v2meow_jax.inference.films import rewriting

RATE_HZ = 16_000
FILM_RATE_HZ = 48_000


@pytest.mark.parametrize('text', ['', '12', '3-', '-3-5', 'a-b', '1e3-2e3'])
def test_a_stretch_that_is_none_is_refused(text):
  with pytest.raises(ValueError, match="such as '12.5-20'"):
    redo.span(text, 2)


@pytest.mark.parametrize(
  ('text', 'take', 'reason'),
  [
    ('5-5.2', 2, '0.5 s apart'),
    ('5-3', 2, 'later end'),
    ('5-7', 1, 'take is 1; wanted 2'),
    ('5-7', 1001, 'take is 1001'),
  ],
)
def test_stretches_and_takes_out_of_range_are_refused(text, take, reason):
  with pytest.raises(ValueError, match=reason):
    redo.span(text, take)


def test_a_stretch_beyond_the_music_of_a_part_is_told_of_the_music():
  clip = types.SimpleNamespace(seconds=3.0)
  part_of_film = types.SimpleNamespace(
    _read=types.SimpleNamespace(clip=clip), _part=redo.span('2-4', 2)
  )
  with pytest.raises(
    ValueError, match='ends at 4 s of the music, which has 3 s'
  ):
    redo.Redoing.redo(part_of_film)


def test_takes_draw_with_seeds_of_their_own():
  seeds = {redo.span('1-2', take).seed(s) for take in (2, 3) for s in (0, 1)}
  assert len(seeds) == 4
  assert redo.span(' 12.5-20 ', 3) == redo.Span(start=12.5, end=20.0, take=3)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """A folder with a video, a system and outputs for it."""
  folder = tmp_path_factory.mktemp('made')
  scene_clips.write(folder / 'in.mp4', 7.0, 3)
  scene_clips.write(folder / 'other.mp4', 7.0, 4)
  small_system.pack(folder / 'system', small_system.CHAINS['two'])
  small_system.pack(folder / 'other_system', small_system.CHAINS['one'])
  for name in ('out.wav', 'out.mkv', 'out.mp4'):
    soundtrack.write(
      str(folder / 'in.mp4'),
      str(folder / name),
      seed=5,
      system_dir=str(folder / 'system'),
    )
  return folder


@pytest.fixture
def folder(made, tmp_path):
  shutil.copytree(made, tmp_path, dirs_exist_ok=True)
  return tmp_path


def again(folder, text, take=2, name='out.wav', video='in.mp4', **options):
  options.setdefault('system_dir', str(folder / 'system'))
  return rewriting.write(
    str(folder / video), str(folder / name), redo.span(text, take), **options
  )


def samples(folder, name='out.wav'):
  """At the rate of the file, so that they are those that were written."""
  rate_hz = RATE_HZ if name == 'out.wav' else FILM_RATE_HZ
  return read.read_audio(folder / name, rate_hz=rate_hz).samples


def changed(before, after):
  """First and last time at which two sounds of 7 s differ, in seconds."""
  places = np.flatnonzero(before != after)
  return places[0] / len(before) * 7, places[-1] / len(before) * 7


@pytest.mark.slow
@pytest.mark.parametrize('name', ['out.wav', 'out.mkv'])
def test_every_sample_outside_the_stretch_stays(folder, name):
  first = samples(folder, name)
  again(folder, '2.5-4', name=name)
  second = samples(folder, name)
  begin, end = changed(first, second)
  assert 2.5 <= begin < 2.55 and 3.95 < end < 4.0
  inside = slice(round(2.5 / 7 * len(first)), round(4 / 7 * len(first)))
  assert np.mean(first[inside] != second[inside]) > 0.9
  # A stretch that reaches over the one before, and one to the end.
  again(folder, '3.5-5', take=3, name=name)
  third = samples(folder, name)
  begin, end = changed(second, third)
  assert 3.5 <= begin < 3.55 and 4.95 < end < 5.0
  again(folder, '6-7', name=name)
  assert changed(third, samples(folder, name))[0] >= 6.0
  facts = json.loads((folder / f'{name}.json').read_bytes())
  assert [(e['start'], e['end'], e['take']) for e in facts['redone']] == [
    (2.5, 4.0, 2),
    (3.5, 5.0, 3),
    (6.0, 7.0, 2),
  ]
  assert facts['seed'] == 5


@pytest.mark.slow
def test_a_take_is_the_same_each_time_and_another_is_another(folder, tmp_path):
  sounds = []
  for take in (2, 2, 3):
    copy = tmp_path / f'{len(sounds)}'
    shutil.copytree(folder, copy, ignore=lambda *_: ['0', '1', '2'])
    again(copy, '2.5-4', take=take)
    sounds.append((copy / 'out.wav').read_bytes())
  assert sounds[0] == sounds[1] != sounds[2]
  # After others of the stretch, or of some of it, it is the same again.
  again(copy, '3-3.5', take=4)
  again(copy, '2.5-4')
  assert (copy / 'out.wav').read_bytes() == sounds[0]
  facts = json.loads((copy / 'out.wav.json').read_bytes())
  assert [(e['start'], e['take']) for e in facts['redone']] == [(2.5, 2)]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['out.wav', 'out.mkv'])
def test_a_stretch_has_the_gain_of_the_whole_and_levels_are_of_the_file(
  folder, name
):
  def finish():
    return json.loads((folder / f'{name}.json').read_bytes())['finish']

  before = finish()
  again(folder, '2.5-6', name=name)
  after = finish()
  assert after['gain_db'] == before['gain_db'] != 0
  assert after['reached_lufs'] != before['reached_lufs']
  rate_hz = RATE_HZ if name == 'out.wav' else FILM_RATE_HZ
  sound = read.read_audio(folder / name, rate_hz=rate_hz).samples
  channels = 1 if name == 'out.wav' else 2
  meter = pyloudnorm.Meter(rate_hz, filter_class='DeMan')
  heard = meter.integrated_loudness(np.stack([sound] * channels, 1))
  assert after['reached_lufs'] == pytest.approx(heard, abs=0.02)


@pytest.mark.slow
def test_latents_are_sampled_again_and_all_outside_stays(tmp_path):
  video, out = tmp_path / 'in.mp4', tmp_path / 'out.wav'
  scene_clips.write(video, 7.0, 3)
  soundtrack.write(
    str(video), str(out), seed=5
  )  # By the system that is shipped.
  first = samples(tmp_path)
  again(tmp_path, '2.5-4', system_dir=None)
  second = samples(tmp_path)
  again(tmp_path, '3.5-5', take=3, system_dir=None)
  third = samples(tmp_path)
  for before, after, start, stop in (
    (first, second, 2.5, 4.0),
    (second, third, 3.5, 5.0),
  ):
    begin, end = changed(before, after)
    assert start <= begin < start + 0.05 and stop - 0.05 < end < stop
  facts = json.loads((tmp_path / 'out.wav.json').read_bytes())
  assert 'codes' not in facts
  assert [(e['start'], e['end'], e['take']) for e in facts['redone']] == [
    (2.5, 4.0, 2),
    (3.5, 5.0, 3),
  ]
  # Another seed gives other music, of which no stretch is made again.
  facts['seed'] = 6
  facts['redo_sha256'] = recorded_codes.facts_sha256(facts)
  (tmp_path / 'out.wav.json').write_text(json.dumps(facts))
  with pytest.raises(ValueError, match='do not give the sound'):
    again(tmp_path, '1-2', system_dir=None)
  assert samples(tmp_path).tobytes() == third.tobytes()


@pytest.mark.slow
def test_pictures_stay_and_lossy_sound_is_near(folder):
  before = samples(folder, 'out.mp4')
  again(folder, '2.5-4', name='out.mp4')
  after = samples(folder, 'out.mp4')
  low, high = round(2.4 * FILM_RATE_HZ), round(4.1 * FILM_RATE_HZ)
  outside = np.r_[0:low, high : len(before)]
  level = np.sqrt(np.mean(before[outside] ** 2))
  error = np.sqrt(np.mean((before - after)[outside] ** 2))
  assert error < 0.1 * level
  assert read.read_video(folder / 'out.mp4').frames.shape == (
    read.read_video(folder / 'in.mp4').frames.shape
  )


@pytest.mark.slow
def test_what_does_not_match_is_refused_and_stays(folder):
  out, sidecar = folder / 'out.wav', folder / 'out.wav.json'
  facts = json.loads(sidecar.read_bytes())

  def refused(reason, *args, **options):
    before = out.read_bytes(), sidecar.read_bytes()
    with pytest.raises(ValueError, match=reason):
      again(folder, *(args or ('2.5-4',)), **options)
    assert (out.read_bytes(), sidecar.read_bytes()) == before

  refused('ends at 8 s, and the music at 7 s', '5-8')
  refused('ends at 7.2 s', '5-7.2')
  refused('video_sha256', video='other.mp4')
  refused(
    "system 'random' .* give the --system",
    system_dir=str(folder / 'other_system'),
  )
  shutil.copy(out, folder / 'style.wav')
  refused('without --style-audio', style_audio=str(folder / 'style.wav'))
  styled = {**facts, 'style_audio_sha256': 'x'}
  styled['redo_sha256'] = recorded_codes.facts_sha256(styled)
  sidecar.write_text(json.dumps(styled))
  refused('with a --style-audio; give it again')
  refused('another --style-audio', style_audio=str(folder / 'style.wav'))
  sidecar.write_text(json.dumps(facts))
  for change, reason in (
    ({'seed': 6, 'sound_sha256': 'x'}, 'do not give the sound'),
    ({'codes': {}}, 'the sidecar is damaged'),
    ({'redone': [{'start': 1}]}, 'the sidecar is damaged'),
    ({'rows': None}, 'the sidecar is damaged'),
    ({'output_sha256': None}, 'output_sha256'),
  ):
    changed_facts = {**facts, **change}
    sidecar.write_text(json.dumps(changed_facts))
    refused('it was changed since it was written')
    changed_facts['redo_sha256'] = recorded_codes.facts_sha256(changed_facts)
    sidecar.write_text(json.dumps(changed_facts))
    refused(reason)
  sidecar.write_text('{}')
  refused('does not say all that acts on the sound')
  sidecar.write_text(json.dumps(facts))
  out.write_bytes(out.read_bytes() + b'x')
  refused('is another file, or was changed')
  out.unlink()
  with pytest.raises(ValueError, match='is not there, though its sidecar is'):
    again(folder, '2.5-4')


@pytest.mark.slow
@pytest.mark.parametrize('is_replaced', [False, True])
def test_a_kill_before_or_after_the_output_is_replaced_loses_nothing(
  folder, monkeypatch, is_replaced
):
  write_json = outputs.write_json

  def killed(path, facts):
    is_last = outputs.REPLACED_BY not in facts
    if not is_last:
      write_json(path, facts)
    if is_last or not is_replaced:
      raise KeyboardInterrupt

  first = samples(folder)
  monkeypatch.setattr(outputs, 'write_json', killed)
  with pytest.raises(KeyboardInterrupt):
    again(folder, '1-2')
  monkeypatch.undo()
  second = samples(folder)
  assert np.any(first != second) == is_replaced
  again(folder, '4-5', take=3)
  begin, end = changed(second, samples(folder))
  assert 4.0 <= begin and end < 5.0
  facts = json.loads((folder / 'out.wav.json').read_bytes())
  takes = [2, 3] if is_replaced else [3]
  assert [entry['take'] for entry in facts['redone']] == takes
  assert outputs.REPLACED_BY not in facts


@pytest.mark.slow
def test_the_end_of_a_film_may_be_rounded_and_resume_keeps_what_was_redone(
  folder,
):
  again(folder, '5-7.05')
  before = (folder / 'out.wav').read_bytes()
  redone = json.loads((folder / 'out.wav.json').read_bytes())['redone']
  assert (redone[0]['start'], redone[0]['end']) == (5.0, 7.0)
  with pytest.raises(ValueError, match='stretches that were made again'):
    soundtrack.write(
      str(folder / 'in.mp4'),
      str(folder / 'out.wav'),
      seed=5,
      system_dir=str(folder / 'system'),
      resume=True,
    )
  assert (folder / 'out.wav').read_bytes() == before


def test_other_options_than_those_of_the_stretch_are_refused(tmp_path, capsys):
  command = ['generate', 'in.mp4', '-o', str(tmp_path / 'out.wav')]
  for options, reason in (
    (['--redo', '1-2', '--prompt', 'jazz', '--seed', '3'], '--prompt, --seed'),
    (['--take', '2'], 'give both'),
    (['--redo', '1-2', '--take', '0'], 'take is 0'),
    (['--redo', '1-2'], 'generate the whole first'),
  ):
    assert main.main([*command, *options]) != 0
    assert reason in capsys.readouterr().err
