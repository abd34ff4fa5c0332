"""The clips of the paper's Table 2, from one's own copy of AIST++.

The lists of segments are public: `dataset/aist_audio_test_segment.txt` of
github.com/L-YeZhu/D2M-GAN (two seconds) and
`data/aist_audio_test_segment_s6.txt` of github.com/L-YeZhu/CDCD (six). Neither
they nor the videos (https://google.github.io/aistplusplus_dataset) come with
this package. `aist_clips` cuts what is found here.
"""

from collections.abc import Callable
import dataclasses
import os
import pathlib
import re

# genre, situation, camera, dancer, music, choreography, segment from 1.
_NAME = re.compile(
  r'(?P<video>g[A-Z]{2}_s[A-Z]{2}_c\d{2}_d\d{2}_m[A-Z]{2}\d_ch\d{2})'
  r'_seg(?P<number>[1-9]\d?)\.(wav|npy)'
)
NUM_VIDEOS = 20
NUM_SEGMENTS = {2: 86, 6: 36, 10: NUM_VIDEOS}
# Time stamps of a video may end this much before its music.
_SHORT_SECONDS = 0.05
_MOST_ERRORS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
  """A stretch of one video.

  Attributes:
    id: Name in the list, without its ending.
    video: Path of the video.
    start_seconds: Start in the video.
    seconds: Length of the segment.
    moved: Whether it begins earlier than its number says, because the video
      ends too soon.
  """

  id: str
  video: str
  start_seconds: float
  seconds: float
  moved: bool = False


def segments(
  list_path: str | os.PathLike,
  videos_dir: str | os.PathLike,
  *,
  seconds: int,
  duration: Callable[[str], float] | None = None,
) -> list[Segment]:
  """The stretches of video that Table 2 has music for.

  Segment k of a list lies at (k - 1) * seconds. The lists have a second
  segment of six seconds for videos that last 8.7 or 9.6 s, and nothing public
  says where it lies: here it ends with the video (`moved`). For the row of ten
  seconds each video of a list is one segment, from its start; those that end
  sooner are shorter.

  Args:
    list_path: One of the two lists, for audio, video or motion alike.
    videos_dir: Holds `<name>.mp4` for each of the 20 videos.
    seconds: 2 or 6, whichever the list is of, or 10, for which either list
      names the videos.
    duration: Seconds of a video, from its path; None: `media_probe` looks.

  Returns:
    86, 36 or 20 segments, in the order of the list.

  Raises:
    ValueError: A list of other numbers or names, videos that are missing, or
      a video that is too short for a segment.
  """
  if seconds not in NUM_SEGMENTS:
    raise ValueError(
      f'segments of {seconds} s; Table 2 has {sorted(NUM_SEGMENTS)}.'
    )
  names = _read(list_path, seconds)
  folder = pathlib.Path(videos_dir)
  paths = {video: folder / f'{video}.mp4' for video, _ in names}
  missing = sorted(path.name for path in paths.values() if not path.is_file())
  if missing:
    raise ValueError(
      f'{folder} lacks {len(missing)} of {len(paths)} videos, such as'
      f' {missing[:_MOST_ERRORS]}; wanted those of camera 1 of AIST++.'
    )
  lasts = {
    video: (duration or _probed)(os.fspath(path))
    for video, path in paths.items()
  }
  if seconds == 10:
    return [
      Segment(
        id=video,
        video=os.fspath(path),
        start_seconds=0.0,
        seconds=min(10.0, lasts[video]),
      )
      for video, path in paths.items()
    ]
  return [
    _segment(video, number, seconds, os.fspath(paths[video]), lasts[video])
    for video, number in names
  ]


def _segment(
  video: str, number: int, seconds: int, path: str, lasts: float
) -> Segment:
  start = float((number - 1) * seconds)
  if lasts + _SHORT_SECONDS < max(seconds, start):
    raise ValueError(
      f'{path} lasts {lasts:.2f} s, and segment {number} of {seconds} s begins'
      f' at {start:g} s; is it the whole video?'
    )
  moved = start + seconds > lasts + _SHORT_SECONDS
  return Segment(
    id=f'{video}_seg{number}',
    video=path,
    start_seconds=max(0.0, lasts - seconds) if moved else start,
    seconds=float(seconds),
    moved=moved,
  )


def _read(list_path: str | os.PathLike, seconds: int) -> list[tuple[str, int]]:
  """(video, number) of each line; of the folders in it nothing is used."""
  try:
    text = pathlib.Path(list_path).read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as e:
    raise ValueError(
      f'{list_path} cannot be read ({e}); wanted a list of segments.'
    ) from e
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  matches = [_NAME.fullmatch(line.rpartition('/')[2]) for line in lines]
  bad = [line for line, m in zip(lines, matches, strict=True) if m is None]
  if bad:
    raise ValueError(
      f'{list_path}: {len(bad)} lines name no segment, such as'
      f' {bad[:_MOST_ERRORS]}; wanted the like of'
      ' gPO_sBM_c01_d11_mPO1_ch02_seg1.wav.'
    )
  names = [(m['video'], int(m['number'])) for m in matches if m]
  videos = {video for video, _ in names}
  wanted = (
    {NUM_SEGMENTS[2], NUM_SEGMENTS[6]}
    if seconds == 10
    else {NUM_SEGMENTS[seconds]}
  )
  if (
    len(names) not in wanted
    or len(set(names)) != len(names)
    or len(videos) != NUM_VIDEOS
  ):
    raise ValueError(
      f'{list_path} has {len(names)} segments, {len(set(names))} of them'
      f' different, of {len(videos)} videos; wanted {sorted(wanted)} of'
      f' {NUM_VIDEOS}: take the list for the test of {seconds} s.'
    )
  return names


def _probed(path: str) -> float:
  from v2meow_jax.files import probe

  return probe.probe_video(path).seconds
