"""Chains the stages: streams of whole clips in, codes of whole clips out.

Long clips are generated window by window. A row of a call is one window of one
clip with a key of its own, so windows of many clips share a call. A stage with
a prefix starts each window with the codes that the window before left there, so
music goes on; a stage without one has independent windows.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools
import math
import os
from typing import Any
import zlib

import jax
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors.planning import themes
from v2meow_jax.files.films import scratch as scratch_lib
from v2meow_jax.inference import restore
from v2meow_jax.inference import windows as windows_lib
from v2meow_jax.inference.programs import kept
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

Samplings = options.Sampling | Sequence[options.Sampling]
window_starts = windows_lib.window_starts


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
    returns: Stretches in which stages that read no codes let music be heard
      again, in the order of time.
    remade: Stretch that is made again, of codes that are there; None: all is
      made.
    kept: Windows that are done, and where others go; None: only here.
    openings: Frames of targets that the music goes on from, by stream name,
      [frames of a window's prefix, dim]: a piece whose style it takes up. They
      go with no picture and are no part of the music.
  """

  streams: dict[str, np.ndarray]
  seconds: float
  seed: int
  negative: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  style_starts: tuple[float, ...] = (0.0,)
  returns: tuple[themes.Return, ...] = ()
  remade: windows_lib.Remade | None = None
  kept: windows_lib.Kept | None = None
  openings: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
  """One window of one clip."""

  clip: int
  window: int
  start: float
  num_known: int


def cut(
  array: np.ndarray,
  stream: specs.Stream,
  start: float,
  seconds: float,
  style_starts: Sequence[float] = (0.0,),
) -> np.ndarray:
  """One window of a clip's stream, [frames of the window, dim | levels].

  `start` and `seconds` say where it lies; beyond the end the clip is mirrored,
  before the beginning are zeros, as of a stream that was left out.
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
  place = np.arange(first, first + length)
  index = place % period
  window = array[np.minimum(index, period - 1 - index)]
  if first < 0:
    window = np.array(window)
    window[place < 0] = 0
  media.release(array)
  return window


def sample_stage(
  stage: restore.Stage,
  clips: Sequence[ClipStreams],
  *,
  sampling: options.Sampling,
  windows: options.Windows,
  num_groups: int = 1,
  on_call: Callable[[float], None] = lambda seconds: None,
  scratch: str | os.PathLike[str] | None = None,
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
    on_call: Called with the seconds of the clips that are written, after each
      call of the network, and for what was kept.
    scratch: Folder of this machine, on whose disk what is written of films of
      more than a minute lies; None: in memory.

  Returns:
    For each clip int32[frames, levels], at least as long as the clip.
  """
  spec = stage.spec
  tracks = [
    _track(spec, clip, windows.prefix_seconds, scratch) for clip in clips
  ]
  num_done = [track.num_added for track in tracks]
  for track, done in zip(tracks, num_done, strict=True):
    if done:
      on_call(sum(map(track.seconds, range(done))))
  num_rows = windows.rows * num_groups
  for rows in _calls(tracks, num_rows, bool(windows.prefix_seconds)):
    # Short calls are padded with their last row: all have one compiled shape.
    padded = rows + rows[-1:] * (num_rows - len(rows))
    prefix = None
    if rows[0].num_known:
      prefix = np.stack([tracks[row.clip].prefix(row.window) for row in padded])
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
    negative = {
      name: np.stack([_negative(clips[row.clip], name) for row in padded])
      for name in guidance.negative_streams(spec, sampling)
    }
    codes = stage.sample(inputs, keys, sampling, prefix, negative or None)
    for row, window in zip(rows, codes, strict=False):
      tracks[row.clip].add(window)
      if (kept := clips[row.clip].kept) is not None:
        kept.add(spec, window)
    on_call(sum(tracks[row.clip].seconds(row.window) for row in rows))
  return [track.codes() for track in tracks]


def _track(
  spec: specs.StageSpec,
  clip: ClipStreams,
  prefix_seconds: float,
  scratch: str | os.PathLike[str] | None,
) -> windows_lib.Track:
  """The track of a clip, with the windows that are kept."""
  returns = () if spec.token_inputs else clip.returns
  track = windows_lib.Track(
    spec,
    clip.seconds,
    prefix_seconds,
    returns,
    clip.remade,
    clip.openings.get(spec.target.name),
    scratch_lib.room(scratch, clip.seconds),
  )
  for codes in clip.kept.windows(spec) if clip.kept else ():
    track.add(codes)
  return track


def _calls(
  tracks: Sequence[windows_lib.Track], num_rows: int, in_order: bool
) -> Iterator[list[_Row]]:
  """Rows of each call, at most `num_rows`, none before what it goes on from."""
  rows = [
    _Row(
      clip=clip,
      window=number,
      start=window.start_seconds,
      num_known=window.num_known,
    )
    for clip, track in enumerate(tracks)
    for number, window in enumerate(track.windows)
    if number >= track.num_added
  ]
  rounds = [rows]
  if in_order:
    rows.sort(key=_turn)
    rounds = [list(some) for _, some in itertools.groupby(rows, _turn)]
  for some in rounds:
    for i in range(0, len(some), num_rows):
      yield some[i : i + num_rows]


def _turn(row: _Row) -> tuple[int, int]:
  """Number of its window, and what is known of it: of a shape in a call."""
  return row.window, row.num_known


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


def own_sampling(sampler: Any) -> options.Sampling:
  """What a sampler does where a call says nothing, for all to be told."""
  steps = getattr(sampler, 'steps', None)
  return sampler.sampling.over(options.Sampling(steps=steps))


def require_guidance(samplings: Iterable[options.Sampling]) -> None:
  """Raises ValueError where a negative prompt would act on no stage."""
  if not any(s.style_guidance not in (None, 1) for s in samplings):
    raise ValueError(
      'a negative prompt acts through the guidance of style, which is off;'
      ' give a style_guidance above 1, such as 3.'
    )


def resolve(
  sampling: Samplings | None,
  own: Sequence[options.Sampling],
  stages: Sequence[specs.StageSpec],
) -> list[options.Sampling]:
  """Options of the sampler of each stage; what is open is filled from `own`.

  Raises:
    ValueError: There are other numbers of them, top_k is above the number of
      codes, or codes are to be chosen where none are written.
  """
  if sampling is None or isinstance(sampling, options.Sampling):
    sampling = [sampling or options.Sampling()]
  given = list(sampling) * (len(stages) if len(sampling) == 1 else 1)
  if len(given) != len(stages):
    raise ValueError(
      f'{len(given)} temperatures for {len(stages)} stages; wanted one for all,'
      f' or one per stage: {", ".join(stage.name for stage in stages)}.'
    )
  of_codes = [isinstance(s.target, specs.TokenSpec) for s in stages]
  fewest = min(
    (
      s.target.codebook_size
      for s in stages
      if isinstance(s.target, specs.TokenSpec)
    ),
    default=math.inf,
  )
  if all(of_codes) and any(s.steps is not None for s in given):
    raise ValueError(
      'a number of steps was given, and every stage of the system writes codes,'
      ' which take none; leave it out.'
    )
  for name in () if any(of_codes) else ('top_k', 'top_p', 'max_run'):
    if any(getattr(s, name) is not None for s in given):
      raise ValueError(
        f'{name} was given, and no stage of the system writes codes that it'
        ' could choose among; leave it out.'
      )
  for top_k in (s.top_k for s in given):
    if top_k is not None and not 1 <= top_k <= fewest:
      raise ValueError(
        f'top_k is {top_k}; wanted 1 to {fewest}, the codes of the smallest'
        ' stage, or none at all.'
      )
  given = [
    dataclasses.replace(s, steps=None) if codes else s
    for s, codes in zip(given, of_codes, strict=True)
  ]
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
