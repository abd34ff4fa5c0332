"""A clip of AIST++ shows and sounds what lies at its place in the video."""

import json

import numpy as np
import pytest

from tests.fakes import aist_lists
from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.cli import main
from v2meow_jax.evaluation.listening import pairs
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.files import manifests
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.jobs.prepare import aist
from v2meow_jax.jobs.prepare import aist_clips

pytestmark = pytest.mark.slow

RATE_HZ = 30
SOUND_RATE_HZ = 44_100
EVENT_SECONDS = 6.7  # A frame begins there.
LASTS_SECONDS = 12.0


def write_video(path, lasts=LASTS_SECONDS, event=EVENT_SECONDS):
  """One white frame, and a click as it appears."""
  levels = np.full(round(lasts * RATE_HZ), 40)
  levels[round(event * RATE_HZ)] = 235
  samples = np.zeros(round(lasts * SOUND_RATE_HZ), np.float32)
  at = round(event * SOUND_RATE_HZ)
  samples[at : at + 400] = 0.8 * np.hanning(400)
  write.write_video(
    path,
    media_clips.gray(levels, 32, 32),
    rate_hz=RATE_HZ,
    audio=media.Audio(samples=samples, rate_hz=SOUND_RATE_HZ),
  )
  return path


def flash_seconds(path):
  video = read.read_video(path)
  bright = video.frames.mean(axis=(1, 2, 3))
  assert bright.max() > 180 and np.sort(bright)[-2] < 80
  return video.times[bright.argmax()]


def click_seconds(path):
  audio = read.read_audio(path, rate_hz=SOUND_RATE_HZ)
  return np.abs(audio.samples).argmax() / SOUND_RATE_HZ - 200 / SOUND_RATE_HZ


def segment(video, start, seconds, name='x'):
  return aist.Segment(
    id=name, video=str(video), start_seconds=start, seconds=seconds
  )


@pytest.mark.parametrize(
  'start, seconds', [(6.0, 2.0), (4.63, 6.0), (0.0, 9.61)]
)
def test_a_planted_event_is_at_its_time_in_picture_and_sound(
  start, seconds, tmp_path
):
  video = write_video(tmp_path / 'video.mp4')
  path = tmp_path / 'clip.mp4'
  aist_clips.cut(segment(video, start, seconds), path)
  info = probe.probe(path)
  assert info.seconds == pytest.approx(seconds, abs=1e-4)
  sound = read.read_audio(path, rate_hz=SOUND_RATE_HZ)
  # Beat coverage gives the rest of a second a bin of its own from 1 ms on.
  assert sound.seconds == pytest.approx(seconds, abs=1e-4)
  planted = EVENT_SECONDS - start
  assert flash_seconds(path) == pytest.approx(planted, abs=0.6 / RATE_HZ)
  assert click_seconds(path) == pytest.approx(planted, abs=1e-3)


def test_pictures_that_end_before_the_music_stay(tmp_path):
  video = write_video(tmp_path / 'video.mp4', lasts=7.97)
  path = tmp_path / 'clip.mp4'
  aist_clips.cut(segment(video, 6.0, 2.0), path)
  assert probe.probe(path).num_frames == 2 * RATE_HZ
  assert flash_seconds(path) == pytest.approx(0.7, abs=1e-3)


def test_a_folder_with_something_in_it_is_refused(tmp_path):
  (tmp_path / 'old.mp4').touch()
  with pytest.raises(ValueError, match='is not empty.*give an empty'):
    aist_clips.write([], tmp_path)


def test_a_video_without_sound_is_refused(tmp_path):
  video = media_clips.encode(tmp_path / 'a.mp4', media_clips.gray(range(50)))
  with pytest.raises(probe.UnsupportedMedia, match='no audio track'):
    aist_clips.write([segment(video, 0.0, 1.0)], tmp_path / 'out')


def test_from_videos_to_a_row_of_table_2(tmp_path, capsys):
  videos, out = tmp_path / 'videos', tmp_path / 'aist_2s'
  videos.mkdir()
  one = write_video(tmp_path / 'one.mp4')
  for name in aist_lists.VIDEOS:
    (videos / f'{name}.mp4').hardlink_to(one)
  list_path = tmp_path / 's2.txt'
  list_path.write_text('\n'.join(aist_lists.lines(2)))
  argv = ['data', 'aist', list_path, videos, out, '--seconds', 2]
  assert main.main(list(map(str, argv))) == 0
  assert capsys.readouterr().out.strip() == str(out / 'manifest.jsonl')

  clips = manifests.read(out / 'manifest.jsonl', 'validation')
  assert len(clips) == 86
  rows = [json.loads(x) for x in (out / 'manifest.jsonl').open()]
  found = pairs.files(out / 'clips')[0]
  assert sorted(found) == sorted(row['id'] for row in rows)
  fourth = [row for row in rows if row['id'].endswith('seg4')]
  assert {row['start_seconds'] for row in fourth} == {6.0}
  for row in fourth[:2]:
    path = out / row['path']
    assert flash_seconds(path) == pytest.approx(0.7, abs=1e-3)
    assert click_seconds(path) == pytest.approx(0.7, abs=1e-3)

  # Two takes each: the music itself, and silence.
  made = tmp_path / 'made'
  made.mkdir()
  for clip in clips:
    music = read.read_audio(clip.path, rate_hz=22_050)
    write.write_audio(made / f'{clip.id}_1.wav', music)
    silence = media.Audio(samples=0 * music.samples, rate_hz=22_050)
    write.write_audio(made / f'{clip.id}_2.wav', silence)
  argv = ['evaluate', '--generated', made, '--reference', out / 'clips']
  argv += ['--metrics', 'beats', '--dataset', 'aist', '--run_name', 'mine']
  argv += ['-o', tmp_path / 'report', '--plots', 0]
  assert main.main(list(map(str, argv))) == 0
  report = scores.read(tmp_path / 'report')
  assert len(report.clips) == 2 * 86
  bhs = report.metrics['bhs']
  # Of segments with the click, the first take hits and the second does not.
  hit = dict(zip(report.clips, bhs.per_clip, strict=True))
  assert hit[f'{fourth[0]["id"]}_1'] == 1.0
  assert hit[f'{fourth[0]["id"]}_2'] == 0.0
  assert bhs.details['num_references'] == 86
  text = (tmp_path / 'report' / 'report.md').read_text()
  assert '172 takes of 86 clips' in text
  capsys.readouterr()
  assert main.main(['evaluate', 'table', str(tmp_path / 'report')]) == 0
  silent = report.num_silent
  assert silent >= 86  # Every second take, and music without the click.
  name = f'**mine** (aist, 172 clips, {silent} silent)'
  assert name in capsys.readouterr().out
