"""Finds recordings that were laid end to end where readers see the first alone.

In most formats those that follow are read as well; here they are headers after
the end, at which FFmpeg stops.
"""

from collections.abc import Callable
from collections.abc import Iterator
import os

from v2meow_jax.files import copies
from v2meow_jax.files import sniff

_FLV = b'FLV\x01'
_ASF = b'\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c'
_EBML = b'\x1a\x45\xdf\xa3'
# Elements of Matroska that may be as long as the file.
_OPEN_ENDED = (b'\x18\x53\x80\x67', b'\x1f\x43\xb6\x75')
_HEAD_BYTES = 32  # Room for the head of any part, in any of the formats.

# (bytes at a place, the place) -> whether a recording begins there, and the
# place of what follows; None: there is no way on.
Step = Callable[[bytes, int], tuple[bool, int] | None]


def require_one(name: str) -> None:
  """Raises UnsupportedMedia when a file holds more than its readers see."""
  with copies.held(name) as file:
    found = unseen(file)
  if found is not None:
    suffix, begin = found
    raise sniff.UnsupportedMedia(
      f'{name}: recordings laid end to end, of which only those before byte'
      f' {begin} can be read; take them apart (head -c {begin} IN > A.{suffix};'
      f' tail -c +{begin + 1} IN > B.{suffix}), list them in a file as lines'
      f" such as file 'A.{suffix}', and join them: ffmpeg -f concat -i LIST -c"
      ' copy OUT.mkv.'
    )


def unseen(path: str | os.PathLike) -> tuple[str, int] | None:
  """Finds the first recording in a file that readers do not see.

  Args:
    path: File of this machine.

  Returns:
    Suffix of the format, and the byte at which the recording begins; None: all
    of the file is read.
  """
  fd = os.open(path, os.O_RDONLY)
  try:
    head = os.pread(fd, _HEAD_BYTES, 0)
    for suffix, step, num_seen in (
      ('flv', _step_flv, 1),
      ('wmv', _step_asf, 1),
      ('wav', _step_wav, 1),
      ('mp4', _step_mp4, 1),
      ('mkv', _step_mkv, 2),
    ):
      if (first := step(head, 0)) is not None and first[0]:
        begins = list(_begins(fd, step, num_seen))
        return (suffix, begins[num_seen]) if begins[num_seen:] else None
  finally:
    os.close(fd)
  return None


def _begins(fd: int, step: Step, num_seen: int) -> Iterator[int]:
  """Places of recordings, up to one more than readers see."""
  place = num_begins = 0
  while num_begins <= num_seen:
    head = os.pread(fd, _HEAD_BYTES, place)
    if not head or (taken := step(head, place)) is None:
      return
    if taken[0]:
      num_begins += 1
      yield place
    if taken[1] <= place:
      return
    place = taken[1]


def _step_flv(head: bytes, place: int) -> tuple[bool, int] | None:
  """A header, or a tag; each is followed by the length of the last tag."""
  if head.startswith(_FLV):
    return True, place + int.from_bytes(head[5:9]) + 4
  if len(head) < 11 or head[0] & 0x1F not in (8, 9, 18):
    return None
  return False, place + 11 + int.from_bytes(head[1:4]) + 4


def _step_asf(head: bytes, place: int) -> tuple[bool, int] | None:
  """An object: what it is, and its length."""
  size = int.from_bytes(head[16:24], 'little')
  return head.startswith(_ASF), place + size


def _step_wav(head: bytes, place: int) -> tuple[bool, int] | None:
  if head[:4] != b'RIFF' or head[8:12] != b'WAVE':
    return None
  size = int.from_bytes(head[4:8], 'little')
  return True, place + 8 + size + size % 2


def _step_mp4(head: bytes, place: int) -> tuple[bool, int] | None:
  """A box: its length, which may be in eight more bytes, and what it is."""
  size = int.from_bytes(head[:4])
  if size == 1:
    size = int.from_bytes(head[8:16])
  is_box = len(head) >= 8 and size >= 8
  return (head[4:8] == b'ftyp', place + size) if is_box else None


def _step_mkv(head: bytes, place: int) -> tuple[bool, int] | None:
  """An element: what it is, and its length, each as long as its first bits say."""
  id_bytes = 9 - head[0].bit_length()
  if id_bytes > 4 or len(head) < id_bytes + 8:
    return None
  name, length = head[:id_bytes], head[id_bytes:]
  size_bytes = 9 - length[0].bit_length()
  if size_bytes > 8:
    return None
  size = int.from_bytes(length[:size_bytes]) & ((1 << 7 * size_bytes) - 1)
  inside = place + id_bytes + size_bytes
  is_unknown = size == (1 << 7 * size_bytes) - 1
  if is_unknown and name not in _OPEN_ENDED:
    return None
  return name == _EBML, inside if is_unknown else inside + size
