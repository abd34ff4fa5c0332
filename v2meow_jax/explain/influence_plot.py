"""Draws `influence.Influence`: a plot over time, heat on frames."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math

from jaxtyping import Float
from jaxtyping import UInt8
import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.explain import influence

# Inches; a plot of any width has the same layout.
_WIDTH = 6.4
_LEFT, _RIGHT = 0.95, 0.75
_ROW, _SPECTROGRAM = 0.17, 1.15
_TITLE, _AXIS = 0.24, 0.42
_FONT_POINTS = 7.0
_MOST_NUMBERS = 16  # Most columns with room for numbers.
_SPECTRUM_DB = 70.0
_FFT = 1024
_CURSOR = (255, 59, 48)
_MOST_HEAT = 0.65  # Largest share of the colour in a blended picture.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
  """A drawn plot and the place of time in it.

  Attributes:
    pixels: RGB of even sides, uint8[height, width, 3].
    left: Column of time 0.
    right: Column of the end of the clip.
    top: First row of the panels.
    bottom: Last row of the panels.
    seconds: Length of the clip, in seconds.
  """

  pixels: np.ndarray
  left: float
  right: float
  top: int
  bottom: int
  seconds: float

  def at(self, seconds: float) -> UInt8[np.ndarray, 'height width 3']:
    """Draws a cursor at a time of the clip."""
    pixels = self.pixels.copy()
    share = min(max(seconds / self.seconds, 0.0), 1.0)
    column = round(self.left + share * (self.right - self.left))
    half = max(1, pixels.shape[1] // 900)
    pixels[self.top : self.bottom, column - half : column + half] = _CURSOR
    return pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Panel:
  """Rows of heat, one for each stream."""

  title: str
  rows: Mapping[str, np.ndarray]
  notes: Mapping[str, str]
  colours: str


def draw(
  audio: media.Audio,
  result: influence.Influence,
  *,
  width: int,
  note: str = '',
) -> Plot:
  """Draws the spectrogram with onsets, and under it rows of heat by stream.

  Args:
    audio: Generated music.
    result: Influence of the streams on it.
    width: Even width of the plot, in pixels.
    note: Words for below the plot; '': none.

  Returns:
    The plot.
  """
  from matplotlib import figure
  from matplotlib.backends import backend_agg

  panels = _panels(result)
  inches = _TITLE + _SPECTROGRAM + _AXIS
  inches += sum(_TITLE + _ROW * len(p.rows) for p in panels)
  dpi = width / _WIDTH
  page = figure.Figure(figsize=(_WIDTH, inches), dpi=dpi)
  canvas = backend_agg.FigureCanvasAgg(page)
  top = _TITLE

  def axes_below(tall: float):
    nonlocal top
    low = 1 - (top + tall) / inches
    wide = 1 - (_LEFT + _RIGHT) / _WIDTH
    axes = page.add_axes((_LEFT / _WIDTH, low, wide, tall / inches))
    axes.tick_params(labelsize=_FONT_POINTS, length=2, pad=1.5)
    axes.set_xlim(0, audio.seconds)
    top += tall + _TITLE
    return axes

  first = axes_below(_SPECTROGRAM)
  _draw_spectrogram(first, audio)
  axes = first
  for panel in panels:
    axes.tick_params(labelbottom=False)
    axes = axes_below(_ROW * len(panel.rows))
    _draw_panel(axes, panel, result.bin_seconds)
  below = '; '.join(filter(None, ('seconds', note)))
  axes.set_xlabel(below, fontsize=_FONT_POINTS, labelpad=1)
  canvas.draw()
  pixels = np.asarray(canvas.buffer_rgba())[..., :3]
  height = len(pixels)
  # Sizes are inches, so rounding may have taken a column.
  missing = ((0, height % 2), (0, width - pixels.shape[1]), (0, 0))
  left, up = first.transAxes.transform((0.0, 1.0))
  right, down = axes.transAxes.transform((1.0, 0.0))
  return Plot(
    pixels=np.pad(pixels, missing, mode='edge'),
    left=float(left),
    right=float(right),
    top=round(height - up),
    bottom=round(height - down),
    seconds=audio.seconds,
  )


def _panels(result: influence.Influence) -> list[_Panel]:
  attention, without = result.attention, result.without_bin
  panels = _pair(
    f'influence: change of the music without the stream, {result.unit}',
    result.without_stream,
    'influence of each moment of the picture, summed over the music',
    without,
    'Oranges',
  )
  if not attention:
    return panels
  of_attention = _pair(
    'attention of the music to each stream, share',
    {k: x.sum(1) for k, x in attention.items()},
    'attention that each moment of the picture gets',
    {k: attention[k] for k in without},
    'Blues',
  )
  return of_attention + panels


def _pair(
  whole_title: str,
  wholes: Mapping[str, np.ndarray],
  moments_title: str,
  moments: Mapping[str, np.ndarray],
  colours: str,
) -> list[_Panel]:
  """Panels of whole streams, [bins of music], and of their moments."""
  near = {k: influence.near_share(x) for k, x in moments.items()}
  return [
    _Panel(
      title=whole_title,
      rows=wholes,
      notes={k: f'mean {x.mean():.2f}' for k, x in wholes.items()},
      colours=colours,
    ),
    _Panel(
      title=f'{moments_title}; right: near it in time (by chance)',
      rows={k: x.sum(0) for k, x in moments.items()},
      notes={k: f'{s:.0%} ({c:.0%})' for k, (s, c) in near.items()},
      colours=colours,
    ),
  ]


def _draw_spectrogram(axes, audio: media.Audio) -> None:
  librosa = numba_cache.librosa()

  hop = round(beat_scores.HOP_SECONDS * audio.rate_hz)
  missing = max(0, _FFT - len(audio.samples))
  power = librosa.feature.melspectrogram(
    y=np.pad(np.float32(audio.samples), (0, missing)),
    sr=audio.rate_hz,
    n_fft=_FFT,
    hop_length=hop,
    n_mels=64,
  )[:, : len(audio.samples) // hop + 1]
  level = librosa.power_to_db(power, ref=max(power.max(), 1e-10), top_db=None)
  edges = librosa.mel_frequencies(66, fmin=0.0, fmax=audio.rate_hz / 2)
  image = axes.imshow(
    level,
    aspect='auto',
    origin='lower',
    extent=(0, audio.seconds, 0, 64),
    cmap='magma',
    vmin=-_SPECTRUM_DB,
    vmax=0,
    interpolation='nearest',
  )
  ticks = [hz for hz in (250, 1000, 4000) if hz < audio.rate_hz / 2]
  axes.set_yticks(
    np.interp(ticks, edges[1:-1], np.arange(64) + 0.5),
    [f'{hz} Hz' for hz in ticks],
  )
  axes.vlines(onsets(audio), 59, 64, color='cyan', linewidth=0.6)
  axes.set_title(
    'mel spectrogram of the generated music, dB; marks: onsets',
    **_title_style(),
  )
  bar = axes.inset_axes((1.015, 0.0, 0.015, 1.0))
  axes.figure.colorbar(image, cax=bar)
  bar.tick_params(labelsize=_FONT_POINTS - 1, length=1.5, pad=1)


def _draw_panel(axes, panel: _Panel, bin_seconds: float) -> None:
  rows = np.stack(list(panel.rows.values()))
  end = axes.get_xlim()[1]
  count = rows.shape[1]
  highest = max(float(rows.max()), 1e-9)
  edges = np.minimum(np.arange(count + 1) * bin_seconds, end)
  axes.pcolormesh(
    edges,
    np.arange(len(rows) + 1),
    rows,
    cmap=panel.colours,
    vmin=0,
    vmax=highest,
    edgecolors='white' if count <= 2 * _MOST_NUMBERS else 'none',
    linewidth=0.4,
  )
  axes.set_xlim(0, end)
  axes.invert_yaxis()
  axes.set_yticks(np.arange(len(rows)) + 0.5, list(panel.rows))
  axes.tick_params(axis='y', length=0)
  for place, name in enumerate(panel.rows):
    axes.annotate(
      panel.notes[name],
      (1.015, 1 - (place + 0.5) / len(rows)),
      xycoords='axes fraction',
      va='center',
      fontsize=_FONT_POINTS - 0.5,
    )
  axes.set_title(panel.title, **_title_style())
  if count > _MOST_NUMBERS:
    return
  for (place, column), value in np.ndenumerate(rows):
    axes.text(
      (edges[column] + edges[column + 1]) / 2,
      place + 0.5,
      f'{value:.2f}',
      ha='center',
      va='center',
      fontsize=_FONT_POINTS - 1.5,
      color='white' if value > 0.6 * highest else 'black',
    )


def _title_style() -> dict[str, object]:
  return {'fontsize': _FONT_POINTS, 'loc': 'left', 'pad': 2.5}


def onsets(audio: media.Audio) -> Float[np.ndarray, 'onsets']:
  """Detects onset times in seconds, rising."""
  librosa = numba_cache.librosa()

  envelope = beat_scores.onset_envelope(audio)
  if not envelope.any():
    return np.zeros(0)
  frames = librosa.onset.onset_detect(
    onset_envelope=envelope,
    sr=audio.rate_hz,
    hop_length=round(beat_scores.HOP_SECONDS * audio.rate_hz),
  )
  return frames * beat_scores.HOP_SECONDS


def blend(
  frame: UInt8[np.ndarray, 'height width 3'],
  grids: Sequence[Float[np.ndarray, 'cells']],
) -> UInt8[np.ndarray, 'height width 3']:
  """Blends a frame with the heat of its cells, which cover its central square.

  Args:
    frame: RGB frame.
    grids: Heat of each stream in [0, 1], row by row; a square number of cells.

  Returns:
    The frame, redder where the largest heat of the streams is higher.

  Raises:
    ValueError: The cells are no square.
  """
  height, width = frame.shape[:2]
  side = min(height, width)
  heat = np.zeros((side, side))
  for grid in grids:
    cells = math.isqrt(len(grid))
    if cells**2 != len(grid):
      raise ValueError(
        f'{len(grid)} cells of a picture are no square; wanted a square'
        ' number, such as 256 or 1024, to lay them on the frame.'
      )
    place = np.arange(side) * cells // side
    shown = np.reshape(grid, (cells, cells))[np.ix_(place, place)]
    heat = np.maximum(heat, shown)
  top, left = (height - side) // 2, (width - side) // 2
  square = slice(top, top + side), slice(left, left + side)
  weight = _MOST_HEAT * np.clip(heat, 0, 1)[..., None]
  mixed = frame.copy()
  mixed[square] = np.round(
    (1 - weight) * frame[square] + weight * np.array(_CURSOR)
  )
  return mixed
