"""Codes in the sidecar of an output, from which it is made again in part."""

import base64
import binascii
from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
import json
import math
from typing import Any
import zlib

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs

# ours: twenty hours at 25 Hz with sixteen levels.
_MOST_CODES = 30_000_000
_TYPE = np.dtype('<u2')
# What a sidecar says that acts on a stretch that is made again.
_FACTS = (
  *('video_sha256', 'output_sha256', 'sound_sha256', 'system_sha256'),
  *('music_from', 'music_to', 'plan', 'prompt', 'negative', 'seed'),
  *('style_audio_sha256', 'sampling', 'rows', 'dtype', 'tensor'),
  *('finish_options', 'codes', 'redone'),
)


def pack(codes: np.ndarray) -> dict[str, Any]:
  """JSON data of int[frames, levels], codes below 65,536."""
  data = np.ascontiguousarray(codes, _TYPE).tobytes()
  return {
    'shape': list(codes.shape),
    'zlib': base64.b64encode(zlib.compress(data, 9)).decode(),
  }


def unpack(packed: Any) -> np.ndarray:
  """int32[frames, levels] of what `pack` gave; nothing in it is trusted.

  Raises:
    ValueError: It is not what `pack` gives.
  """
  try:
    frames, levels = packed['shape']
    if not (0 < frames and 0 < levels and frames * levels <= _MOST_CODES):
      raise ValueError('a shape out of range')
    size = frames * levels * _TYPE.itemsize
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(
      base64.b64decode(packed['zlib'], validate=True), size + 1
    )
    if len(data) != size:
      raise ValueError('another length')
  except (KeyError, TypeError, ValueError, zlib.error, binascii.Error) as e:
    raise ValueError(f'the recorded codes are damaged ({e}).') from e
  return np.frombuffer(data, _TYPE).reshape(frames, levels).astype(np.int32)


def recordable(targets: Sequence[specs.Stream]) -> bool:
  """Whether all that stages write are codes that can be recorded.

  Latents are not: they are many times as large, and sampled again in their place.
  """
  return all(
    isinstance(target, specs.TokenSpec) and target.codebook_size <= 1 << 16
    for target in targets
  )


def up_to_end(
  targets: Sequence[specs.Stream],
  streams: Mapping[str, np.ndarray],
  seconds: float,
) -> dict[str, np.ndarray]:
  """What stages wrote of a clip, up to its end, by stream.

  Args:
    targets: Streams that the stages write.
    streams: Codes or latents that they wrote, by stream, [frames, levels | dim].
    seconds: Length of the clip, in seconds.
  """
  return {
    target.name: streams[target.name][
      : math.ceil(seconds * target.rate_hz - 1e-9)
    ]
    for target in targets
  }


def facts_sha256(facts: Mapping[str, Any]) -> str:
  """Digest of what a sidecar says, without what acts on no stretch of it.

  It holds the digest of the output: facts of another output do not fit it.
  """
  held = {name: facts.get(name) for name in _FACTS}
  text = json.dumps(held, sort_keys=True, allow_nan=True)
  return hashlib.sha256(text.encode()).hexdigest()


def sound_sha256(audio: media.Audio) -> str:
  """Digest of the samples of a sound."""
  digest = hashlib.sha256()
  for piece in audio.pieces():
    digest.update(piece.tobytes())
  return digest.hexdigest()
