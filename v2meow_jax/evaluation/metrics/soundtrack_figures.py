"""Figures of music for a real video, where nobody knows the true music."""

from collections.abc import Sequence

from jaxtyping import Float
import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import numba_cache

STEP_SECONDS = 0.5
CUT_TOLERANCE_SECONDS = 0.070
_OPENING_SECONDS = 2.0
_SAME = 0.9
_PULSE_BPM = (50.0, 200.0)
_SILENT_DB = -40.0
_FLOOR = 1e-5  # -100 dB
_NUM_SHIFTS = 200
# Krumhansl and Kessler 1982, ratings of probe tones from the tonic up.
_MAJOR = (
  6.35,
  2.23,
  3.48,
  2.33,
  4.38,
  4.09,
  2.52,
  5.19,
  2.39,
  3.66,
  2.29,
  2.88,
)
_MINOR = (
  6.33,
  2.68,
  3.52,
  5.38,
  2.60,
  3.53,
  2.54,
  4.75,
  3.98,
  2.69,
  3.34,
  3.17,
)


def pulse_clarity(audio: media.Audio) -> float:
  """Highest autocorrelation of the onset envelope at lags of 50 to 200 bpm.

  Lartillot et al. 2008, "Multi-feature modeling of pulse clarity": 1 for sound
  that repeats itself exactly, near 0 for noise and for silence.
  """
  envelope = beat_scores.onset_envelope(audio)
  centred = envelope - envelope.mean()
  n = len(centred)
  power = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
  correlation = np.fft.irfft(power)[:n] / np.arange(n, 0, -1)
  if correlation[0] <= 1e-12:
    return 0.0
  slow, fast = _PULSE_BPM
  first = round(60 / fast / beat_scores.HOP_SECONDS)
  last = round(60 / slow / beat_scores.HOP_SECONDS)
  # Long lags of a short sound average few products: they are not trusted.
  lags = correlation[first : min(last, round(0.75 * n)) + 1]
  return float(max(lags.max(initial=0.0) / correlation[0], 0.0))


def key_clarity(audio: media.Audio) -> float:
  """Best correlation of the mean chroma with the profiles of 24 keys."""
  return _key(audio)[0]


def estimated_key(audio: media.Audio) -> tuple[int, str] | None:
  """Tonic, in semitones above C, and mode of that key; None without any."""
  clarity, number, mode = _key(audio)
  return (number, mode) if clarity > 0 else None


def _key(audio: media.Audio) -> tuple[float, int, str]:
  """Correlation, tonic and mode of the best of 24 keys."""
  librosa = numba_cache.librosa()

  if not audio.samples.any():
    return 0.0, 0, ''
  chroma = librosa.feature.chroma_stft(
    y=audio.samples.astype(np.float32), sr=audio.rate_hz, n_fft=4096
  ).mean(1)
  if chroma.std() < 1e-9:
    return 0.0, 0, ''
  return max(
    (float(np.corrcoef(chroma, np.roll(profile, k))[0, 1]), k, mode)
    for mode, profile in (('major', _MAJOR), ('minor', _MINOR))
    for k in range(12)
  )


def same_openings(sounds: Sequence[media.Audio]) -> float:
  """Share of pairs whose first two seconds correlate above 0.9.

  Raises:
    ValueError: Fewer than two sounds.
  """
  if len(sounds) < 2:
    raise ValueError(f'{len(sounds)} sounds; wanted two at least.')
  openings = [s.samples[: round(_OPENING_SECONDS * s.rate_hz)] for s in sounds]
  same = [
    _correlation(a[: len(b)], b[: len(a)]) > _SAME
    for i, a in enumerate(openings)
    for b in openings[:i]
  ]
  return float(np.mean(same))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
  x, y = x - x.mean(), y - y.mean()
  norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
  return float((x * y).sum()) / norm if norm > 0 else 0.0


def loudness(audio: media.Audio) -> Float[np.ndarray, 'steps']:
  """Loudness of each half-second, in dB of full scale."""
  step = round(STEP_SECONDS * audio.rate_hz)
  count = max(1, len(audio.samples) // step)
  steps = audio.fitted(count * step).samples.reshape(count, step)
  return 20 * np.log10(np.sqrt((steps**2).mean(1)) + _FLOOR)


def steps_of(
  values: Float[np.ndarray, 'n'], rate_hz: float, num_steps: int
) -> Float[np.ndarray, 'num_steps']:
  """Means of a curve over the half-seconds of `loudness`."""
  step = round(STEP_SECONDS * rate_hz)
  padded = np.pad(values, (0, max(0, num_steps * step - len(values))), 'edge')
  return padded[: num_steps * step].reshape(num_steps, step).mean(1)


def rank_correlation(
  x: Float[np.ndarray, 'n'], y: Float[np.ndarray, 'm']
) -> float:
  """Spearman's correlation of the common start of two curves; 0 for a flat one.

  >>> rank_correlation(np.array([1.0, 2, 3, 9]), np.array([0.0, 5, 6, 7]))
  1.0
  """
  import scipy.stats

  n = min(len(x), len(y))
  x, y = x[:n], y[:n]
  if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
    return 0.0
  return round(float(scipy.stats.spearmanr(x, y).statistic), 12)


def silence(audio: media.Audio) -> float:
  """Share of half-seconds below -40 dB of full scale."""
  return float((loudness(audio) < _SILENT_DB).mean())


def cut_hits(
  events: Float[np.ndarray, 'events'],
  cuts: Float[np.ndarray, 'cuts'],
  seconds: float,
  *,
  seed: int = 0,
) -> tuple[float, float]:
  """Share of cuts with an event within 70 ms, and the same by chance.

  Args:
    events: Times of onsets and beats, in seconds.
    cuts: Times of cuts, in seconds, one at least.
    seconds: Length of the clip; by chance, all events are shifted around it.
    seed: Seed of the shifts.

  Returns:
    The share, and its mean over random shifts.
  """
  shifts = np.random.default_rng(seed).uniform(0, seconds, _NUM_SHIFTS)
  by_chance = [_hits((events + s) % seconds, cuts) for s in shifts]
  return _hits(events, cuts), float(np.mean(by_chance))


def _hits(events: np.ndarray, cuts: np.ndarray) -> float:
  if not len(events):
    return 0.0
  nearest = np.abs(cuts[:, None] - events).min(1)
  return float((nearest <= CUT_TOLERANCE_SECONDS + 1e-9).mean())


def plays_tempo(estimated_bpm: float | None, wanted_bpm: float) -> bool:
  """Whether a tempo is within 4 % of what was wanted, or of its octaves."""
  return any(
    beat_scores.tempo_agrees(estimated_bpm, wanted_bpm * octave)
    for octave in (0.5, 1.0, 2.0)
  )


def plays_key(audio: media.Audio, tonic: int, mode: str) -> bool:
  """Whether music is in a key, or in the relative one of the same notes.

  Args:
    audio: Music to judge.
    tonic: Pitch class of the wanted tonic, in semitones above C.
    mode: Wanted mode, 'major' or 'minor'.
  """
  relative = ((tonic + 9) % 12, 'minor')
  if mode == 'minor':
    relative = ((tonic + 3) % 12, 'major')
  return estimated_key(audio) in ((tonic, mode), relative)
