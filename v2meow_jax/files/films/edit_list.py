"""Ends the edit list of an mp4's pictures early, so that the rest is not shown."""

from collections.abc import Iterator
import mmap
import struct


def end_after(path: str, seconds: float) -> None:
  """Makes players stop the first track after some time; frames stay inside.

  Args:
    path: An mp4 that was written here, whose tracks have one edit each.
    seconds: Length of the stretch that is shown, from its start.
  """
  with open(path, 'r+b') as file, mmap.mmap(file.fileno(), 0) as data:
    _end_after(data, seconds)


def _end_after(data: mmap.mmap, seconds: float) -> None:
  movie = next(_boxes(data, 'moov', 0, len(data)))
  header = next(_boxes(data, 'mvhd', *movie))
  ticks = round(seconds * _number(data, header[0] + 12))
  track = next(_boxes(data, 'trak', *movie))
  edits = next(_boxes(data, 'edts', *track))
  start, _ = next(_boxes(data, 'elst', *edits))
  # The last edit is of the pictures; one before it would be an empty one.
  last = start + 8 + 12 * (_number(data, start + 4) - 1)
  struct.pack_into('>I', data, last, min(ticks, _number(data, last)))
  start, _ = next(_boxes(data, 'tkhd', *track))
  struct.pack_into('>I', data, start + 20, ticks)


def _number(data: mmap.mmap, place: int) -> int:
  return struct.unpack_from('>I', data, place)[0]


def _boxes(
  data: mmap.mmap, kind: str, start: int, end: int
) -> Iterator[tuple[int, int]]:
  """Start and end of the content of each box of a kind."""
  while start < end:
    size = _number(data, start)
    if data[start + 4 : start + 8] == kind.encode():
      yield start + 8, start + size
    start += size or end
