"""The protocol of Table 2 on lists like the public ones."""

import shutil

import pytest

from tests.fakes import aist_lists
from tests.fakes import media_clips
from v2meow_jax.jobs.prepare import aist

VIDEOS, lines = aist_lists.VIDEOS, aist_lists.lines


@pytest.fixture
def copy(tmp_path):
  """A user's copy: lists as published and a file in each video's place."""
  for seconds in (2, 6):
    (tmp_path / f's{seconds}.txt').write_text('\n'.join(lines(seconds)) + '\n')
  for video in VIDEOS:
    (tmp_path / f'{video}.mp4').touch()
  return tmp_path


def lasts(path):
  return VIDEOS[path.rpartition('/')[2].removesuffix('.mp4')][2]


def build(copy, seconds, name=None):
  path = copy / (name or f's{seconds}.txt')
  return aist.segments(path, copy, seconds=seconds, duration=lasts)


def test_86_segments_of_two_seconds_lie_one_after_the_other(copy):
  made = build(copy, 2)
  assert len(made) == 86 and len({s.video for s in made}) == 20
  assert not any(s.moved for s in made)
  assert {s.seconds for s in made} == {2.0}
  of_one = [s for s in made if 'd04_mBR0' in s.id]
  assert [s.start_seconds for s in of_one] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
  assert of_one[-1].id == 'gBR_sBM_c01_d04_mBR0_ch02_seg6'


def test_36_segments_of_six_seconds_end_with_the_video_at_the_latest(copy):
  made = {s.id: s for s in build(copy, 6)}
  assert len(made) == 36
  late = made['gJS_sBM_c01_d01_mJS3_ch02_seg2']
  assert late.moved and late.start_seconds == pytest.approx(2.73)
  whole = made['gBR_sBM_c01_d04_mBR0_ch02_seg2']
  assert not whole.moved and whole.start_seconds == 6.0
  assert all(
    s.start_seconds + 6.0 <= lasts(s.video) + 0.05 for s in made.values()
  )


@pytest.mark.parametrize('name', ['s2.txt', 's6.txt'])
def test_ten_seconds_are_each_video_once_as_far_as_it_goes(copy, name):
  made = build(copy, 10, name)
  assert len(made) == 20 and {s.start_seconds for s in made} == {0.0}
  assert [s.seconds for s in made] == [
    min(10.0, facts[2]) for facts in VIDEOS.values()
  ]


@pytest.mark.parametrize(
  'seconds, changed, names',
  [
    (2, lines(2)[:-1], '85 segments'),
    (2, lines(6), '36 segments'),
    (2, [*lines(2)[:-1], lines(2)[0]], '85 of them different'),
    (6, [*lines(6)[:-1], '../../etc/passwd'], '1 lines name no segment'),
    (6, [*lines(6)[:-1], 'x/../gBR_sBM_c01_d04_mBR0_ch02_seg0.wav'], 'seg0'),
    (3, lines(2), 'segments of 3 s'),
  ],
)
def test_another_list_is_refused(copy, seconds, changed, names):
  (copy / 'changed.txt').write_text('\n'.join(changed))
  with pytest.raises(ValueError, match=names):
    build(copy, seconds, 'changed.txt')


def test_a_video_that_is_missing_or_cut_is_named(copy):
  with pytest.raises(ValueError, match='lasts 3.00 s, and segment 3'):
    aist.segments(copy / 's2.txt', copy, seconds=2, duration=lambda path: 3.0)
  (copy / 'gHO_sBM_c01_d20_mHO5_ch02.mp4').unlink()
  with pytest.raises(ValueError, match='1 of 20 videos.*d20_mHO5'):
    build(copy, 2)


def test_durations_are_those_of_the_videos_themselves(copy):
  # 36 frames at 4 Hz last 9 s.
  made = media_clips.encode(
    copy / 'x.mp4', media_clips.gray(range(36)), rate_hz=4
  )
  for video in VIDEOS:
    shutil.copy(made, copy / f'{video}.mp4')
  found = aist.segments(copy / 's6.txt', copy, seconds=6)
  starts = [s.start_seconds for s in found if s.moved]
  assert starts == pytest.approx([3.0] * 16)
