"""From the codes that stages wrote to the sound of a clip."""

from collections.abc import Mapping
from collections.abc import Sequence
import math

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.codecs import codec as codec_lib

# Code frames that are decoded at once: 8 s at 25 Hz, a few megabytes.
_PIECE_FRAMES = 200


def levels(
  name: str, streams: Sequence[specs.TokenSpec]
) -> tuple[specs.TokenSpec, ...]:
  """Streams that hold the levels of a codec's stream, coarsest first.

  Levels may be missing at the end: a codec decodes its first levels alone.

  Args:
    name: Name of the codec's stream, such as 'acoustic'.
    streams: Streams of codes, of this codec or not.

  Returns:
    Those `stored_as` the codec's stream.

  Raises:
    ValueError: Level 0, or one in between, is missing.
  """
  parts = [s for s in streams if s.record_name == name]
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


def stream(name: str, streams: Sequence[specs.TokenSpec]) -> specs.TokenSpec:
  """The sound as one stream of all levels; arguments are those of `levels`."""
  parts = levels(name, streams)
  return specs.TokenSpec(
    name=name,
    codebook_size=parts[0].codebook_size,
    rate_hz=parts[0].rate_hz,
    num_codebooks=sum(s.num_codebooks for s in parts),
  )


def decode(
  codec: codec_lib.Codec,
  streams: Mapping[str, np.ndarray],
  parts: Sequence[specs.TokenSpec],
  seconds: float,
) -> tuple[media.Audio, np.ndarray]:
  """The sound of a clip, as long as the clip to the sample, within [-1, 1].

  Args:
    codec: Decoder of the sound.
    streams: Codes by stream name, [frames, levels]; they may reach beyond the
      end of the clip, each by its own.
    parts: Streams that hold the levels, coarsest first.
    seconds: Length of the clip.

  Returns:
    The sound, and the codes that it was decoded from, int32[frames, levels].
  """
  # A clip a hair above whole windows may be a frame above what they cover.
  length = min(
    math.ceil(seconds * codec.stream.rate_hz - 1e-9),
    *(len(streams[s.name]) for s in parts),
  )
  codes = np.concatenate([streams[s.name][:length] for s in parts], axis=-1)
  rate_hz = codec.sample_rate_hz
  samples = codec.decode_in_pieces(codes[None], _PIECE_FRAMES)[0]
  audio = media.Audio(samples=samples, rate_hz=rate_hz)
  audio = audio.fitted(round(seconds * rate_hz))
  peak = float(np.abs(audio.samples).max(initial=0.0))
  if peak > 1.0:
    audio = media.Audio(samples=audio.samples / peak, rate_hz=rate_hz)
  return audio, codes
