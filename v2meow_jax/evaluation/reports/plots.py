"""Draws the pictures of a report: spectrograms, beats and distributions."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import math
import os
from typing import Any

import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation.listening import detectors
from v2meow_jax.evaluation.listening import pairs
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.metrics import timing
from v2meow_jax.files import atomic
from v2meow_jax.files import read

_RATE_HZ = detectors.BEAT_RATE_HZ
_MEL_BANDS = 96
_PICTURE_HOP = 512  # 23 ms a column: finer ones are not seen
_FLOOR_DB = -70.0
_TICKS_HZ = (125, 500, 1000, 2000, 4000, 8000)
_COLOURS = {'reference': '#1f5fa8', 'generated': '#d1640f'}
_COLUMNS = 3


def spectrograms(
  path: str | os.PathLike,
  sounds: Mapping[str, media.Audio],
  *,
  title: str | None = None,
  columns: int = 1,
) -> None:
  """Draws mel spectrograms, each below the loudest moment of its own sound.

  Args:
    path: Path of the picture.
    sounds: Sounds by what stands above them; of one rate and length.
    title: Line above all of them.
    columns: Number of pictures side by side.
  """
  rows = math.ceil(len(sounds) / columns)
  size = (9.0, 0.4 + 2.2 * rows)
  with _figure(
    path, rows, columns, size, sharex=True, sharey=True, squeeze=False
  ) as (figure, axes):
    for axis, (name, audio) in zip(
      np.ravel(axes), sounds.items(), strict=False
    ):
      image = _draw_spectrogram(axis, audio)
      axis.set_title(name, loc='left', fontsize=10)
    for axis in np.ravel(axes)[len(sounds) :]:
      axis.axis('off')
    for axis in axes[:, 0]:
      axis.set_ylabel('kHz (mel)')
    for axis in axes[-1]:
      axis.set_xlabel('seconds')
    figure.colorbar(image, ax=axes, label='dB below the loudest')
    figure.suptitle(title)


def _draw_spectrogram(axis: Any, audio: media.Audio) -> Any:
  """Draws one spectrogram; returns the image, whose colours a bar explains."""
  librosa = numba_cache.librosa()

  edges = librosa.mel_frequencies(_MEL_BANDS, fmin=0.0, fmax=audio.rate_hz / 2)
  power = librosa.feature.melspectrogram(
    y=audio.samples,
    sr=audio.rate_hz,
    n_fft=1024,
    hop_length=_PICTURE_HOP,
    n_mels=_MEL_BANDS,
  )
  axis.set_yticks(
    np.interp(_TICKS_HZ, edges, np.arange(_MEL_BANDS)),
    [f'{hz / 1000:g}' for hz in _TICKS_HZ],
  )
  return axis.imshow(
    librosa.power_to_db(power, ref=max(float(power.max()), 1e-10)),
    origin='lower',
    aspect='auto',
    vmin=_FLOOR_DB,
    vmax=0.0,
    cmap='magma',
    interpolation='nearest',
    extent=(0.0, audio.seconds, -0.5, _MEL_BANDS - 0.5),
  )


def beats(
  path: str | os.PathLike,
  sounds: Mapping[str, media.Audio],
  rhythms: Mapping[str, timing.Rhythm],
  *,
  title: str,
) -> None:
  """Draws onset strength and the beats of both clips over that of each.

  Args:
    path: Path of the picture.
    sounds: Sounds of a pair, as `sides` gives them.
    rhythms: Rhythms of both, by the same names.
    title: Line above both.
  """
  with _figure(path, 2, 1, (9.0, 4.2), sharex=True) as (figure, axes):
    for axis, (name, audio) in zip(axes, sounds.items(), strict=True):
      envelope = beat_scores.onset_envelope(audio)
      times = np.arange(len(envelope)) * beat_scores.HOP_SECONDS
      axis.plot(times, envelope, color='0.25', linewidth=0.9)
      top = max(float(envelope.max(initial=0.0)), 1.0)
      for (side, rhythm), low in zip(
        rhythms.items(), (1.02, 1.20), strict=True
      ):
        axis.vlines(
          rhythm.beats.times,
          low * top,
          (low + 0.16) * top,
          _COLOURS[side],
          linewidth=2,
        )
      beats = rhythms[name].beats
      axis.vlines(
        beats.times, 0.0, top, _COLOURS[name], linewidth=5.0, alpha=0.3
      )
      bpm = beats.tempo_bpm
      tempo = 'no pulse' if bpm is None else f'{bpm:.1f} bpm'
      axis.set_title(f'{name}, {tempo}', loc='left', fontsize=10)
      axis.set_ylim(0.0, 1.4 * top)
      axis.set_yticks([])
      axis.set_ylabel('onset strength')
    axes[-1].set_xlabel('seconds')
    axes[-1].set_xlim(0.0, audio.seconds)
    figure.legend(
      handles=[
        _patch(_COLOURS['reference'], 'beats of the reference'),
        _patch(_COLOURS['generated'], 'beats of the generated clip'),
      ],
      loc='upper right',
      frameon=False,
      fontsize=9,
    )
    figure.suptitle(title, x=0.02, ha='left')


def distributions(
  path: str | os.PathLike, metrics: Mapping[str, scores.Score]
) -> bool:
  """Draws values per clip, their mean and the mean of mismatched pairs.

  Args:
    path: Path of the picture.
    metrics: Scores by name; those that are no mean over clips are left out.

  Returns:
    Whether there was any to draw.
  """
  drawn = {
    name: score
    for name, score in metrics.items()
    if score.is_mean and '_shuffled' not in name
  }
  if not drawn:
    return False
  rows = math.ceil(len(drawn) / _COLUMNS)
  size = (10.0, 0.6 + 1.5 * rows)
  with _figure(path, rows, _COLUMNS, size) as (_, axes):
    cells = np.ravel(axes)
    for axis in cells[len(drawn) :]:
      axis.axis('off')
    for axis, (name, score) in zip(cells, drawn.items(), strict=False):
      values = np.sort(score.per_clip)
      # Spread by rank, so that equal values do not hide one another.
      heights = np.linspace(0.15, 0.85, len(values) + 2)[1:-1]
      axis.plot(
        values, heights, 'o', ms=4, alpha=0.55, color=_COLOURS['generated']
      )
      if score.low is not None and score.high is not None:
        axis.axvspan(
          score.low, score.high, color=_COLOURS['generated'], alpha=0.15, lw=0
        )
      axis.axvline(score.value, color=_COLOURS['generated'], lw=1.5)
      metric, slash, network = name.partition('/')
      shuffled = metrics.get(f'{metric}_shuffled{slash}{network}')
      shown = [0.0, 1.0, *values]  # One scale for all that are shares.
      if shuffled is not None:
        axis.axvline(shuffled.value, color='0.3', lw=1.2, ls='--')
        shown.append(shuffled.value)
      margin = 0.04 * (max(shown) - min(shown))
      axis.set_xlim(min(shown) - margin, max(shown) + margin)
      axis.set_title(f'{name}: {score.value:.3f}', loc='left', fontsize=9)
      axis.set_yticks([])
      axis.set_ylim(0.0, 1.0)
      axis.tick_params(labelsize=8)
  return True


def sides(pair: pairs.ClipPair) -> dict[str, media.Audio]:
  """The sounds of a pair, as long as it is, by what they are."""
  files = {'reference': pair.reference, 'generated': pair.generated}
  return {
    name: read.read_audio(clip.path, rate_hz=_RATE_HZ).fitted(
      round(pair.seconds * _RATE_HZ)
    )
    for name, clip in files.items()
  }


def _patch(colour: str, label: str) -> Any:
  from matplotlib import patches

  return patches.Patch(color=colour, label=label)


@contextlib.contextmanager
def _figure(
  path: str | os.PathLike,
  rows: int,
  columns: int,
  size: tuple[float, float],
  **options: Any,
) -> Iterator[tuple[Any, Any]]:
  """Yields a figure and writes it at the end, without a screen or pyplot."""
  from matplotlib import figure as figure_lib
  from matplotlib.backends import backend_agg

  figure = figure_lib.Figure(figsize=size, layout='constrained')
  backend_agg.FigureCanvasAgg(figure)
  yield figure, figure.subplots(rows, columns, **options)
  with atomic.replacing(path) as part:
    # No version of the library, so that equal figures are equal bytes.
    figure.savefig(part, dpi=100, format='png', metadata={'Software': None})
