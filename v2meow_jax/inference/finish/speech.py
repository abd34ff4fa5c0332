"""Finds speech in a sound: which stretches somebody talks in.

Level alone does not tell talking from waves, applause or music. Five figures of
a window of 1.28 s do, all known from the literature on speech and music:

- the envelope of the band of speech (300 to 3,400 Hz) rises and falls with the
  syllables, 3 to 8 times a second (Houtgast & Steeneken 1985; the 4 Hz energy of
  Scheirer & Slaney 1997);
- a share of frames is far softer than the mean (ibid.);
- a share of frames is voiced: their autocorrelation, corrected for the window,
  has a peak at a period of a voice (Boersma 1993);
- the pitch of voiced frames glides, where notes stand still;
- most of the energy is in the band of speech.

A logistic rule weighs them. Its weights were fitted by `python -m
benchmarks.speech` on voices of eSpeak NG over noises and songs; the same command
measures it on other voices, noises and songs.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools

import numpy as np

from v2meow_jax import media

RATE_HZ = 16_000  # Rate at which sounds are looked at.
STEPS_HZ = 10
FRAMES_HZ = 100
_HOP = RATE_HZ // FRAMES_HZ
_FRAME = 640
_FFT = 2048
_BAND_HZ = (300.0, 3400.0)
_VOICED_HZ = (80.0, 4000.0)
_PERIODS = (40, 200)  # Samples: voices of 80 to 400 Hz.
_WINDOW = 128  # Frames.
_MODULATION_FFT = 256
_SYLLABLES_HZ = (3.0, 8.0)
_PERIODIC = 0.7  # Least peak of the autocorrelation of a voiced frame.
_AUDIBLE = 0.3  # Least level of a voiced frame, of the mean of its window.
_SOFT = 0.5  # Level of a soft frame, of the mean of its window.
_GLIDE_FRAMES = 3
_GLIDE_SEMITONES = (0.1, 3.0)  # In so many frames; beyond are other notes.
_WEIGHTS = np.array([4.017, -6.787, 11.645, 10.248, 8.117])
_BIAS = -27.529
_QUIETEST = 1e-3  # ours: -60 dB of full scale.
_BATCH = 2000
_NUM_FIGURES = 4  # Of a frame.
# ours: shorter bursts are not talk, and breaths do not end it.
_SHORTEST_SECONDS = 0.8
_PAUSE_SECONDS = 0.7
_MOST_SAID = 4  # Stretches in a sentence.


@dataclasses.dataclass(frozen=True)
class _Frames:
  """Figures of frames.

  Attributes:
    level: Root mean square in the band of speech.
    share: Share of the energy in that band.
    periodicity: Peak of the autocorrelation, about 0 to 1.
    pitch: Semitones above 100 Hz.
  """

  level: np.ndarray
  share: np.ndarray
  periodicity: np.ndarray
  pitch: np.ndarray


def segments(sound: media.Sound) -> list[tuple[float, float]]:
  """Start and end of each stretch of speech, in seconds.

  Args:
    sound: Sound of one channel at `RATE_HZ`.
  """
  return _segments(probabilities(sound) > 0.5)


def sentence(stretches: Sequence[Sequence[float]]) -> str:
  """Says how much speech there is, and where.

  >>> sentence([(1.0, 2.5), (4.0, 8.0)])
  '5.5 s of speech, at 1-2.5 and 4-8 s'

  Args:
    stretches: Start and end of each stretch, in seconds.
  """
  if not stretches:
    return 'no speech'
  total = sum(end - start for start, end in stretches)
  where = [f'{start:g}-{end:g}' for start, end in stretches]
  if len(where) > _MOST_SAID:
    others = f'{len(where) - _MOST_SAID + 1} more up to {stretches[-1][1]:g}'
    where[_MOST_SAID - 1 :] = [others]
  *first, last = where
  shown = ' and '.join([', '.join(first), last] if first else [last])
  return f'{total:.3g} s of speech, at {shown} s'


def probabilities(sound: media.Sound) -> np.ndarray:
  """How likely somebody talks, every tenth of a second: float64[steps]."""
  found = [np.zeros(0)]
  for seen in _figures(sound):
    # Not a product of matrices, which rounds otherwise for other numbers of rows.
    logits = (seen[:, 1:] * _WEIGHTS).sum(axis=1) + _BIAS
    talks = np.where(seen[:, 0] > _QUIETEST, 1 / (1 + np.exp(-logits)), 0.0)
    found.append(talks)
  return np.concatenate(found)


def features(sound: media.Sound) -> np.ndarray:
  """Level and the five figures of the window about every tenth of a second.

  Args:
    sound: Sound of one channel at `RATE_HZ`.

  Returns:
    float64[steps, 6].

  Raises:
    ValueError: It has another rate, or several channels.
  """
  return np.concatenate([np.zeros((0, 6)), *_figures(sound)])


def _figures(sound: media.Sound) -> Iterator[np.ndarray]:
  """`features`, some steps after the others."""
  if (sound.rate_hz, sound.num_channels) != (RATE_HZ, 1):
    raise ValueError(
      f'the sound has {sound.num_channels} channels at {sound.rate_hz} Hz;'
      f' wanted one at {RATE_HZ} Hz.'
    )
  around = np.zeros((_NUM_FIGURES, _WINDOW // 2))
  held, num_before, step = around, 0, FRAMES_HZ // STEPS_HZ
  for some in itertools.chain(_frame_figures(sound), [around]):
    held = np.concatenate([held, some], axis=1)
    # The window that begins where the sound ends is none of it.
    num = held.shape[1] - _WINDOW + (some is not around)
    starts = np.arange(-num_before % step, num, step)
    for i in range(0, len(starts), _BATCH):
      yield _window_figures(_Frames(*held), starts[i : i + _BATCH])
    dropped = max(0, held.shape[1] - _WINDOW + 1)
    held, num_before = held[:, dropped:], num_before + dropped


def _frame_figures(sound: media.Sound) -> Iterator[np.ndarray]:
  """Fields of `_Frames` about every hundredth of a second, in batches."""
  window = np.hanning(_FRAME)
  own = np.fft.irfft(np.abs(np.fft.rfft(window, _FFT)) ** 2)[: _PERIODS[1] + 1]
  hertz = np.fft.rfftfreq(_FFT, 1 / RATE_HZ)
  in_band, can_voice = (
    (hertz >= low) & (hertz <= high) for low, high in (_BAND_HZ, _VOICED_HZ)
  )
  low, high = _PERIODS
  for some in _framed(sound):
    power = np.abs(np.fft.rfft(some * window, _FFT)) ** 2
    band = power[:, in_band].sum(axis=1)
    lags = np.fft.irfft(power * can_voice, _FFT)[:, : high + 1]
    lags = lags / np.maximum(lags[:, :1], 1e-12) / (own / own[0])
    period = low + np.argmax(lags[:, low:], axis=1)
    yield np.stack(
      [
        np.sqrt(2 * band / _FFT / _FRAME),
        band / np.maximum(power.sum(axis=1), 1e-12),
        lags[np.arange(len(lags)), period],
        12 * np.log2(RATE_HZ / period / 100.0),
      ]
    )


def _framed(sound: media.Sound) -> Iterator[np.ndarray]:
  """Frames of the samples, the first about sample 0: float[frames, samples]."""
  held = np.zeros(_FRAME // 2, np.float32)
  silence = np.zeros((1, _FRAME // 2), np.float32)
  if not sound.num_samples:
    return
  for piece in itertools.chain(sound.pieces(), [silence]):
    held = np.concatenate([held, piece[0]])
    if len(held) >= _FRAME:
      views = np.lib.stride_tricks.sliding_window_view(held, _FRAME)[::_HOP]
      for i in range(0, len(views), _BATCH):
        yield views[i : i + _BATCH]
      held = held[len(views) * _HOP :]


def _window_figures(frames: _Frames, starts: np.ndarray) -> np.ndarray:
  """Level and the five figures of some windows."""
  places = starts[:, None] + np.arange(_WINDOW)
  level = frames.level[places]
  mean = level.mean(axis=1, keepdims=True)
  relative = level / np.maximum(mean, 1e-6)
  spectrum = np.fft.rfft((relative - 1) * np.hanning(_WINDOW), _MODULATION_FFT)
  hertz = np.fft.rfftfreq(_MODULATION_FFT, 1 / FRAMES_HZ)
  is_syllable = (hertz >= _SYLLABLES_HZ[0]) & (hertz <= _SYLLABLES_HZ[1])
  syllables = (np.abs(spectrum[:, is_syllable]) ** 2).sum(axis=1)
  voiced = (frames.periodicity[places] > _PERIODIC) & (relative > _AUDIBLE)
  pitch = frames.pitch[places]
  moved = np.abs(pitch[:, _GLIDE_FRAMES:] - pitch[:, :-_GLIDE_FRAMES])
  goes_on = voiced[:, _GLIDE_FRAMES:] & voiced[:, :-_GLIDE_FRAMES]
  goes_on &= moved < _GLIDE_SEMITONES[1]
  glides = goes_on & (moved > _GLIDE_SEMITONES[0])
  weights = level / np.maximum(level.sum(axis=1, keepdims=True), 1e-9)
  return np.stack(
    [
      mean[:, 0],
      np.log10(syllables + 1e-3),
      (relative < _SOFT).mean(axis=1),
      voiced.mean(axis=1),
      glides.sum(axis=1) / np.maximum(goes_on.sum(axis=1), 1),
      (frames.share[places] * weights).sum(axis=1),
    ],
    axis=1,
  )


def _segments(talks: np.ndarray) -> list[tuple[float, float]]:
  """Stretches of steps, without bursts, and with their short pauses."""
  borders = np.flatnonzero(np.diff(np.pad(talks.astype(int), 1)))
  runs: list[list[int]] = []
  for start, stop in borders.reshape(-1, 2).tolist():
    if runs and start - runs[-1][1] < _PAUSE_SECONDS * STEPS_HZ:
      runs[-1][1] = stop
    else:
      runs.append([start, stop])
  return [
    (start / STEPS_HZ, stop / STEPS_HZ)
    for start, stop in runs
    if stop - start >= _SHORTEST_SECONDS * STEPS_HZ
  ]
