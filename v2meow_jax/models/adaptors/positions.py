"""Where every frame of every input stands in the encoder."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax import specs


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderLayout:
  """Where every frame of every input stands in the encoder.

  Attributes:
    order: int32[length]; position p holds entry `order[p]` of the streams laid
      end to end, the token inputs first, then the continuous ones.
    times: float64[length], seconds from the start of the crop; NaN for a
      stream that has one vector per clip.
  """

  order: np.ndarray
  times: np.ndarray


def frame_times(num_frames: int, rate_hz: float) -> np.ndarray:
  """Middle of each frame, in seconds from the start."""
  return (np.arange(num_frames) + 0.5) / rate_hz


def token_times(stream: specs.TokenSpec, num_frames: int) -> np.ndarray:
  """Time of each id: every code of a frame has the time of the frame."""
  times = frame_times(num_frames, stream.rate_hz)
  return np.repeat(times, stream.codes_per_frame)


def token_levels(
  spec: specs.StageSpec, streams: Sequence[specs.TokenSpec]
) -> np.ndarray:
  """int32[length]: level of each id of some streams, laid end to end.

  Levels are counted through all token streams of the stage.
  """
  first = {}
  count = 0
  for s in spec.token_streams:
    first[s.name] = count
    count += s.num_codebooks
  parts = [
    first[s.name] + np.arange(s.length(spec.crop_seconds)) % s.num_codebooks
    for s in streams
  ]
  return np.concatenate(parts).astype(np.int32)


def encoder_layout(spec: specs.StageSpec) -> EncoderLayout:
  """Music first, then pictures by time, then what stands for the whole clip.

  Token inputs, but for pictures, keep the order of the stage. Pictures in
  tokens and continuous streams are interleaved: earlier frames first and, at
  the same time, tokens first, then earlier streams, so that what was seen at
  one moment is neighbours.
  """
  seconds = spec.crop_seconds
  times = [token_times(s, s.num_frames(seconds)) for s in spec.token_inputs]
  groups = [
    np.full(len(t), float(s.is_picture))
    for s, t in zip(spec.token_inputs, times, strict=True)
  ]
  for s in spec.feature_inputs:
    if s.is_static:
      times.append(np.full(s.num_positions, np.nan))
      groups.append(np.full(s.num_positions, 2.0))
    else:
      frames = frame_times(s.num_frames(seconds), s.rate_hz)
      times.append(np.repeat(frames, s.num_positions))
      groups.append(np.ones(len(times[-1])))
  if not times:
    return EncoderLayout(
      order=np.zeros(0, np.int32), times=np.zeros(0, np.float64)
    )
  flat_times, group = np.concatenate(times), np.concatenate(groups)
  place = np.where(group == 1, np.round(flat_times, 6), 0.0)
  # Stable: what ties in (group, place) keeps the order of the stage.
  order = np.lexsort((np.arange(len(group)), place, group)).astype(np.int32)
  return EncoderLayout(order=order, times=flat_times[order])
