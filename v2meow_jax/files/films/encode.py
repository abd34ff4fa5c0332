"""Encoders of pictures and sound; equal input gives equal bytes."""

# PyAV's stubs make optional what a stream that decodes always has.
# pyright: reportOperatorIssue=false, reportArgumentType=false
# pyright: reportOptionalOperand=false, reportReturnType=false
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false

import collections
from collections.abc import Iterable
from collections.abc import Iterator
import fractions
import itertools

import av
import av.video.reformatter
import numpy as np

from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import side_data
from v2meow_jax.files.films import sounds

# Sample rates of MPEG-4 AAC (ISO/IEC 14496-3, table 1.18).
AAC_RATES_HZ = (
  *(7_350, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000),
  *(32_000, 44_100, 48_000, 64_000, 88_200, 96_000),
)
AAC_FRAME = 1024
OPUS_RATE_HZ = 48_000
# No dates, versions or addresses in the file: equal input, equal bytes.
BITEXACT = {'fflags': '+bitexact'}
_TICKS_HZ = 90_000
# Transfer functions of HDR (ITU-T H.273): PQ and HLG.
_HDR_TRANSFERS = (16, 18)
_HDR_FORMAT = 'yuv420p10le'
_BT601 = 6
_NAMES = {'libx264': 'H.264', 'libx265': 'H.265', 'libvpx-vp9': 'VP9'}
_OPTIONS = {
  'libx264': {
    'preset': 'veryfast',
    'crf': '20',
    'flags': '+bitexact',
    # In small pictures x264's macroblock tree reads memory it never wrote:
    # equal frames gave other bytes in 40 % of runs at 64x48.
    'mbtree': '0',
  },
  'libx265': {
    'preset': 'veryfast',
    'crf': '20',
    'flags': '+bitexact',
    'x265-params': 'log-level=none:pools=none:frame-threads=1',
  },
  'libvpx-vp9': {
    **{'deadline': 'good', 'cpu-used': '5', 'crf': '30', 'b': '0'},
    'flags': '+bitexact',
  },
}
_LAYOUTS = {1: 'mono', 2: 'stereo'}
# Coder of FFmpeg's AAC encoder. Its default, twoloop, takes twice as long and
# leaves more noise beside the masking threshold of recorded music; intensity
# stereo spoils what the fast one gains (`python -m benchmarks.aac`).
_AAC_OPTIONS = {'aac_coder': 'fast', 'aac_is': '0'}
# Bits a second of a channel of AAC and Opus, and for each Hz of a low rate.
_BIT_RATE, _BITS_A_SAMPLE = 128_000, 6
# ours: the difference of two equal sides is nothing, and costs next to nothing; more
# bits only take time.
_EQUAL_SIDES = 1.25
_SAMPLE_FORMATS = {
  'aac': ('fltp', np.float32, 1.0),
  'libopus': ('flt', np.float32, 1.0),
  'alac': ('s16p', np.int16, 32_767.0),
  'flac': ('s16', np.int16, 32_767.0),
}


def add_h264(
  out: av.container.OutputContainer, rate: fractions.Fraction, shape: tuple
) -> av.VideoStream:
  """Adds an H.264 encoder for RGB pictures.

  Args:
    out: New file.
    rate: Frames a second.
    shape: Height, width and 3, both even.

  Returns:
    The encoding track.
  """
  if len(shape) != 3 or shape[2] != 3 or shape[0] % 2 or shape[1] % 2:
    raise ValueError(
      f'frames have shape {list(shape)}; H.264 wants [height, width, 3]'
      ' with even height and width; crop or pad them.'
    )
  return _add_encoder(out, 'libx264', rate, (shape[1], shape[0]), 'yuv420p')


def pictures(
  out: av.container.OutputContainer,
  container: containers.Container,
  timed_frames: Iterator[tuple[float, av.VideoFrame]],
  info: probe.MediaInfo,
) -> tuple[str, Iterator[av.Packet]]:
  """Encodes the pictures of a film again, as they are shown.

  Turn, pixel aspect and colours stay those of the film. HDR is encoded with ten
  bits as H.265, or with what VP9 has.

  Args:
    out: New file, before its header is written.
    container: Kind of the new file.
    timed_frames: Time in seconds and decoded picture, rising.
    info: Description of the film.

  Returns:
    Name of the codec, and the packets.
  """
  head = next(timed_frames)
  first = head[1]
  codec, pix_fmt = container.encoder, 'yuv420p'
  if first.color_trc in _HDR_TRANSFERS:
    codec = 'libx265' if codec == 'libx264' else codec
    offered = av.codec.Codec(codec, 'w').video_formats or ()
    # VP9 is often built for eight bits alone.
    if _HDR_FORMAT in [form.name for form in offered]:
      pix_fmt = _HDR_FORMAT
  width, height, aspect = first.width, first.height, info.aspect
  if codec == 'libvpx-vp9':
    # It has no pixel aspect: make pixels square.
    width, height = (
      round(width * min(1, aspect)),
      round(height / max(1, aspect)),
    )
    aspect = fractions.Fraction(1)
  size = (max(2, width - width % 2), max(2, height - height % 2))
  rate = fractions.Fraction(info.rate_hz).limit_denominator(1001)
  stream = _add_encoder(out, codec, rate, size, pix_fmt)
  # Without B frames, each picture lasts as long for every reader.
  stream.options = {**stream.options, 'bf': '0'}
  context = stream.codec_context
  context.time_base = fractions.Fraction(1, _TICKS_HZ)
  if codec == 'libx265':
    context.codec_tag = 'hvc1'
    said = side_data.x265_parameters(first).items()
    parameters = [stream.options['x265-params'], *map('='.join, said)]
    stream.options = {**stream.options, 'x265-params': ':'.join(parameters)}
  context.sample_aspect_ratio = aspect
  context.color_primaries = first.color_primaries
  context.color_trc = first.color_trc
  context.colorspace = _BT601 if _is_rgb(first) else first.colorspace
  if not _is_rgb(first) and not first.format.name.startswith('yuvj'):
    context.color_range = first.color_range
  matrix = probe.display_matrix(first)
  if matrix is not None:
    stream.set_display_matrix(matrix)
  return _NAMES[codec], _encoded(
    stream, itertools.chain([head], timed_frames), info.seconds
  )


def _encoded(
  stream: av.VideoStream,
  timed_frames: Iterable[tuple[float, av.VideoFrame]],
  seconds: float,
) -> Iterator[av.Packet]:
  """Encodes pictures, each at its time and all of one size."""
  reformatter = av.video.reformatter.VideoReformatter()
  end = round(seconds * _TICKS_HZ)
  ticks: collections.deque[int] = collections.deque()

  def timed(packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    # Without B frames, packets come in the order of the frames.
    for packet in packets:
      packet.duration = (ticks[1] if len(ticks) > 1 else end) - ticks.popleft()
      yield packet

  for time, frame in timed_frames:
    # One thread: FFmpeg's scaler, given several, now and then writes a wrong
    # row where the slices of two of them meet.
    frame = reformatter.reformat(
      frame,
      stream.width,
      stream.height,
      stream.pix_fmt,
      interpolation='BILINEAR',
      threads=1,
    )
    frame.pts = round(time * _TICKS_HZ)
    frame.time_base = fractions.Fraction(1, _TICKS_HZ)
    frame.pict_type = frame.duration = 0  # The encoder chooses.
    ticks.append(frame.pts)
    yield from timed(stream.encode(frame))
  yield from timed(stream.encode(None))


def _is_rgb(frame: av.VideoFrame) -> bool:
  return frame.format.is_rgb or frame.format.has_palette


def _add_encoder(
  out: av.container.OutputContainer,
  codec: str,
  rate: fractions.Fraction,
  size: tuple[int, int],
  pix_fmt: str,
) -> av.VideoStream:
  stream = out.add_stream(codec, rate=rate)
  stream.width, stream.height = size
  stream.pix_fmt = pix_fmt
  stream.codec_context.thread_count = 1
  stream.options = dict(_OPTIONS[codec])
  return stream


def add_sound(
  out: av.container.OutputContainer,
  container: containers.Container,
  audio: media.Sound,
) -> av.AudioStream:
  """Adds an encoder of sound.

  Args:
    out: New file.
    container: Kind of the new file.
    audio: Sound to encode, at a rate that `at_rate_of` gives.

  Returns:
    The encoding track.
  """
  codec = container.sound_codec
  if codec == 'aac' and audio.num_samples < AAC_FRAME:
    codec = 'alac'
  layout = _LAYOUTS[audio.num_channels]
  encoder = out.add_stream(codec, rate=audio.rate_hz, layout=layout)
  encoder.codec_context.format = _SAMPLE_FORMATS[codec][0]
  encoder.time_base = fractions.Fraction(1, audio.rate_hz)
  options = {'flags': '+bitexact'}
  bit_rate = min(_BIT_RATE, _BITS_A_SAMPLE * audio.rate_hz)
  num_coded = audio.num_channels
  if codec == 'aac':
    options |= _AAC_OPTIONS
    if audio.has_equal_channels and audio.num_channels > 1:
      num_coded = _EQUAL_SIDES
  if codec in ('aac', 'libopus'):
    encoder.bit_rate = round(num_coded * bit_rate)
  encoder.options = options
  encoder.disposition = av.stream.Disposition.default
  return encoder


def at_rate_of(
  container: containers.Container, audio: media.Sound
) -> media.Sound:
  """Sound at a rate that the codec of a container has.

  Raises:
    ValueError: AAC has no such rate.
  """
  codec = container.sound_codec
  if codec == 'aac' and audio.rate_hz not in AAC_RATES_HZ:
    raise ValueError(
      f'audio has {audio.rate_hz} Hz; AAC in {container.suffix[1:]} wants one'
      f' of {AAC_RATES_HZ}; resample it.'
    )
  if codec != 'libopus':
    return audio
  return sounds.Resampled(audio, OPUS_RATE_HZ)


def sound(encoder: av.AudioStream, audio: media.Sound) -> Iterator[av.Packet]:
  """Encodes sound so that readers give back exactly its samples.

  AAC comes in frames of 1024 and readers disagree on trimming the end, so the
  silence that fills a whole number of frames goes before the start, where the
  edit list that hides the encoder's delay hides it in every reader.

  Args:
    encoder: Track that `add_sound` gave.
    audio: Sound at its rate.

  Yields:
    The packets.
  """
  codec = encoder.codec_context.name
  lead = -audio.num_samples % AAC_FRAME if codec == 'aac' else 0
  format_, dtype, scale = _SAMPLE_FORMATS[codec]
  silence = np.zeros((audio.num_channels, lead), np.float32)
  size = encoder.codec_context.frame_size or AAC_FRAME
  start = -lead
  for piece in sounds.rebuffered(
    itertools.chain([silence], audio.pieces()), size
  ):
    piece = np.clip(piece, -1, 1) * scale
    if dtype is np.int16:
      piece = np.round(piece)
    if not format_.endswith('p'):
      piece = piece.T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(
      np.ascontiguousarray(piece, dtype),
      format=format_,
      layout=_LAYOUTS[audio.num_channels],
    )
    frame.sample_rate = audio.rate_hz
    frame.pts = start
    start += frame.samples
    frame.time_base = fractions.Fraction(1, audio.rate_hz)
    yield from encoder.encode(frame)
  yield from encoder.encode(None)
