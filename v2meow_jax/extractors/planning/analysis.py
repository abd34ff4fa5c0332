"""Analyses a whole clip: its cuts, its motion, its accents and its look."""

import bisect
import dataclasses

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors import images
from v2meow_jax.extractors.embedded import color_motion

RATE_HZ = 50.0  # Rate of the curves below.

# Columns of `color_motion.changes`.
_ENERGY, _BRIGHTER, _COLOUR, _SPEED, _EXPANSION, _PEAK = 0, 1, 3, 5, 8, 10
# Columns whose rise is an accent, and their weights.
_ACCENTS = {_BRIGHTER: 1.0, _EXPANSION: 0.5, _PEAK: 0.5, _SPEED: 0.5}
# Half of an accent's height is that within the clip, and half that against
# this: the change, in multiples of `color_motion.SCALES`, that a clear flash
# or a sudden move of half the picture makes.
_REFERENCE = 2.0
_MEDIAN_SECONDS = 1.0
_SMOOTH_SECONDS = 0.025
_REACH = 4  # Steps that smoothing reaches to either side.

# A cut changes layout and colours for good, a flash does not: their sum, and
# its multiple of other changes nearby. Cuts of films have 0.2 to 0.6, and 3 and
# more times the others; fast pans and motion 0.25, and twice.
_CUT_CHANGE = 0.15
_CUT_OVER_OTHERS = 2.5
_CUT_NEIGHBOURS_SECONDS = 0.5
_CUT_APART_SECONDS = 0.25
_LASTS_FRAMES = 5
_FRAMES_AT_ONCE = 4096
_LAYOUT = (3, 4)
_BINS = 8
# Logarithms of motion at which `Analysis.motion` is 0 and 1: calm animation has
# 0.8 on average, a shaken camera 2.5.
_CALM, _WILD = 0.25, 3.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
  """What was seen of a clip.

  Attributes:
    seconds: Length of the clip, in seconds.
    motion: Amount of motion, from 0 (still) to 1 (wild), float[n] at `RATE_HZ`.
    accents: Strength of visual accents, from 0 to 1, float[n].
    brightness: Mean brightness of the picture, from 0 to 1, float[n].
    saturation: Mean saturation, from 0 to 1, float[n].
    warmth: Red less blue of the mean colour, from -1 to 1, float[n].
    cuts: Times at which a new shot begins, in seconds, float[num_cuts].
    cut_changes: Change of layout and colours at each cut, from 0 to about 1,
      float[num_cuts].
    looks: Mean layout and colours of each second, float[n, dim]; differences of
      two, summed, are as `cut_changes`. Empty: not known.
  """

  seconds: float
  motion: np.ndarray
  accents: np.ndarray
  brightness: np.ndarray
  saturation: np.ndarray
  warmth: np.ndarray
  cuts: np.ndarray
  cut_changes: np.ndarray
  looks: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros((0, 0), np.float32)
  )

  @property
  def times(self) -> np.ndarray:
    """Middles of the steps of the curves, in seconds."""
    return (np.arange(len(self.motion)) + 0.5) / RATE_HZ


class PictureAnalyser:
  """Collects what an `Analysis` needs, piece by piece of a video."""

  def __init__(self):
    """Starts before the first piece."""
    self._times: list[np.ndarray] = []
    self._changes: list[np.ndarray] = []
    self._looks: list[np.ndarray] = []
    self._end = 0.0

  def add(self, piece: media.Video) -> None:
    """Adds the next piece; it is led by the last frame of the one before."""
    self._end = piece.start_seconds + piece.seconds
    first = 1 if self._times else 0
    if len(piece.frames) == first:
      return  # No frame begins in it.
    self._times.append(np.asarray(piece.times, np.float64)[first:])
    self._changes.append(color_motion.changes(piece.frames))
    self._looks.append(_looks(piece.frames[first:]))

  def analysis(self) -> Analysis:
    """The analysis of all pieces.

    Raises:
      ValueError: There was no piece.
    """
    if not self._times:
      raise ValueError('no piece of video was added; wanted one at least.')
    times = np.concatenate(self._times)
    changes = np.concatenate(self._changes)
    looks = np.concatenate(self._looks)
    seconds = self._end
    edges = np.arange(max(2, round(seconds * RATE_HZ)) + 1) / RATE_HZ
    # What a frame shows first happened at its time: the change to it lies
    # around that time rather than before it.
    late = float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.0
    columns = _Columns(changes, times + late, edges)
    cuts, cut_changes = _cuts(times, looks[:, 3:])
    shown = np.searchsorted(times, (edges[:-1] + edges[1:]) / 2, 'right') - 1
    brightness, saturation, warmth = looks[np.maximum(shown, 0), :3].T
    away = _away_from(cuts, edges)
    return Analysis(
      seconds=seconds,
      motion=_motion(columns, away),
      accents=_accents(columns),
      brightness=brightness,
      saturation=saturation,
      warmth=warmth,
      cuts=cuts,
      cut_changes=cut_changes,
      looks=_of_seconds(times, looks[:, 3:], seconds),
    )


@dataclasses.dataclass(frozen=True)
class _Columns:
  """Changes of frames on an even grid, one column at a time: hours are held.

  Attributes:
    changes: Changes between frames, float[n, dim].
    times: Times of the frames, in seconds, float[n + 1].
    edges: Edges of the steps, in seconds, float[m + 1].
  """

  changes: np.ndarray
  times: np.ndarray
  edges: np.ndarray

  def __getitem__(self, column: int) -> np.ndarray:
    """Logarithms of a column of the changes in 40 ms, float64[m]."""
    one = self.changes[:, column : column + 1]
    amounts = color_motion.spread(one, self.times, self.edges)[:, 0]
    amounts = np.maximum(amounts * (0.04 * RATE_HZ), 0)
    return np.log1p(amounts / color_motion.SCALES[column])


def analyse(pieces) -> Analysis:
  """Analyses consecutive pieces of a video, as `read.iter_video` gives."""
  analyser = PictureAnalyser()
  for piece in pieces:
    analyser.add(piece)
  return analyser.analysis()


def _looks(frames: np.ndarray) -> np.ndarray:
  """Brightness, saturation, warmth, and what `_cuts` compares, of each frame."""
  n = len(frames)
  small = images.rgb(frames, 9, 16)
  pixels = small.reshape(n, -1, 3)
  mean = pixels.mean(1)
  _, saturation, _ = images.hue_saturation_value(pixels)
  channels = np.moveaxis(pixels, 2, 1).reshape(n * 3, -1)
  histograms = images.soft_histogram(channels, _BINS).reshape(n, -1)
  rows, columns = _LAYOUT
  cells = small.reshape(n, rows, 9 // rows, columns, 16 // columns, 3)
  layout = cells.mean((2, 4)).reshape(n, -1)
  looks = [
    (mean @ images.LUMA)[:, None],
    saturation.mean(1)[:, None],
    (mean[:, 0] - mean[:, 2])[:, None],
    # Scaled so that sums of differences are means, and a quarter of a sum.
    layout / layout.shape[1],
    histograms / 12,
  ]
  return np.concatenate(looks, 1).astype(np.float16)  # Hours are held.


def _of_seconds(
  times: np.ndarray, looks: np.ndarray, seconds: float
) -> np.ndarray:
  """Means of the looks in each second; where no frame begins, those before."""
  firsts = np.searchsorted(times, np.arange(max(1, round(seconds))))
  firsts = np.minimum(firsts, len(times) - 1)
  sums = np.add.reduceat(looks, firsts, dtype=np.float32)
  counts = np.diff([*firsts, len(times)])
  means = sums / np.maximum(counts, 1)[:, None]
  # Of an empty stretch, `reduceat` gives the next frame.
  means[counts == 0] = looks[np.maximum(firsts[counts == 0] - 1, 0)]
  return means


def _cuts(
  times: np.ndarray, features: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the frames that begin a new shot: their times and changes.

  Such a frame and the next four differ from the five before it, and by far more
  than other neighbours do.

  Args:
    times: Times of the frames, in seconds.
    features: Layout and histograms of the frames, float16[n, dim].

  Returns:
    Times in seconds, and changes.
  """
  n = len(times)
  index = np.arange(_LASTS_FRAMES, n - _LASTS_FRAMES + 1)
  if not len(index):
    return np.zeros(0), np.zeros(0)

  def changes(block: np.ndarray) -> np.ndarray:
    some = features[block[0] - _LASTS_FRAMES : block[-1] + _LASTS_FRAMES]
    some = some.astype(np.float32)
    n = len(block)
    return np.stack(
      [
        np.abs(
          some[_LASTS_FRAMES + k :][:n] - some[_LASTS_FRAMES - 1 - k :][:n]
        ).sum(1)
        for k in range(_LASTS_FRAMES)
      ]
    )

  blocks = np.array_split(index, -(-len(index) // _FRAMES_AT_ONCE))
  of_blocks = np.concatenate([changes(block) for block in blocks], 1)
  sudden, lasting = of_blocks[0], of_blocks.min(0)
  rate_hz = 1 / max(float(np.median(np.diff(times))), 1e-3)
  width = max(2, round(_CUT_NEIGHBOURS_SECONDS * rate_hz))
  padded = np.pad(sudden, width)
  windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * width + 1)
  # Damage and flashes take two or three frames: these are no usual change.
  usual = np.sort(windows, 1)[:, -4]
  candidates = np.flatnonzero(
    (lasting > _CUT_CHANGE) & (lasting > _CUT_OVER_OTHERS * usual)
  )
  kept: list[int] = []
  for i in candidates[np.argsort(-lasting[candidates], kind='stable')]:
    at = bisect.bisect(kept, int(i))
    here = times[index[i]]
    nearest = times[index[kept[max(0, at - 1) : at + 1]]]
    if (np.abs(here - nearest) >= _CUT_APART_SECONDS).all():
      kept.insert(at, int(i))
  return times[index[kept]], lasting[kept]


def _away_from(cuts: np.ndarray, edges: np.ndarray) -> np.ndarray:
  """Which steps hold no change of shot, whose pixels are no motion."""
  away = np.ones(len(edges) - 1, bool)
  firsts = np.searchsorted(edges[1:], cuts - 0.06, 'right')
  lasts = np.searchsorted(edges[:-1], cuts + 0.06, 'left')
  for first, last in zip(firsts, lasts, strict=True):
    away[first:last] = False
  return away


def _motion(columns: _Columns, away: np.ndarray) -> np.ndarray:
  """Motion against the fixed reference, from 0 to 1."""
  level = (columns[_ENERGY] + columns[_SPEED]) / 2
  steps = np.arange(len(level))
  if away.any():
    level = np.interp(steps, steps[away], level[away])
  return np.clip((level - _CALM) / (_WILD - _CALM), 0, 1)


def _accents(columns: _Columns) -> np.ndarray:
  """Rises of light and of motion over what is usual nearby."""
  width = round(_MEDIAN_SECONDS * RATE_HZ) | 1
  total = np.zeros(len(columns.edges) - 1)
  for column, weight in _ACCENTS.items():
    values = columns[column]
    rise = np.maximum(values - _running_median(values, width), 0)
    high = np.percentile(rise, 98)
    total += weight * rise / (high + _REFERENCE)
  total = np.minimum(total / 2, 1)
  reach = np.arange(-_REACH, _REACH + 1) / RATE_HZ
  kernel = np.exp(-0.5 * (reach / _SMOOTH_SECONDS) ** 2)
  return np.convolve(total, kernel / kernel.sum())[_REACH:-_REACH]


def _running_median(values: np.ndarray, width: int) -> np.ndarray:
  padded = np.pad(values, width // 2, mode='edge')
  windows = np.lib.stride_tricks.sliding_window_view(padded, width)
  medians = [
    np.median(windows[i : i + 4096], axis=1)
    for i in range(0, len(windows), 4096)
  ]
  return np.concatenate(medians)
