"""Finds tempo and phase of a clip's accents: beats as a function of time."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses

import numpy as np

from v2meow_jax.extractors.planning import analysis as analysis_lib

# Tempi to choose among: a fine grid, in beats a minute.
TEMPI = np.geomspace(54.0, 190.0, 180)

_WINDOW_SECONDS = 12.0
_HOP_SECONDS = 6.0
# Share of the accents' strength that a pulse gathers on its beats: drawn scenes
# that pulse have 0.64 to 0.9, films without a pulse 0.1 to 0.5. A few accents
# gather by chance (Rayleigh): the best tempo of n at random has 1.6 to 2 over
# the root of n.
_IS_PULSE = 0.55
_BY_CHANCE = 2.0
_STEPS_OF_ACCENT = 4.4  # Steps that one accent lasts, as smoothed as it is.
_REFINED_SECONDS = 0.08
# Weight of that share against the logarithm of the prior.
EVIDENCE = 8.0
_SLOWER_LEVEL = 0.8  # Part of a pulse that belongs to a slower one inside it.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
  """Beats as a rising function of time, straight between its nodes.

  Attributes:
    times: Times of the nodes, in seconds, rising, float64[nodes].
    beats: Position in beats at the nodes, rising; whole numbers are beats.
    tempo_bpm: Tempo outside the nodes, in beats a minute.
  """

  times: np.ndarray
  beats: np.ndarray
  tempo_bpm: float

  def beats_at(self, times: np.ndarray) -> np.ndarray:
    """Positions in beats at times in seconds."""
    return _extended(
      np.asarray(times), self.times, self.beats, self.tempo_bpm / 60
    )

  def times_at(self, beats: np.ndarray) -> np.ndarray:
    """Times in seconds of positions in beats."""
    return _extended(
      np.asarray(beats), self.beats, self.times, 60 / self.tempo_bpm
    )


def _extended(
  x: np.ndarray, nodes: np.ndarray, values: np.ndarray, slope: float
) -> np.ndarray:
  inside = np.interp(x, nodes, values)
  before = np.minimum(x - nodes[0], 0) * slope
  return inside + before + np.maximum(x - nodes[-1], 0) * slope


def plain(tempo_bpm: float, phase_beats: float = 0.0) -> Grid:
  """A constant tempo; at time 0 the position is `phase_beats`."""
  return Grid(
    times=np.zeros(1), beats=np.array([phase_beats]), tempo_bpm=tempo_bpm
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pulse:
  """The beats that most accents fall on.

  Attributes:
    grid: Beats as a function of time.
    share: Share of the accents' strength on them, from 0 to 1.
    is_own: Whether it is so large that the picture has a pulse of its own.
  """

  grid: Grid
  share: float
  is_own: bool


def alignment(accents: np.ndarray, tempi: np.ndarray) -> np.ndarray:
  """Share of the accents' strength that each tempo gathers at one phase.

  The magnitude of the Fourier transform of the accents at the frequency of the
  beat, over their sum; a window of some seconds at a time, so that a tempo may
  drift (a "Fourier tempogram": Grosche and Mueller 2011).

  Args:
    accents: Strength of accents at `analysis.RATE_HZ`, >= 0.
    tempi: Tempi in beats a minute.

  Returns:
    float64[tempi], from 0 to 1; 0 without accents.
  """
  spectra, sums, _ = _spectra(accents, tempi)
  return np.abs(spectra).sum(1) / max(float(sums.sum()), 1e-9)


def _spectra(
  accents: np.ndarray, tempi: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Fourier transforms of windows, [tempi, windows]; their sums; middles."""
  rate_hz = analysis_lib.RATE_HZ
  width = min(round(_WINDOW_SECONDS * rate_hz), len(accents))
  hop = _HOP_SECONDS * rate_hz
  count = 1 + int(np.ceil((len(accents) - width) / hop))
  starts = np.linspace(0, len(accents) - width, count).round().astype(int)
  # Soft ends, yet the first and the last beat of a clip are seen.
  shape = 0.2 + 0.8 * np.sin(np.pi * (np.arange(width) + 0.5) / width)
  windows = accents[starts + np.arange(width)[:, None]] * shape[:, None]
  turns_hz = -2j * np.pi * tempi[:, None] / 60
  spectra = np.exp(turns_hz * (np.arange(width) + 0.5) / rate_hz) @ windows
  spectra *= np.exp(turns_hz * starts / rate_hz)
  return spectra, windows.sum(0), (starts + width / 2) / rate_hz


def find(
  accents: np.ndarray,
  log_prior: Callable[[np.ndarray], np.ndarray],
  tempo_bpm: float | None = None,
) -> list[Pulse]:
  """Candidates for the pulse of a clip, the best first.

  A tempo is the better the more of the accents fall on its beats, and the
  likelier it is by the prior; what a slower pulse gathers as well does not
  count for a faster one, so that not all subdivisions of a beat are beats.

  Args:
    accents: Strength of accents at `analysis.RATE_HZ`, >= 0.
    log_prior: Function from tempi to the logarithms of their probability.
    tempo_bpm: Tempo to keep to, in beats a minute; None: any.

  Returns:
    One pulse or more, each at a local maximum of what is said above; one alone
    when the tempo is given or the picture has a pulse of its own.
  """
  if tempo_bpm is not None:
    return [_pulse(accents, tempo_bpm, is_own=False)]
  if not accents.any():
    best = TEMPI[np.argmax(log_prior(TEMPI))]
    return [Pulse(grid=plain(round(float(best), 1)), share=0.0, is_own=False)]
  aligned = alignment(accents, TEMPI)
  # A picture that pulses shows it; a prior of moods must not halve its tempo.
  own = aligned - _slower(accents, aligned)
  weak = EVIDENCE * own + log_prior(TEMPI)
  strongest = int(np.argmax(own))
  num_accents = accents.sum() ** 2 / (accents**2).sum() / _STEPS_OF_ACCENT
  chance = _BY_CHANCE / np.sqrt(num_accents)
  if aligned[strongest] > max(_IS_PULSE, chance):
    return [_pulse(accents, float(TEMPI[strongest]), is_own=True)]
  inner = np.pad(weak, 1, constant_values=-np.inf)
  peaks = np.flatnonzero((weak >= inner[:-2]) & (weak >= inner[2:]))
  peaks = peaks[np.argsort(-weak[peaks], kind='stable')]
  kept = [i for i in peaks if weak[i] > weak[peaks[0]] - 1.5]
  return [_pulse(accents, float(TEMPI[i]), is_own=False) for i in kept[:6]]


def _slower(accents: np.ndarray, aligned: np.ndarray) -> np.ndarray:
  """Part of each tempo's alignment that is that of its half or third."""
  parts = [
    np.where(TEMPI / n >= TEMPI[0], alignment(accents, TEMPI / n), 0)
    for n in (2, 3)
  ]
  return _SLOWER_LEVEL * np.minimum(np.maximum(*parts), aligned)


def _pulse(accents: np.ndarray, tempo_bpm: float, *, is_own: bool) -> Pulse:
  """The phase of a tempo over time; an own pulse is followed where it drifts."""
  if is_own:
    near = tempo_bpm * np.linspace(0.985, 1.015, 121)
    harmonics = sum(
      np.abs(_spectra(accents, near * k)[0]).sum(1) / k for k in (1, 2, 3)
    )
    tempo_bpm = float(near[np.argmax(harmonics)])
  spectra, sums, middles = _spectra(accents, np.array([tempo_bpm]))
  share = float(np.abs(spectra).sum() / max(sums.sum(), 1e-9))
  phases = -np.angle(spectra[0]) / (2 * np.pi)  # Beats from 0 to the first.
  clear = np.abs(spectra[0]) > 0.5 * _IS_PULSE * np.maximum(sums, 1e-9)
  is_own = is_own and bool(clear.any())
  if is_own:
    phases = np.unwrap(phases[clear], period=1.0)
    middles = middles[clear]
    beats = middles * tempo_bpm / 60 - phases
    if len(middles) > 1:
      # A drift goes on to the ends of the clip.
      ends = np.array([0.0, len(accents) / analysis_lib.RATE_HZ])
      slopes = (np.diff(beats) / np.diff(middles))[[0, -1]]
      beyond = beats[[0, -1]] + slopes * (ends - middles[[0, -1]])
      middles = np.concatenate([ends[:1], middles, ends[1:]])
      beats = np.concatenate([beyond[:1], beats, beyond[1:]])
    grid = Grid(times=middles, beats=beats, tempo_bpm=tempo_bpm)
  else:
    whole = spectra[0].sum()
    phase = -np.angle(whole) / (2 * np.pi) if abs(whole) > 0 else 0.0
    grid = plain(tempo_bpm, -phase % 1)
  return Pulse(grid=_refined(grid, accents), share=share, is_own=is_own)


def _refined(grid: Grid, accents: np.ndarray) -> Grid:
  """Shifts a grid to where accents peak: most fall off slowly after they rise."""
  if not accents.any():
    return grid
  times = (np.arange(len(accents)) + 0.5) / analysis_lib.RATE_HZ
  first, last = grid.beats_at(times[[0, -1]])
  beats = grid.times_at(np.arange(np.ceil(first), np.floor(last) + 1))
  shifts = np.arange(-_REFINED_SECONDS, _REFINED_SECONDS + 1e-9, 0.005)
  heights = [np.interp(beats + s, times, accents).sum() for s in shifts]
  shift = float(shifts[np.argmax(heights)])
  return dataclasses.replace(
    grid, beats=grid.beats - shift * grid.tempo_bpm / 60
  )
