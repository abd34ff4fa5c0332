"""Writes the pixel aspect of pictures into a Matroska file.

PyAV hands FFmpeg's writer no aspect but that of the codec, which VP8, ProRes
and FFV1 do not have. A mark before the title of the track leaves as many bytes
free as the two numbers take.
"""

import mmap
import struct

MARK = '*' * 10
_TRACKS, _ENTRY, _NAME = b'\x16\x54\xae\x6b', b'\xae', b'\x53\x6e'
_VOID = b'\xec\x88' + bytes(8)  # As long as the mark.
_VIDEO, _WIDTH, _HEIGHT = b'\xe0', b'\x54\xb0', b'\x54\xba'

# The unit of that size.
_UNKNOWN, _PIXELS = b'\x54\xb2\x81\x04', b'\x54\xb2\x81\x00'


def write(path: str, width: int, height: int) -> None:
  """Makes players show the first track at another size.

  Args:
    path: Matroska or WebM file without checksums, whose first track has a title
      that begins with `MARK`.
    width: Width at which the pictures are shown, in pixels.
    height: Height at which the pictures are shown, in pixels.
  """
  width, height = (min(max(n, 1), 0xFFFF) for n in (width, height))
  size = _WIDTH + struct.pack('>BH', 0x82, width)
  size += _HEIGHT + struct.pack('>BH', 0x82, height)
  with open(path, 'r+b') as file, mmap.mmap(file.fileno(), 0) as data:
    # The table of contents before the tracks names them as well.
    tracks = start = 0
    while data[start : start + 1] != _ENTRY:
      tracks = data.find(_TRACKS, tracks) + len(_TRACKS)
      start, _ = _content(data, tracks)
    start, end = _content(data, start + 1)
    children = []
    place = start
    while place < end:
      # An identifier begins with as many zero bits as it has further bytes.
      first = place + 9 - data[place].bit_length()
      _, after = _content(data, first)
      children.append((data[place:first], data[first:after]))
      place = after
    body = b''
    for name, child in children:
      if name == _NAME:
        child = _resized(child, b'', len(MARK))
      if name == _VIDEO and _has_room(child, len(size)):
        child = _resized(child.replace(_UNKNOWN, _PIXELS), size, 0)
      body += name + child
    # Where HDR takes all the room, the aspect is that of the codec.
    data[start:end] = body + _VOID[: end - start - len(body)]


def _resized(child: bytes, added: bytes, num_cut: int) -> bytes:
  """Size and content of an element, cut at its start and longer at its end."""
  start, end = _content(child, 0)
  length = end - start + len(added) - num_cut
  size = (1 << (7 * start) | length).to_bytes(start, 'big')
  return size + child[start + num_cut :] + added


def _has_room(child: bytes, num_bytes: int) -> bool:
  """Whether a longer element says its size in as many bytes."""
  start, end = _content(child, 0)
  return end - start + num_bytes < (1 << 7 * start) - 1


def _content(data: bytes | mmap.mmap, place: int) -> tuple[int, int]:
  """Start and end of the content of an element, from the place of its size."""
  num_bytes = 9 - data[place].bit_length()
  start = place + num_bytes
  value = int.from_bytes(data[place:start], 'big') & ((1 << 7 * num_bytes) - 1)
  return start, start + value
