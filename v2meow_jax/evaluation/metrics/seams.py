"""Scores seams: whether a sound changes more where windows meet than elsewhere.

At each moment two changes are measured: spectral flux, the rise of the logarithmic
spectrum from one short frame to the next, and the change of loudness. Each border
is ranked among all moments that are no border: without seams the ranks are those
of any moment, 0.5 on average.
"""

from collections.abc import Sequence

import numpy as np

from v2meow_jax.evaluation.metrics import bootstrap

_FRAME_SECONDS = 0.02  # Frames overlap by half: a click is in the midst of one.
_HOP_SECONDS = _FRAME_SECONDS / 2
# A border is anywhere within this of its time: the codec overlaps frames of 40 ms.
_NEAR_SECONDS = 0.06
_FRAMES_AT_ONCE = 4096
_FLOOR = 1e-4  # -80 dB of full scale, below which nothing is heard.


def changes(samples: np.ndarray, rate_hz: int) -> dict[str, np.ndarray]:
  """Changes from each short frame to the next.

  Args:
    samples: Sound, float[samples].
    rate_hz: Sample rate, in Hz.

  Returns:
    'flux' and 'loudness', in decibels, float64[n]; change i is that from the
    frame that ends at i + 2 hops of 10 ms to the one that begins there.
  """
  hop = round(_HOP_SECONDS * rate_hz)
  framed = np.lib.stride_tricks.sliding_window_view(
    np.asarray(samples, np.float32), 2 * hop
  )[::hop]
  flux, loudness = [], []
  for first in range(0, max(len(framed) - 2, 0), _FRAMES_AT_ONCE):
    some = framed[first : first + _FRAMES_AT_ONCE + 2]
    spectra = np.abs(np.fft.rfft(some * np.hanning(2 * hop), axis=1)) / hop
    levels = 20 * np.log10(spectra + _FLOOR)
    loud = 20 * np.log10(np.sqrt((some**2).mean(1)) + _FLOOR)
    flux.append(np.maximum(levels[2:] - levels[:-2], 0).mean(1))
    loudness.append(np.abs(loud[2:] - loud[:-2]))
  return {'flux': np.concatenate(flux), 'loudness': np.concatenate(loudness)}


def ranks(
  change: np.ndarray, borders: Sequence[float], near: Sequence[float] = ()
) -> np.ndarray:
  """Shares of other moments at which a sound changes less than at borders.

  Args:
    change: Changes as of `changes`.
    borders: Times of the borders, in seconds.
    near: Times that are no borders and not compared with either, in seconds.

  Returns:
    float64[borders], from 0 to 1; equal ones count half.
  """
  reach = round(_NEAR_SECONDS / _HOP_SECONDS)
  largest = np.max(
    np.lib.stride_tricks.sliding_window_view(
      np.pad(change, reach, mode='edge'), 2 * reach + 1
    ),
    axis=1,
  )

  def at(times: Sequence[float]) -> np.ndarray:
    index = np.round(np.asarray(times, float) / _HOP_SECONDS).astype(int) - 2
    return index[(index >= 0) & (index < len(change))]

  is_other = np.ones(len(change), bool)
  for place in at([*borders, *near]):
    is_other[max(0, place - 2 * reach) : place + 2 * reach + 1] = False
  others = np.sort(largest[is_other])
  values = largest[at(borders)]
  below = np.searchsorted(others, values, 'left')
  not_above = np.searchsorted(others, values, 'right')
  return (below + not_above) / (2 * max(1, len(others)))


def seams(
  samples: np.ndarray,
  rate_hz: int,
  borders: Sequence[float],
  *,
  near: Sequence[float] = (),
  seed: int = 0,
) -> dict[str, bootstrap.Interval]:
  """Mean ranks of the changes at borders among those elsewhere, with intervals.

  Args:
    samples: Sound, float[samples].
    rate_hz: Sample rate, in Hz.
    borders: Times at which windows meet, in seconds.
    near: Other times to leave out, in seconds.
    seed: Seed of the resampling.

  Returns:
    'flux' and 'loudness'; above 0.5 where borders can be told.
  """
  return {
    name: bootstrap.mean_interval(ranks(change, borders, near), seed=seed)
    for name, change in changes(samples, rate_hz).items()
  }
