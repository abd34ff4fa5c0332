"""What pictures say of themselves beside colours: HDR, 360 degrees, captions."""

# PyAV's stubs take side data for sequences of numbers.
# pyright: reportArgumentType=false

import os
import struct

import av

from v2meow_jax.files import probe

# FFmpeg's names of what is said, and ours.
_NAMES = {
  'MASTERING_DISPLAY_METADATA': 'mastering display',
  'CONTENT_LIGHT_LEVEL': 'content light level',
  'DYNAMIC_HDR_PLUS': 'HDR10+',
  'DYNAMIC_HDR_VIVID': 'HDR Vivid',
  'AMBIENT_VIEWING_ENVIRONMENT': 'ambient light',
  'SPHERICAL': '360 degrees',
  'STEREO3D': '3D',
  'A53_CC': 'closed captions',
}
# AVMasteringDisplayMetadata: red, green, blue and white as x and y, luminance
# from darkest to brightest, all as two integers; whether each half is stated.
_DISPLAY = struct.Struct('=20i2i')
_LIGHT = struct.Struct(
  '=2I'
)  # AVContentLightMetadata: of a pixel, of a picture.
# Steps of H.265 (ITU-T H.265, D.3.28) in a unit.
_CHROMATICITY_STEPS = 50_000
_LUMINANCE_STEPS = 10_000


def stated(path: str | os.PathLike, limits: probe.Limits) -> dict[str, bytes]:
  """What the first picture of a film says of itself, by our names."""
  with probe.open_input(path, limits) as container:
    film = probe.require_video_stream(container)
    for packet in probe.packets(container, film):
      try:
        frames = film.decode(packet)
      except av.error.FFmpegError:
        continue  # What comes next may be undamaged.
      for frame in frames:
        return of_frame(frame)
  return {}


def of_frame(frame: av.VideoFrame) -> dict[str, bytes]:
  """What a decoded picture says of itself, by our names."""
  return {
    _NAMES[data.type.name]: bytes(data)
    for data in frame.side_data
    if data.type.name in _NAMES
  }


def x265_parameters(frame: av.VideoFrame) -> dict[str, str]:
  """Parameters with which x265 states what a picture does, where it can."""
  said = of_frame(frame)
  parameters = {}
  display = _display(said.get('mastering display', b''))
  if display is not None:
    parameters |= {'hdr10': '1', 'master-display': display}
  light = said.get('content light level', b'')
  if len(light) >= _LIGHT.size:
    pixel, picture = _LIGHT.unpack_from(light)
    parameters |= {'hdr10': '1', 'max-cll': f'{pixel},{picture}'}
  return parameters


def _display(data: bytes) -> str | None:
  """The display as x265 takes it; None where it is stated in part."""
  if len(data) < _DISPLAY.size:
    return None
  *numbers, has_colors, has_luminance = _DISPLAY.unpack_from(data)
  tops, bottoms = numbers[::2], numbers[1::2]
  if not has_colors or not has_luminance or 0 in bottoms:
    return None
  values = [top / bottom for top, bottom in zip(tops, bottoms, strict=True)]
  steps = [round(value * _CHROMATICITY_STEPS) for value in values[:8]]
  red, green, blue, white = (
    f'({steps[i]},{steps[i + 1]})' for i in range(0, 8, 2)
  )
  darkest, brightest = (round(value * _LUMINANCE_STEPS) for value in values[8:])
  return f'G{green}B{blue}R{red}WP{white}L({brightest},{darkest})'
