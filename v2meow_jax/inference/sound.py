"""From the codes or latents that stages wrote to the sound of a clip."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import math

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.codecs import autoencoder
from v2meow_jax.codecs import codec as codec_lib
from v2meow_jax.files.films import scratch

# ours: a bar of four at the slowest tempo of a plan has 4.8 s.
_TAIL_SECONDS = 5.0
_BLOCK_SECONDS = 0.1
# Code frames that are decoded at once: 8 s at 25 Hz, a few megabytes.
PIECE_FRAMES = 200


class UnusableSound(ValueError):
  """A sound that was made and is of no use.

  Attributes:
    reason: Word for what is wrong with it.
  """

  def __init__(self, reason: str, message: str):
    """Keeps the reason in a word and in a sentence."""
    super().__init__(message)
    self.reason = reason


def require_usable(
  audio: media.Audio, seconds: float, end_seconds: float | None = None
) -> None:
  """Refuses the sound of a clip that nobody could use.

  Args:
    audio: Sound of the whole clip.
    seconds: Length of the clip.
    end_seconds: Time at which its plan has the music end; None: that of the
      clip.

  Raises:
    UnusableSound: It is not finite, of another length, silent, silent long
      before its end, or clipped.
  """
  wanted = round(seconds * audio.rate_hz)
  if len(audio.samples) != wanted:
    raise UnusableSound(
      'wrong_length',
      f'the sound has {len(audio.samples)} samples; wanted {wanted}, as many as'
      f' its clip of {seconds:g} s.',
    )
  block = max(1, round(_BLOCK_SECONDS * audio.rate_hz))
  peaks = _peaks(audio, block)
  if not np.isfinite(peaks).all():
    raise UnusableSound(
      'not_finite', 'the sound holds samples that are no numbers.'
    )
  if audio.is_silent:
    raise UnusableSound('silent', 'the sound is silent.')
  last = (np.flatnonzero(peaks > media.SILENCE)[-1] + 1) * _BLOCK_SECONDS
  end = seconds if end_seconds is None else end_seconds
  if end - last > _TAIL_SECONDS:
    raise UnusableSound(
      'silent_tail',
      f'the sound is silent from {last:.1f} s on; wanted music up to'
      f' {end:.1f} s.',
    )
  if audio.clipped_share >= media.CLIPPED_SHARE:
    raise UnusableSound(
      'clipped',
      f'{audio.clipped_share:.2%} of the samples are at full scale; wanted less'
      f' than {media.CLIPPED_SHARE:.1%}.',
    )


def _peaks(audio: media.Audio, block: int) -> np.ndarray:
  """Largest magnitude of every `block` samples; not finite where one is not."""
  per_block = max(1, media.PIECE_SAMPLES // block) * block
  peaks = [
    np.maximum.reduceat(np.abs(some), np.arange(0, len(some), block))
    for _, some in audio.blocks(per_block)
  ]
  return np.concatenate([*peaks, np.zeros(0)])


def levels(
  name: str, streams: Sequence[specs.Stream]
) -> tuple[specs.Stream, ...]:
  """Streams that hold the levels of a codec's stream, coarsest first.

  Levels may be missing at the end: a codec decodes its first levels alone.
  Latents have no levels: they are one stream.

  Args:
    name: Name of the codec's stream, such as 'acoustic'.
    streams: Streams of codes, of this codec or not.

  Returns:
    Those `stored_as` the codec's stream.

  Raises:
    ValueError: Level 0, or one in between, is missing.
  """
  for s in streams:
    if isinstance(s, specs.FeatureSpec) and s.name == name:
      return (s,)
  parts = [
    s
    for s in streams
    if isinstance(s, specs.TokenSpec) and s.record_name == name
  ]
  parts.sort(key=lambda s: s.first_codebook)
  following = 0
  for part in parts:
    if part.first_codebook != following:
      break
    following += part.num_codebooks
  else:
    if parts:
      return tuple(parts)
  raise ValueError(
    f'level {following} of the sound {name!r} is written by none of'
    f' {[s.name for s in streams]}; wanted streams with stored_as={name!r} that'
    ' hold its levels from 0 on.'
  )


def stream(name: str, streams: Sequence[specs.Stream]) -> specs.Stream:
  """The sound as one stream of all levels; arguments are those of `levels`."""
  parts = levels(name, streams)
  first = parts[0]
  if isinstance(first, specs.FeatureSpec):
    return first
  return specs.TokenSpec(
    name=name,
    codebook_size=first.codebook_size,
    rate_hz=first.rate_hz,
    num_codebooks=sum(s.frame_shape[0] for s in parts),
  )


def decode(
  codec: codec_lib.Codec | autoencoder.Autoencoder,
  streams: Mapping[str, np.ndarray],
  parts: Sequence[specs.Stream],
  seconds: float,
  make: scratch.Room = scratch.in_memory,
  on_piece: Callable[[float], None] = lambda seconds: None,
) -> tuple[media.Audio, np.ndarray]:
  """The sound of a clip, as long as the clip to the sample.

  Args:
    codec: Decoder of the sound.
    streams: Codes by stream name, [frames, levels], or latents, [frames, dim];
      they may reach beyond the end of the clip, each by its own.
    parts: Streams that hold the levels, coarsest first.
    seconds: Length of the clip.
    make: Function that gives the zeros that the samples are written over.
    on_piece: Function to call with the length of each piece, in seconds.

  Returns:
    The sound, and the codes that it was decoded from, int32[frames, levels], or
    latents.
  """
  # A clip a hair above whole windows may be a frame above what they cover.
  length = min(
    math.ceil(seconds * codec.stream.rate_hz - 1e-9),
    *(len(streams[s.name]) for s in parts),
  )
  levels = [streams[s.name][:length] for s in parts]
  codes = np.concatenate(levels, axis=-1) if len(levels) > 1 else levels[0]
  rate_hz = codec.sample_rate_hz
  audio = media.Audio(samples=make(round(seconds * rate_hz)), rate_hz=rate_hz)
  start = 0
  for (piece,) in codec.decode_in_pieces(codes[None], PIECE_FRAMES):
    # The last frame may reach beyond the end of the clip.
    part = audio.samples[start : start + len(piece)]
    part[:] = piece[: len(part)]
    start += len(piece)
    media.release(part)
    media.release(codes)
    on_piece(len(part) / rate_hz)
  return audio, codes


def bytes_per_second(
  codec: codec_lib.Codec | autoencoder.Autoencoder,
  targets: Sequence[specs.Stream],
) -> float:
  """Bytes of a second of samples, and of the streams that they are decoded of.

  Args:
    codec: Decoder of the sound.
    targets: Streams that the stages write; numbers of four bytes all.
  """
  numbers = sum(t.rate_hz * math.prod(t.frame_shape) for t in targets)
  return 4 * (codec.sample_rate_hz + numbers)


def bring_to_range(audio: media.Audio) -> float:
  """Divides samples by their peak where it is above 1; the divisor."""
  peak = audio.peak
  if not peak > 1.0:
    return 1.0
  for _, block in audio.blocks():
    block /= peak
  return peak
