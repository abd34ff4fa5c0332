"""Tracks tempo and beats of music, and compares them with the truth."""

import dataclasses

from jaxtyping import Float
import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation.metrics import numba_cache

HOP_SECONDS = 0.010
# Wider than the 60-180 bpm of interest, so that a tempo at the edge is a peak
# of the curve and not its end.
MIN_BPM = 50.0
MAX_BPM = 210.0
TEMPO_TOLERANCE = 0.04  # Gouyon et al. 2006, "accuracy 1"
OCTAVES = (2.0, 1 / 2, 3.0, 1 / 3)  # idem, "accuracy 2"
BEAT_TOLERANCE_SECONDS = 0.070  # mir_eval and MIREX
# Centre and width (octaves) of the log-normal preference among multiples of
# one pulse: Ellis 2007 has 120 bpm and 0.9.
_PRIOR_BPM = 115.0
_PRIOR_OCTAVES = 0.9
_TIGHTNESS = 300.0
_FFT = 512
_WINDOW_SECONDS = 0.032
_STRAIGHT_SECONDS = 0.020  # Half of the beats are this close to their line.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beats:
  """Tempo and beats of one clip.

  Attributes:
    tempo_bpm: Beats a minute; None without beats.
    times: Beat times in seconds, rising, float64[num_beats].
  """

  tempo_bpm: float | None
  times: np.ndarray


def onset_envelope(audio: media.Audio) -> Float[np.ndarray, 'frames']:
  """Computes onset strength every 10 ms: the rise of a log-mel spectrogram.

  Positive differences of 40 mel bands in dB (floor 60 dB under the peak), the
  mean over bands, less its moving mean of a second, in standard deviations:
  the front end of Ellis, "Beat tracking by dynamic programming" (2007).

  Args:
    audio: Mono sound at 8 kHz or more.

  Returns:
    One value per hop, >= 0; all zero for silence.
  """
  librosa = numba_cache.librosa()

  hop = round(HOP_SECONDS * audio.rate_hz)
  frames = len(audio.samples) // hop + 1
  if not np.any(audio.samples):
    return np.zeros(frames)
  # Silence after it, which librosa adds as well, for its warning alone.
  missing = max(0, _FFT - len(audio.samples))
  power = librosa.feature.melspectrogram(
    y=np.pad(np.asarray(audio.samples, np.float32), (0, missing)),
    sr=audio.rate_hz,
    n_fft=_FFT,
    win_length=round(_WINDOW_SECONDS * audio.rate_hz),
    hop_length=hop,
    n_mels=40,
    fmin=30.0,
    fmax=min(8_000.0, audio.rate_hz / 2),
  )
  power = power[:, :frames]
  level = librosa.power_to_db(power, ref=np.max, top_db=60.0)
  rise = np.maximum(0.0, np.diff(level, axis=1, prepend=level[:, :1]))
  strength = rise.mean(axis=0)
  window = round(1.0 / HOP_SECONDS) | 1
  # Edges are padded by reflection, so that a first beat is not a trend.
  padded = np.pad(strength, window // 2, mode='reflect')
  trend = np.convolve(padded, np.ones(window) / window, mode='valid')
  strength = np.maximum(0.0, strength - trend)
  deviation = strength.std()
  return strength / deviation if deviation > 0 else strength


def tempo_curve(
  envelope: Float[np.ndarray, 'frames'], bpm: Float[np.ndarray, 'tempi']
) -> Float[np.ndarray, 'tempi']:
  """Computes how well each tempo explains an onset envelope; >= 0.

  The product of the autocorrelation at the first eight multiples of the period
  and of the spectrum at the first three multiples of the frequency: the first
  also peaks at divisors of the tempo and the second at multiples, so the
  product keeps the tempo (Peeters 2007, "Template-based estimation of
  time-varying tempo").
  """
  n = len(envelope)
  centred = envelope - envelope.mean()
  spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
  acf = np.fft.irfft(spectrum)[:n] / np.arange(n, 0, -1)
  acf = acf / max(acf[0], 1e-12)
  period = 60.0 / bpm / HOP_SECONDS
  multiples = np.arange(1, 9)
  lags = period[:, None] * multiples
  # Long lags average few products: they are not trusted.
  inside = lags < 0.75 * n
  at_lags = np.interp(lags, np.arange(n), acf) * inside
  comb = np.maximum(0.0, at_lags.sum(axis=1) / np.maximum(inside.sum(1), 1))
  # Padded, so that bins lie far closer than neighbouring tempi.
  size = 32 * n
  lines = np.abs(np.fft.rfft(centred * np.hanning(n), size))
  bins_per_bpm = HOP_SECONDS * size / 60.0
  harmonics = sum(
    np.interp(k * bpm * bins_per_bpm, np.arange(len(lines)), lines) / k
    for k in (1, 2, 3)
  )
  return comb * harmonics / n


def track(audio: media.Audio) -> Beats:
  """Estimates tempo and beats of one clip, from its sound alone.

  Tempo: the best of a fine grid on `tempo_curve` times a wide log-normal
  preference. Beats: the path through the onset envelope that trades onset
  strength against even spacing (dynamic programming, Ellis 2007). Where the
  beats lie on a line (robust: Theil-Sen), its slope is the tempo and the line
  gives the times of the beats to the ends of the clip.

  Args:
    audio: Music of a few seconds or more.

  Returns:
    The tempo and the beats; none of either for silence.
  """
  envelope = onset_envelope(audio)
  if len(envelope) * HOP_SECONDS < 2.0 or not envelope.any():
    return Beats(tempo_bpm=None, times=np.zeros(0))
  bpm = np.geomspace(MIN_BPM, MAX_BPM, 600)
  octaves = np.log2(bpm / _PRIOR_BPM) / _PRIOR_OCTAVES
  curve = tempo_curve(envelope, bpm) * np.exp(-0.5 * octaves**2)
  if curve.max() <= 0:
    return Beats(tempo_bpm=None, times=np.zeros(0))
  tempo_bpm = float(bpm[curve.argmax()])
  period = 60.0 / tempo_bpm
  times = _best_path(envelope, period / HOP_SECONDS) * HOP_SECONDS
  return _straighten(times, period, audio.seconds)


def _best_path(
  envelope: Float[np.ndarray, 'frames'], period: float
) -> Float[np.ndarray, 'beats']:
  """Finds the frames of beats: the best chain of steps near `period` frames."""
  reach = np.arange(round(2 * period), round(period / 2) - 1, -1)
  cost = _TIGHTNESS * np.log(reach / period) ** 2
  # Smoothing to a tenth of a beat lets a step be a fraction of a frame off.
  width = np.arange(-round(period), round(period) + 1)
  kernel = np.exp(-0.5 * (width * 32.0 / period) ** 2)
  local = np.convolve(envelope, kernel, mode='same')
  score = local.copy()
  previous = np.full(len(local), -1)
  for t in range(reach[-1], len(local)):
    start = t - reach
    candidates = np.where(start >= 0, score[np.maximum(start, 0)], 0.0) - cost
    best = candidates.argmax()
    if candidates[best] > 0 and start[best] >= 0:
      score[t] += candidates[best]
      previous[t] = start[best]
  # The chain ends at the best frame of the last period.
  tail = len(score) - min(len(score), round(period))
  beats = [tail + int(score[tail:].argmax())]
  while previous[beats[-1]] >= 0:
    beats.append(int(previous[beats[-1]]))
  return np.array(beats[::-1], np.float64)


def _straighten(times: np.ndarray, period: float, seconds: float) -> Beats:
  """Moves beats onto a robust line if they fit one."""
  import scipy.stats

  if len(times) < 4:
    return Beats(tempo_bpm=60.0 / period, times=times)
  steps = np.maximum(1, np.round(np.diff(times) / period))
  index = np.concatenate([[0], steps]).cumsum()
  line = np.asarray(scipy.stats.theilslopes(times, index))
  slope, intercept = float(line[0]), float(line[1])
  residual = np.abs(times - (intercept + slope * index))
  if np.median(residual) >= _STRAIGHT_SECONDS:
    return Beats(tempo_bpm=60.0 / period, times=times)
  # A beat just before the start is moved to the start.
  first = np.ceil((-HOP_SECONDS / 2 - intercept) / slope)
  last = np.floor((seconds - intercept) / slope)
  times = intercept + slope * np.arange(first, last + 1)
  times = np.maximum(0.0, times[times < seconds])
  return Beats(tempo_bpm=60.0 / slope, times=times)


def tempo_agrees(estimated_bpm: float | None, true_bpm: float) -> bool:
  """Checks whether a tempo is within 4 % of the truth; None never is.

  >>> tempo_agrees(124.0, 120.0), tempo_agrees(60.0, 120.0)
  (True, False)
  """
  if estimated_bpm is None:
    return False
  return abs(estimated_bpm - true_bpm) <= TEMPO_TOLERANCE * true_bpm


def tempo_octave(estimated_bpm: float | None, true_bpm: float) -> bool:
  """Checks for an octave error: 2, 1/2, 3 or 1/3 of the true tempo, to 4 %.

  >>> tempo_octave(60.0, 120.0), tempo_octave(120.0, 120.0)
  (True, False)
  """
  return any(tempo_agrees(estimated_bpm, k * true_bpm) for k in OCTAVES)


def tempo_error(first_bpm: float | None, second_bpm: float | None) -> float:
  """Measures the distance of two tempi in octaves, at most 1.

  >>> tempo_error(120.0, 60.0), tempo_error(120.0, 120.0)
  (1.0, 0.0)

  Args:
    first_bpm: Tempo of one clip; None without beats.
    second_bpm: Tempo of the other clip; the order makes no difference.

  Returns:
    |log2 of their ratio|; 1 where one clip has no beats, 0 where neither has.
  """
  if first_bpm is None or second_bpm is None:
    return float(first_bpm is not second_bpm)
  return min(1.0, float(abs(np.log2(first_bpm / second_bpm))))


def beat_f(
  estimated: Float[np.ndarray, 'n'], reference: Float[np.ndarray, 'm']
) -> float:
  """Computes the F-measure of beats, or onsets, within 70 ms.

  By `mir_eval.beat.f_measure`. Nothing is trimmed from the start:
  `mir_eval.beat.evaluate` drops five seconds, which would be half of a clip.

  Args:
    estimated: Times in seconds, rising.
    reference: True times in seconds, rising.

  Returns:
    F-measure in [0, 1]; 0 when either side has no beats.
  """
  import mir_eval

  if len(estimated) == 0 or len(reference) == 0:
    return 0.0
  return float(
    mir_eval.beat.f_measure(
      np.asarray(reference, np.float64),
      np.asarray(estimated, np.float64),
      f_measure_threshold=BEAT_TOLERANCE_SECONDS,
    )
  )
