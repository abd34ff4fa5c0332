"""Chains the stages: streams of a whole clip in, codes of a whole clip out.

Long clips are generated window by window. A stage with a prefix starts each
window with the codes that the window before left there, so music goes on; a
stage without one has independent windows, which are sampled side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import math
import zlib

import jax
import numpy as np

from v2meow_jax import specs
from v2meow_jax.inference import restore
from v2meow_jax.models.sampling import options


def window_starts(
  seconds: float, crop_seconds: float, prefix_seconds: float
) -> list[float]:
  """Starts of the windows that cover a clip.

  >>> window_starts(25.0, 10.0, 2.0)
  [0.0, 8.0, 16.0]
  """
  hop = crop_seconds - prefix_seconds
  if hop <= 0:
    raise ValueError(
      f'a prefix of {prefix_seconds} s fills the window of'
      f' {crop_seconds} s; make it shorter.'
    )
  count = max(1, math.ceil((seconds - prefix_seconds) / hop - 1e-9))
  return [i * hop for i in range(count)]


def cut(
  array: np.ndarray, stream: specs.Stream, start: float, seconds: float
) -> np.ndarray:
  """One window of a clip's stream; beyond the end the clip is mirrored.

  Args:
    array: [frames, dim | levels] of the whole clip.
    stream: What it is.
    start: Of the window, in seconds.
    seconds: Its length.

  Returns:
    [frames of the window, dim | levels].
  """
  if isinstance(stream, specs.FeatureSpec) and stream.is_static:
    return array[:1]
  first = round(start * stream.rate_hz)
  length = specs.whole_frames(stream.name, seconds, stream.rate_hz)
  # Index -1 is the last frame again, and so on back and forth.
  period = 2 * len(array)
  index = np.arange(first, first + length) % period
  return array[np.minimum(index, period - 1 - index)]


def sample_stage(
  stage: restore.Stage,
  streams: Mapping[str, np.ndarray],
  *,
  seconds: float,
  key: jax.Array,
  sampling: options.Sampling,
  windows: options.Windows,
  on_window: Callable[[], None] = lambda: None,
) -> np.ndarray:
  """Samples a stage's target for a whole clip.

  Window i draws with fold_in(key, i), so a longer clip begins as a shorter one
  does, and nothing depends on other clips.

  Args:
    stage: The trained stage.
    streams: Its inputs for the whole clip, by name.
    seconds: Length of the clip.
    key: Of this stage and clip.
    sampling: Temperature and top-k.
    windows: Prefix and rows.
    on_window: Called after each call of the network, for progress.

  Returns:
    int32[frames, levels], at least `seconds` of them.
  """
  spec = stage.spec
  starts = window_starts(seconds, spec.crop_seconds, windows.prefix_seconds)
  draw = _Draw(stage, streams, key, sampling, windows.rows)
  pieces = []
  if windows.prefix_seconds:
    kept = round(windows.prefix_seconds * spec.target.rate_hz)
    for i, start in enumerate(starts):
      prefix = pieces[-1][-kept:] if pieces else None
      window = draw({i: start}, prefix)[0]
      pieces.append(window if prefix is None else window[kept:])
      on_window()
  else:
    for i in range(0, len(starts), windows.rows):
      some = dict(enumerate(starts[i : i + windows.rows], i))
      pieces += draw(some, None)
      on_window()
  return np.concatenate(pieces)


class _Draw:
  """Samples windows in calls of one shape: padded to `rows`, then cut back."""

  def __init__(
    self,
    stage: restore.Stage,
    streams: Mapping[str, np.ndarray],
    key: jax.Array,
    sampling: options.Sampling,
    rows: int,
  ):
    self._stage = stage
    self._streams = streams
    self._key = key
    self._sampling = sampling
    self._rows = rows

  def __call__(
    self, starts: Mapping[int, float], prefix: np.ndarray | None
  ) -> list[np.ndarray]:
    """Codes of each window of {number: start in seconds}."""
    spec = self._stage.spec
    rows = list(starts.items())
    rows += rows[-1:] * (self._rows - len(rows))
    inputs = {
      s.name: np.stack(
        [
          cut(self._streams[s.name], s, start, spec.crop_seconds)
          for _, start in rows
        ]
      )
      for s in spec.inputs
    }
    keys = [jax.random.fold_in(self._key, number) for number, _ in rows]
    codes = self._stage.sample(
      inputs,
      jax.numpy.stack(keys),
      self._sampling,
      None if prefix is None else np.stack([prefix] * self._rows),
    )
    return list(codes[: len(starts)])


def stage_key(seed: int, stage_name: str) -> jax.Array:
  """The key of a stage; each stage draws from a sequence of its own."""
  return jax.random.fold_in(
    jax.random.key(seed), zlib.crc32(stage_name.encode()) & 0x7FFFFFFF
  )
