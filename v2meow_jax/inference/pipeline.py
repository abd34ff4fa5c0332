"""Chains the stages: streams of whole clips in, codes of whole clips out.

Long clips are generated window by window. A row of a call is one window of one
clip with a key of its own, so windows of many clips share a call. A stage with
a prefix starts each window with the codes that the window before left there, so
music goes on; a stage without one has independent windows.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import math
import zlib

import jax
import numpy as np

from v2meow_jax import specs
from v2meow_jax.inference import restore
from v2meow_jax.inference.programs import kept
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

Samplings = options.Sampling | Sequence[options.Sampling]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipStreams:
  """What there is of a clip.

  Attributes:
    streams: Streams of the whole clip by name, [frames, dim | levels].
    seconds: Length of the clip.
    seed: Seed of every draw; window i of a stage draws with a key of its own,
      so a longer clip begins as a shorter one does.
    negative: Styles that guidance goes away from, by name, [1, dim]; zeros
      where there is none.
    style_starts: Times from which each vector of a static stream holds, in
      seconds; the first is 0. A window has that of its middle.
  """

  streams: dict[str, np.ndarray]
  seconds: float
  seed: int
  negative: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  style_starts: tuple[float, ...] = (0.0,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
  """One window of one clip."""

  clip: int
  window: int
  start: float


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
  array: np.ndarray,
  stream: specs.Stream,
  start: float,
  seconds: float,
  style_starts: Sequence[float] = (0.0,),
) -> np.ndarray:
  """One window of a clip's stream, [frames of the window, dim | levels].

  `start` and `seconds` say where it lies; beyond the end the clip is mirrored.
  Of a static stream it is the vector that holds in its middle.
  """
  if isinstance(stream, specs.FeatureSpec) and stream.is_static:
    middle = start + seconds / 2
    row = int(np.searchsorted(style_starts, middle, 'right')) - 1
    return array[row : row + 1]
  first = round(start * stream.rate_hz)
  length = specs.whole_frames(stream.name, seconds, stream.rate_hz)
  # Index -1 is the last frame again, and so on back and forth.
  period = 2 * len(array)
  index = np.arange(first, first + length) % period
  return array[np.minimum(index, period - 1 - index)]


def sample_stage(
  stage: restore.Stage,
  clips: Sequence[ClipStreams],
  *,
  sampling: options.Sampling,
  windows: options.Windows,
  num_groups: int = 1,
  on_call: Callable[[], None] = lambda: None,
) -> list[np.ndarray]:
  """Samples a stage's target for whole clips, `windows.rows` windows at a time.

  A clip's codes depend neither on the other clips nor on its place among them.

  Args:
    stage: The trained stage.
    clips: Clips of any lengths.
    sampling: Options of the sampler.
    windows: Seconds of the prefix, and number of rows in a call.
    num_groups: Number of groups of devices, each of which takes so many rows of
      a call.
    on_call: Called after each call of the network, for progress.

  Returns:
    For each clip int32[frames, levels], at least as long as the clip.
  """
  spec = stage.spec
  known = windows.prefix_frames(spec.target)
  written: list[list[np.ndarray]] = [[] for _ in clips]
  num_rows = windows.rows * num_groups
  for rows in _calls(spec, clips, windows.prefix_seconds, num_rows):
    # Short calls are padded with their last row: all have one compiled shape.
    padded = rows + rows[-1:] * (num_rows - len(rows))
    prefix = None
    if known and rows[0].window:
      prefix = np.stack([written[row.clip][-1][-known:] for row in padded])
    inputs = {
      s.name: np.stack(
        [
          cut(
            clips[row.clip].streams[s.name],
            s,
            row.start,
            spec.crop_seconds,
            clips[row.clip].style_starts,
          )
          for row in padded
        ]
      )
      for s in spec.inputs
    }
    keys = row_keys(
      spec.name,
      [clips[row.clip].seed for row in padded],
      [row.window for row in padded],
    )
    negative = None
    if sampling.style_guidance not in (None, 1):
      negative = {
        name: np.stack([_negative(clips[row.clip], name) for row in padded])
        for name in guidance.style_streams(spec)
      }
    codes = stage.sample(inputs, keys, sampling, prefix, negative)
    for row, window in zip(rows, codes, strict=False):
      written[row.clip].append(window)
    on_call()
  return [np.concatenate([w[0], *(x[known:] for x in w[1:])]) for w in written]


def _calls(
  spec: specs.StageSpec,
  clips: Sequence[ClipStreams],
  prefix_seconds: float,
  num_rows: int,
) -> Iterator[list[_Row]]:
  """Rows of each call, at most `num_rows`, none before what it goes on from."""
  rows = [
    _Row(clip=clip, window=window, start=start)
    for clip, inputs in enumerate(clips)
    for window, start in enumerate(
      window_starts(inputs.seconds, spec.crop_seconds, prefix_seconds)
    )
  ]
  rounds = [rows]
  if prefix_seconds:
    last = max((row.window for row in rows), default=-1)
    rounds = [[r for r in rows if r.window == i] for i in range(last + 1)]
  for some in rounds:
    for i in range(0, len(some), num_rows):
      yield some[i : i + num_rows]


def _negative(clip: ClipStreams, name: str) -> np.ndarray:
  return clip.negative.get(name, np.zeros_like(clip.streams[name][:1]))


def row_keys(
  stage_name: str, seeds: Sequence[int], windows: Sequence[int]
) -> jax.Array:
  """A key for each row, of the seed of its clip, the stage and the window."""
  number = zlib.crc32(stage_name.encode()) & 0x7FFFFFFF
  data = _row_keys(np.array(seeds, np.int64), number, np.array(windows))
  return jax.random.wrap_key_data(data)


def _fold(seeds: jax.Array, number: jax.Array, windows: jax.Array) -> jax.Array:
  def key(seed, window):
    of_stage = jax.random.fold_in(jax.random.key(seed), number)
    return jax.random.key_data(jax.random.fold_in(of_stage, window))

  return jax.vmap(key)(seeds, windows)


_row_keys = kept.Program(_fold, name='row keys', identity='')


def resolve(
  sampling: Samplings | None,
  own: Sequence[options.Sampling],
  stages: Sequence[specs.StageSpec],
) -> list[options.Sampling]:
  """Options of the sampler of each stage; what is open is filled from `own`.

  Raises:
    ValueError: There are other numbers of them, or top_k is above the number of
      codes.
  """
  if sampling is None or isinstance(sampling, options.Sampling):
    sampling = [sampling or options.Sampling()]
  given = list(sampling) * (len(stages) if len(sampling) == 1 else 1)
  if len(given) != len(stages):
    raise ValueError(
      f'{len(given)} temperatures for {len(stages)} stages; wanted one for all,'
      f' or one per stage: {", ".join(stage.name for stage in stages)}.'
    )
  fewest = min(stage.target.codebook_size for stage in stages)
  for top_k in (s.top_k for s in given):
    if top_k is not None and not 1 <= top_k <= fewest:
      raise ValueError(
        f'top_k is {top_k}; wanted 1 to {fewest}, the codes of the smallest'
        ' stage, or none at all.'
      )
  chosen = [s.over(below) for s, below in zip(given, own, strict=True)]
  for name, streams in (
    ('style_guidance', guidance.style_streams),
    ('video_guidance', guidance.video_streams),
  ):
    wanted = any(getattr(s, name) is not None for s in given)
    if wanted and not any(map(streams, stages)):
      raise ValueError(
        f'{name} was given, and no stage of the system reads'
        f' {"a style" if name.startswith("style") else "features of a video"};'
        ' leave it out.'
      )
  return chosen
