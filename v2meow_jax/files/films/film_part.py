"""A stretch of a film, which is read as if it were a film of its own."""

import dataclasses
import fractions
import os

import numpy as np

from v2meow_jax import media
from v2meow_jax.files import probe

# ours: music for less is none.
SHORTEST_SECONDS = 0.1
_EPS_SECONDS = 1e-3  # Ends that were rounded in a text.


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmPart(probe.MediaInfo):
  """Describes a stretch of a film, in place of whose path it may stand.

  Its time line begins with the stretch; its first picture is the one that is on
  screen then.

  Attributes:
    whole: Description of the film.
    offset_seconds: Start of the stretch in the film, in seconds.
  """

  whole: probe.MediaInfo
  offset_seconds: float


def cut(
  film: str | os.PathLike[str] | media.Video,
  start: float | None,
  end: float | None,
) -> str | os.PathLike[str] | media.Video:
  """A stretch of a film.

  Args:
    film: Path of the film, its description, or its decoded frames.
    start: Start of the stretch, in seconds; None: that of the film.
    end: End of the stretch, in seconds; None: that of the film.

  Returns:
    Description or frames of the stretch; the film itself where neither start nor
    end is given.

  Raises:
    ValueError: The stretch is empty, or not within the film.
    probe.UnsupportedMedia: The file is not a film that can be read.
  """
  if start is None and end is None:
    return film
  if isinstance(film, media.Video):
    first, last = _span('the film', film.seconds, start, end)
    return _frames_of(film, first, last)
  info = probe.probe_video(film)
  first, last = _span(info.path, info.seconds, start, end)
  fields = {f.name: getattr(info, f.name) for f in dataclasses.fields(info)}
  seconds = last - first
  # In ticks of a microsecond, so that the start stays a short fraction.
  moved = fractions.Fraction(round(first * 1_000_000), 1_000_000)
  fields |= {
    'seconds': seconds,
    'start_seconds': info.start_seconds + moved,
    'last_seconds': max(0.0, min(info.last_seconds, last) - first),
    'num_frames': max(1, round(info.num_frames * seconds / info.seconds)),
  }
  return FilmPart(**fields, whole=info, offset_seconds=first)


def _span(
  name: str, seconds: float, start: float | None, end: float | None
) -> tuple[float, float]:
  """Start and end of a stretch, which are within a film."""
  first = 0.0 if start is None else float(start)
  last = seconds if end is None else float(end)
  is_within = 0 <= first and last <= seconds + _EPS_SECONDS
  if not (is_within and min(last, seconds) - first >= SHORTEST_SECONDS):
    raise ValueError(
      f'{name}: music from {first:g} s to {last:g} s; wanted a start and an end'
      f' within the {seconds:.3f} s of the film, {SHORTEST_SECONDS:g} s apart or'
      ' more.'
    )
  return first, min(last, seconds)


def _frames_of(film: media.Video, first: float, last: float) -> media.Video:
  """Frames that are on screen in a stretch."""
  low = max(0, int(np.searchsorted(film.times, first + 1e-9, 'right')) - 1)
  high = max(low + 1, int(np.searchsorted(film.times, last - 1e-9)))
  return media.Video(
    frames=film.frames[low:high],
    times=np.maximum(film.times[low:high] - first, 0.0),
    seconds=last - first,
  )
