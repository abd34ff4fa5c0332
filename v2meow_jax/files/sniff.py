"""Tells what kind of file an untrusted file is, by its first bytes alone."""

import errno
import os
import stat

from v2meow_jax.files import paths

# FFmpeg's readers that may open a file; none of them follows a path or a link.
FORMATS = (
  'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,gif,h264,hevc'
  ',mpegvideo,wav,flac,mp3,ogg,aac'
)
WANTED_VIDEO = (
  'wanted a video (mp4, mov, mkv, webm, avi, ts, mpg, vob, flv, wmv, gif, raw'
  ' h264 or h265)'
)
WANTED = f'{WANTED_VIDEO} or audio (wav, flac, mp3, ogg, aac, m4a)'
_MOV_BOXES = (b'ftyp', b'moov', b'mdat', b'free', b'skip', b'wide', b'styp')
_IMAGE_BRANDS = (b'avif', b'avis', b'heic', b'heix', b'mif1', b'msf1')
_IMAGES = (b'\x89PNG', b'\xff\xd8\xff', b'BM', b'II*\0', b'MM\0*')
_MEDIA = (
  *(b'\x1aE\xdf\xa3', b'fLaC', b'OggS', b'ID3', b'RF64', b'FLV\x01', b'GIF8'),
  b'\x30\x26\xb2\x75\x8e\x66\xcf\x11',  # ASF: wmv and wma.
  b'\0\0\x01\xba',  # MPEG program stream: mpg and vob.
  b'\0\0\x01\xb3',  # MPEG-1 and MPEG-2 pictures without a container.
)


class UnsupportedMedia(ValueError):
  """A media file that cannot be used: which, what it is, what was wanted."""


def require_media(name: str) -> None:
  """Raises UnsupportedMedia unless the first bytes of a file are of media.

  Args:
    name: Path of the file.
  """
  try:
    file = paths.path(name)
    if not (paths.is_remote(name) or stat.S_ISREG(file.stat().st_mode)):
      raise UnsupportedMedia(f'{name}: not a file; {WANTED}.')
    with file.open('rb') as opened:
      head = opened.read(4096)
  except (OSError, ValueError) as error:
    if isinstance(error, UnsupportedMedia):
      raise
    reason = getattr(error, 'strerror', None) or error
    if isinstance(error, FileNotFoundError):
      reason = os.strerror(errno.ENOENT)  # Not all packages of buckets say it.
    raise UnsupportedMedia(f'{name!r}: {reason}; {WANTED}.') from error
  kind = _kind(head)
  if kind != 'media':
    raise UnsupportedMedia(f'{name}: {kind}; {WANTED}.')


def _kind(head: bytes) -> str:
  """'media', or another kind of file, by its first bytes."""
  if not head:
    return 'empty file'
  if head[4:8] in _MOV_BOXES:
    is_image = head[4:8] == b'ftyp' and head[8:12] in _IMAGE_BRANDS
    return 'an image' if is_image else 'media'
  if head[:4] == b'RIFF':
    if head[8:16] == b'WEBPVP8X' and head[20:21] and head[20] & 2:
      return 'an animated WebP; make it a GIF first: magick IN.webp OUT.gif'
    return 'media' if head[8:12] in (b'AVI ', b'WAVE') else 'an image'
  if head.startswith(_IMAGES):
    return 'an image'
  if head.startswith(_MEDIA) or _is_bare_h26x(head):
    return 'media'
  if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
    return 'media'
  if any(
    head[i : i + 1] == b'G' == head[i + n : i + n + 1]
    for i, n in ((0, 188), (4, 192))
  ):
    return 'media'
  is_text = not head.translate(None, bytes(range(32, 127)) + b'\t\r\n\f')
  return 'text, not media' if is_text else 'not a known kind of media'


def _is_bare_h26x(head: bytes) -> bool:
  """Whether this begins as H.264 or H.265 does that is in no container."""
  start = head.find(b'\0\0\x01')
  if start not in (0, 1) or len(head) < start + 5:
    return False
  first, second = head[start + 3 : start + 5]
  # Parameter sets, delimiters and remarks, which come before all pictures.
  is_h264 = first & 0x9F in (6, 7, 9)
  is_hevc = first >> 1 in (32, 33, 35, 39) and first & 0x81 == 0 == second >> 3
  return is_h264 or is_hevc
