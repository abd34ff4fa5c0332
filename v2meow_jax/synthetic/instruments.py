"""Synthesises drums and pitched voices in numpy.

Sounds are constants of the world, like samples of a drum machine; each process
computes them once.
"""

import functools
import zlib

import numpy as np

RATE_HZ = 16000
_TOP_HZ = 7200.0


@functools.lru_cache(maxsize=None)
def drum(name: str) -> np.ndarray:
  """Synthesises a hit, read-only float32[samples] at 16 kHz, peak 1.

  Args:
    name: Name of a drum in `genres`.

  Raises:
    KeyError: There is no such drum.
  """
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  hit = _DRUMS[name](rng)
  hit = (hit / np.abs(hit).max()).astype(np.float32)
  hit.flags.writeable = False
  return hit


@functools.lru_cache(maxsize=192)
def voice(name: str, pitch: int) -> np.ndarray:
  """Synthesises a long note, read-only float32[samples] at 16 kHz, peak 1.

  Args:
    name: Name of a pitched instrument in `genres`.
    pitch: MIDI number; 69 is 440 Hz.

  Raises:
    KeyError: There is no such instrument.
  """
  note = _VOICES[name](440.0 * 2 ** ((pitch - 69) / 12))
  note = (note / np.abs(note).max()).astype(np.float32)
  note.flags.writeable = False
  return note


def note(name: str, pitch: int, seconds: float) -> np.ndarray:
  """Synthesises a note released after `seconds`, float32[samples] at 16 kHz."""
  held = voice(name, pitch)
  release = round(_RELEASE_SECONDS.get(name, 0.06) * RATE_HZ)
  length = min(len(held), round(seconds * RATE_HZ) + release)
  damped = held[:length].copy()
  release = min(release, length)
  damped[length - release :] *= np.linspace(1, 0, release, dtype=np.float32)
  return damped


def _times(seconds: float) -> np.ndarray:
  return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def _fall(times: np.ndarray, seconds: float) -> np.ndarray:
  """Exponential decay with a time constant, and a click-free start."""
  return np.exp(-times / seconds) * np.minimum(times / 0.001, 1.0)


def _filtered_noise(
  rng: np.random.Generator, num: int, low_hz: float, high_hz: float
) -> np.ndarray:
  """Synthesises white noise between two frequencies, with soft borders."""
  hz = np.fft.rfftfreq(num, 1 / RATE_HZ) + 1e-3
  gain = 1 / np.sqrt(1 + (low_hz / hz) ** 6) / np.sqrt(1 + (hz / high_hz) ** 6)
  return np.fft.irfft(np.fft.rfft(rng.normal(size=num)) * gain, num)


def _kick(
  high_hz: float, low_hz: float, seconds: float, click: float, drive: float
):
  """Returns a kick: a driven sine of falling pitch after a click."""

  def hit(rng: np.random.Generator) -> np.ndarray:
    t = _times(4 * seconds)
    hz = low_hz + (high_hz - low_hz) * np.exp(-t / 0.025)
    body = np.tanh(drive * np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ))
    knock = _filtered_noise(rng, len(t), 1500, 5000) * _fall(t, 0.006)
    return body * _fall(t, seconds) + click * knock

  return hit


def _snare(tone_hz: float, seconds: float, low_hz: float, tone: float):
  """Returns a snare: a short tone under a burst of noise."""

  def hit(rng: np.random.Generator) -> np.ndarray:
    t = _times(5 * seconds)
    noise = _filtered_noise(rng, len(t), low_hz, 7000) * _fall(t, seconds)
    hz = tone_hz * (1 + 0.5 * np.exp(-t / 0.01))
    body = np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ) * _fall(t, 0.05)
    return noise + tone * body

  return hit


def _noise_hit(low_hz: float, high_hz: float, seconds: float):
  """Returns a cymbal or a brush."""

  def hit(rng: np.random.Generator) -> np.ndarray:
    t = _times(5 * seconds)
    return _filtered_noise(rng, len(t), low_hz, high_hz) * _fall(t, seconds)

  return hit


def _clap(rng: np.random.Generator) -> np.ndarray:
  """Synthesises three claps, slightly apart."""
  t = _times(0.35)
  envelope = sum(
    np.where(t >= late, np.exp(-(t - late) / decay), 0.0)
    for late, decay in ((0, 0.006), (0.005, 0.006), (0.01, 0.045))
  )
  return _filtered_noise(rng, len(t), 900, 5000) * envelope


_DRUMS = {
  'soft_kick': _kick(110, 50, 0.12, 0.08, 1.0),
  'deep_kick': _kick(150, 46, 0.14, 0.35, 1.6),
  'club_kick': _kick(220, 50, 0.11, 0.4, 2.5),
  'kick': _kick(180, 58, 0.08, 0.6, 1.8),
  'snare': _snare(190, 0.055, 700, 1.2),
  'big_snare': _snare(170, 0.10, 500, 1.6),
  'ghost': _snare(210, 0.025, 1200, 0.4),
  'clap': _clap,
  'hat': _noise_hit(5500, 7600, 0.018),
  'open_hat': _noise_hit(5000, 7600, 0.05),
  'crash': _noise_hit(2500, 7600, 0.35),
  'ride': _noise_hit(1500, 7600, 0.045),
  'brush': _noise_hit(1500, 5000, 0.035),
}


def _partials(
  hz: float,
  t: np.ndarray,
  tilt: float,
  *,
  decay_seconds: float | None = None,
  odd: bool = False,
  stretch: float = 0.0,
  num: int = 24,
) -> np.ndarray:
  """Sums partials n of amplitude n^-tilt; higher ones decay sooner."""
  total = np.zeros(len(t))
  for n in range(1, num + 1, 2 if odd else 1):
    partial_hz = n * hz * np.sqrt(1 + stretch * n * n)
    if partial_hz > _TOP_HZ:
      break
    # Phases that depend on n spread a bright note out in time.
    wave = np.sin(2 * np.pi * ((partial_hz * t) % 1.0) + 0.7 * n * n)
    if decay_seconds is not None:
      wave *= np.exp(-t * (0.6 + 0.4 * n) / decay_seconds)
    total += wave * n**-tilt
  return total


def _attack(t: np.ndarray, seconds: float) -> np.ndarray:
  return np.minimum(t / seconds, 1.0)


def _piano(hz: float) -> np.ndarray:
  t = _times(2.0)
  decay = float(np.clip(0.9 * (262 / hz) ** 0.5, 0.35, 1.4))
  strings = _partials(hz, t, 1.1, decay_seconds=decay, stretch=3e-4, num=14)
  return strings * _attack(t, 0.003)


def _epiano(hz: float) -> np.ndarray:
  t = _times(1.8)
  tine = 1.4 * np.exp(-t / 0.25) * np.sin(2 * np.pi * ((hz * t) % 1.0))
  tone = np.sin(2 * np.pi * ((hz * t) % 1.0) + tine)
  tremolo = 1 + 0.15 * np.sin(2 * np.pi * 4.5 * t)
  return tone * tremolo * np.exp(-t / 0.8) * _attack(t, 0.004)


def _bell(hz: float) -> np.ndarray:
  t = _times(1.2)
  ratios = ((1.0, 1.0, 0.45), (2.0, 0.5, 0.25), (3.01, 0.25, 0.15))
  tones = (
    gain * np.sin(2 * np.pi * ((hz * ratio * t) % 1.0)) * np.exp(-t / decay)
    for ratio, gain, decay in ratios
  )
  return sum(tones) * _attack(t, 0.003)


def _pad(hz: float) -> np.ndarray:
  t = _times(5.0)
  # Two detuned saws beat slowly against each other.
  saws = (_partials(hz * x, t, 1.7, num=8) for x in (0.998, 1.002))
  return sum(saws) * _attack(t, 0.35)


def _strings(hz: float) -> np.ndarray:
  t = _times(2.2)
  bowed = t + 0.0006 * np.sin(2 * np.pi * 5.2 * t) / (2 * np.pi * 5.2) * 10
  return _partials(hz, bowed, 1.2, num=16) * _attack(t, 0.08)


def _organ(hz: float) -> np.ndarray:
  t = _times(1.2)
  bars = ((1, 1.0), (2, 0.7), (3, 0.5), (4, 0.35), (6, 0.2))
  tones = (
    gain * np.sin(2 * np.pi * ((hz * n * t) % 1.0) + n) for n, gain in bars
  )
  return sum(tones) * np.exp(-t / 0.35) * _attack(t, 0.004)


def _synth(hz: float) -> np.ndarray:
  t = _times(0.9)
  return _partials(hz, t, 0.9, decay_seconds=0.35, odd=True) * _attack(t, 0.003)


def _guitar(hz: float) -> np.ndarray:
  t = _times(1.2)
  string = _partials(hz, t, 1.0, decay_seconds=1.2, num=10)
  fifth = _partials(hz * 1.498, t, 1.0, decay_seconds=1.2, num=8)
  driven = np.tanh(1.8 * (string + 0.8 * fifth))
  return driven * np.exp(-t / 0.5) * _attack(t, 0.003)


def _sub(hz: float) -> np.ndarray:
  t = _times(4.5)
  tone = np.tanh(1.5 * np.sin(2 * np.pi * ((hz * t) % 1.0)))
  return tone * np.exp(-t / 1.6) * _attack(t, 0.006)


def _saw_bass(hz: float) -> np.ndarray:
  t = _times(0.8)
  return _partials(hz, t, 1.1, decay_seconds=0.5) * _attack(t, 0.003)


def _reese(hz: float) -> np.ndarray:
  t = _times(1.8)
  saws = (_partials(hz * x, t, 1.2, num=12) for x in (0.99, 1.01))
  return sum(saws) * _attack(t, 0.01)


_VOICES = {
  'piano': _piano,
  'epiano': _epiano,
  'bell': _bell,
  'pad': _pad,
  'strings': _strings,
  'organ': _organ,
  'synth': _synth,
  'guitar': _guitar,
  'sub': _sub,
  'saw_bass': _saw_bass,
  'reese': _reese,
}
_RELEASE_SECONDS = {'pad': 0.5, 'strings': 0.2, 'piano': 0.15, 'bell': 0.3}
