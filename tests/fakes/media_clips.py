"""Clips with the time planted in the picture, and damaged ones, for tests."""

from __future__ import annotations

from collections.abc import Sequence
import fractions
import pathlib
import struct

import av
import numpy as np

# Turns of the picture as (a, b, c, d) of the display matrix, and numpy's name.
TURNS = {
  'upright': ((1, 0, 0, 1), lambda x: x),
  'clockwise': ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
  'upside_down': ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
  'anticlockwise': ((0, -1, 1, 0), np.rot90),
  'mirrored': ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
}


def gray(
  levels: Sequence[int], height: int = 48, width: int = 64
) -> np.ndarray:
  """uint8[frames, height, width, 3]: one flat picture for each level."""
  levels = np.asarray(levels, np.uint8)[:, None, None, None]
  return np.broadcast_to(levels, (len(levels), height, width, 3)).copy()


def planted(
  ticks: Sequence[int], height: int = 48, width: int = 64
) -> np.ndarray:
  """Frames that say their time: tens in the left half, ones in the right."""
  frames = gray([10 + 20 * (t // 10) for t in ticks], height, width)
  frames[:, :, width // 2 :] = gray([10 + 20 * (t % 10) for t in ticks], 1, 1)
  return frames


def ticks_of(frames: np.ndarray) -> np.ndarray:
  """The ticks (0 to 119) that `planted` frames say, whatever the coding."""
  width = frames.shape[2]
  tens = frames[:, :, : width // 4].mean(axis=(1, 2, 3))
  ones = frames[:, :, -(width // 4) :].mean(axis=(1, 2, 3))
  tens, ones = np.round((np.stack([tens, ones]) - 10) / 20).astype(int)
  return 10 * tens + ones


def encode(
  path: pathlib.Path,
  frames: np.ndarray,
  *,
  ticks: Sequence[int] | None = None,
  rate_hz: float | fractions.Fraction = 25,
  codec: str = 'libx264',
  pix_fmt: str = 'yuv420p',
  container: str = 'mp4',
  aspect: fractions.Fraction | None = None,
  options: dict[str, str] | None = None,
) -> pathlib.Path:
  """Encodes frames, shown at `ticks` / rate_hz seconds for one tick each."""
  rate = fractions.Fraction(rate_hz)
  with av.open(str(path), 'w', format=container) as out:
    stream = out.add_stream(codec, rate=rate)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = pix_fmt
    if codec == 'libx264':
      options = {'preset': 'ultrafast', 'threads': '1', **(options or {})}
    stream.options = options or {}
    if aspect:
      stream.codec_context.sample_aspect_ratio = aspect
    for index, pixels in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      frame = frame.reformat(format=pix_fmt, threads=1)
      frame.pts = index if ticks is None else int(ticks[index])
      frame.time_base, frame.duration = 1 / rate, 1
      out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
  return path


def turn(source: pathlib.Path, target: pathlib.Path, name: str) -> pathlib.Path:
  """Copies an mp4 with another display matrix in its track header."""
  data = bytearray(source.read_bytes())
  a, b, c, d = TURNS[name][0]
  at = data.index(b'tkhd') + 44
  matrix = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
  data[at : at + 36] = struct.pack('>9i', *matrix)
  target.write_bytes(data)
  return target


def encode_sound(
  path: pathlib.Path,
  channels: np.ndarray,
  *,
  rate_hz: int,
  layout: str,
  container: str,
  codec: str,
  sample_format: str,
) -> pathlib.Path:
  """Encodes [channels, samples] of the planar type that the format names."""
  with av.open(str(path), 'w', format=container) as out:
    stream = out.add_stream(codec, rate=rate_hz, layout=layout)
    stream.format = sample_format
    data = (
      channels if sample_format.endswith('p') else channels.T.reshape(1, -1)
    )
    frame = av.AudioFrame.from_ndarray(
      np.ascontiguousarray(data), format=sample_format, layout=layout
    )
    frame.sample_rate, frame.pts = rate_hz, 0
    frame.time_base = fractions.Fraction(1, rate_hz)
    out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
  return path


def add_cover(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
  """Writes an m4a with the sound of `source` and a picture as cover art."""
  with (
    av.open(str(source)) as old,
    av.open(str(target), 'w', format='mp4') as out,
  ):
    sound = out.add_stream_from_template(old.streams.audio[0])
    cover = out.add_stream('png', rate=1)
    cover.height, cover.width, cover.pix_fmt = 16, 16, 'rgb24'
    cover.disposition = av.stream.Disposition.attached_pic
    picture = av.VideoFrame.from_ndarray(gray([9], 16, 16)[0], format='rgb24')
    out.mux(cover.encode(picture))
    out.mux(cover.encode(None))
    for packet in old.demux(old.streams.audio[0]):
      if packet.dts is not None:
        packet.stream = sound
        out.mux(packet)
  return target
