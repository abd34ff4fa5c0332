"""Says the text of subtitles in the way of another container."""

import fractions
import re

import av

# Codecs whose packets are the text of one subtitle, more or less.
_TEXTS = ('mov_text', 'subrip', 'webvtt')
_TICK = fractions.Fraction(1, 1000)
# From which FFmpeg makes the description of text that QuickTime wants.
_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, \
OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, \
Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, \
MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,\
10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def add_track(
  out: av.container.OutputContainer, track: av.stream.Stream, codec: str
) -> av.stream.Stream | None:
  """Adds a track for the text of another; None where that is none.

  Args:
    out: New file.
    track: Track of subtitles.
    codec: Codec of text in the new file.

  Returns:
    The new track, for packets that `converted` gives.
  """
  if name_of(track) not in _TEXTS:
    return None
  if codec == 'mov_text':
    text = out.add_stream(codec)
    text.codec_context.subtitle_header = _HEADER
    text.codec_context.time_base = _TICK
  else:
    text = out.add_mux_stream(codec)
  text.time_base = _TICK
  return text


def converted(
  packet: av.Packet, track: av.stream.Stream, codec: str
) -> av.Packet | None:
  """The packet of a track as one of another codec; None where it is empty."""
  data = bytes(packet)
  if name_of(track) == 'mov_text':
    # Its length, the text, and boxes of style.
    data = data[2 : 2 + int.from_bytes(data[:2], 'big')]
  if codec == 'mov_text':
    data = re.sub(rb'<[^>]*>', b'', data)[:0xFFFF]
  if not data.strip():
    return None
  if codec == 'mov_text':
    data = len(data).to_bytes(2, 'big') + data
  text = av.Packet(data)
  text.time_base = packet.time_base
  text.pts, text.dts, text.duration = packet.pts, packet.dts, packet.duration
  return text


def name_of(track: av.stream.Stream) -> str:
  """Name of the codec of a track of subtitles."""
  context = track.codec_context
  return context.codec.canonical_name if context else ''
