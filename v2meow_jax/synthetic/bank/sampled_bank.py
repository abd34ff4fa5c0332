"""Renders notes of a SoundFont, each once, so that songs only add them up."""

from __future__ import annotations

import collections
import os

import numpy as np
import soxr

from v2meow_jax.synthetic.bank import orchestra
from v2meow_jax.synthetic.bank import soundfont

# Few strengths and lengths, so that notes are found again.
_STRENGTHS = (30, 60, 85, 105, 120)
_LENGTHS = (1.0, 3.0, 10.0)
_DRUM_SECONDS = 3.0
_MAX_CACHE_BYTES = 400 * 2**20
# FluidSynth's and the EMU chips' idea of a decibel, for which banks are voiced.
_ATTENUATION = 0.4
_DECAY_DB = 100.0
_SHORTEST_RELEASE, _LONGEST_RELEASE = 0.05, 1.5
_NO_FILTER_CENTS = 13_000
_READ_HZ = 400.0, 1e6


class SampledBank:
  """Notes of a SoundFont at one sample rate.

  Attributes:
    name: Name of the file.
    rate_hz: Sample rate of the notes.
  """

  def __init__(self, path: str | os.PathLike, rate_hz: int):
    """Opens a bank; see `soundfont.SoundFont`."""
    self.name = os.path.basename(os.fspath(path))
    self.rate_hz = rate_hz
    self._font = soundfont.SoundFont(path)
    self._presets = set(self._font.presets)
    self._notes: collections.OrderedDict = collections.OrderedDict()
    self._num_bytes = 0

  def note(
    self, instrument: str, pitch: int, strength: float, seconds: float
  ) -> tuple[np.ndarray, float]:
    """A key that is held, and how many seconds it takes to fall silent after.

    Args:
      instrument: Name in `orchestra.INSTRUMENTS`.
      pitch: MIDI number.
      strength: Strength of the note, from 0 to 1.
      seconds: Time that it is held.

    Returns:
      float32[samples] of at least `seconds` unless the sound ends before, not to
      be written to; and the seconds of its release.
    """
    program = orchestra.INSTRUMENTS[instrument].program
    length = next((x for x in _LENGTHS if x >= seconds), _LENGTHS[-1])
    return self._rendered(self._preset(0, program), pitch, strength, length)

  def drum(self, kit: str, key: int, strength: float) -> np.ndarray:
    """A hit of a drum, float32[samples], not to be written to.

    Args:
      kit: Name in `orchestra.KITS`.
      key: MIDI number of the drum.
      strength: Strength of the hit, from 0 to 1.
    """
    preset = self._preset(128, orchestra.KITS[kit])
    return self._rendered(preset, key, strength, _DRUM_SECONDS)[0]

  def _preset(self, bank: int, program: int) -> tuple[int, int]:
    """The preset, or the first of its bank where a small bank has it not."""
    if (bank, program) in self._presets:
      return bank, program
    return next((p for p in sorted(self._presets) if p[0] == bank), (bank, 0))

  def _rendered(
    self, preset: tuple[int, int], key: int, strength: float, seconds: float
  ) -> tuple[np.ndarray, float]:
    velocity = min(_STRENGTHS, key=lambda v: abs(v - 127 * strength))
    wanted = (preset, key, velocity, seconds)
    if wanted not in self._notes:
      zones = self._font.zones(*preset, key, velocity)
      self._notes[wanted] = self._sum(zones, key, seconds)
      self._num_bytes += self._notes[wanted][0].nbytes
      while self._num_bytes > _MAX_CACHE_BYTES and len(self._notes) > 1:
        _, (wave, _) = self._notes.popitem(last=False)
        self._num_bytes -= wave.nbytes
    self._notes.move_to_end(wanted)
    return self._notes[wanted]

  def _sum(
    self, zones: list[soundfont.SampleZone], key: int, seconds: float
  ) -> tuple[np.ndarray, float]:
    waves = [_wave(zone, key, seconds, self.rate_hz) for zone in zones]
    total = np.zeros(max((len(w) for w in waves), default=0), np.float32)
    for wave in waves:
      total[: len(wave)] += wave
    total.flags.writeable = False
    releases = [_seconds(z.generators[soundfont.RELEASE]) for z in zones]
    # A fall by 60 dB, as `orchestra.released` means it.
    release = 0.6 * max(releases, default=0.0)
    return total, float(np.clip(release, _SHORTEST_RELEASE, _LONGEST_RELEASE))


def _seconds(timecents: int) -> float:
  return 2.0 ** (timecents / 1200)


def _wave(
  zone: soundfont.SampleZone, key: int, seconds: float, rate_hz: int
) -> np.ndarray:
  """A zone at the pitch of a key, with its envelopes and its filter."""
  amount = zone.generators
  semitones = (key - zone.pitch) * amount[soundfont.SCALE_TUNING] / 100
  semitones += amount.get(soundfont.COARSE_TUNE, 0)
  semitones += amount.get(soundfont.FINE_TUNE, 0) / 100
  # No real note needs more, and a damaged bank may ask for anything.
  read_hz = float(np.clip(zone.rate_hz * 2.0 ** (semitones / 12), *_READ_HZ))
  wave = zone.samples
  num = int(np.ceil(seconds * read_hz))
  if zone.loop is not None and num > zone.loop[1]:
    start, end = zone.loop
    at = np.arange(num)
    wave = wave[np.where(at < end, at, start + (at - start) % (end - start))]
  wave = wave[:num]
  if not len(wave):
    return np.zeros(0, np.float32)
  wave = soxr.resample(wave, read_hz, rate_hz).astype(np.float32)
  times = np.arange(len(wave)) / rate_hz
  wave = _filtered(wave, times, amount, rate_hz)
  attenuation_db = _ATTENUATION * amount.get(soundfont.ATTENUATION, 0) / 10
  gain = 10 ** (-attenuation_db / 20) * _centre(amount.get(soundfont.PAN, 0))
  return (wave * (gain * _envelope(times, amount))).astype(np.float32)


def _centre(pan: int) -> float:
  """Share of a sound from left (-500) to right (500) in the mean of both."""
  angle = (np.clip(pan, -500, 500) + 500) / 1000 * np.pi / 2
  return float((np.sin(angle) + np.cos(angle)) / 2)


def _envelope(times: np.ndarray, amount: dict[int, int]) -> np.ndarray:
  """Gain of a key that is held: attack, hold, decay in dB, sustain."""
  since = times - _seconds(amount[soundfont.DELAY])
  attack = _seconds(amount[soundfont.ATTACK])
  held = since - attack - _seconds(amount[soundfont.HOLD])
  fallen = _DECAY_DB * held / _seconds(amount[soundfont.DECAY])
  sustain_db = min(amount.get(soundfont.SUSTAIN, 0) / 10, _DECAY_DB)
  return np.clip(since / attack, 0, 1) * 10 ** (
    -np.clip(fallen, 0, sustain_db) / 20
  )


def _filtered(
  wave: np.ndarray, times: np.ndarray, amount: dict[int, int], rate_hz: int
) -> np.ndarray:
  """Low-pass of two poles, which the second envelope opens and closes."""
  closed = amount[soundfont.FILTER_CENTS]
  moves = amount.get(soundfont.MODULATION_TO_FILTER, 0)
  if min(closed, closed + moves) > _NO_FILTER_CENTS:
    return wave
  resonance = 10 ** ((amount.get(soundfont.FILTER_Q, 0) / 10 - 3.01) / 20)
  at_rest = _low_pass(wave, closed, resonance, rate_hz)
  if not moves:
    return at_rest
  attack = _seconds(amount[soundfont.MODULATION_ATTACK])
  decay = _seconds(amount[soundfont.MODULATION_DECAY])
  sustain = 1 - min(amount.get(soundfont.MODULATION_SUSTAIN, 0) / 1000, 1)
  falling = np.maximum(1 - (times - attack) / decay, sustain)
  share = np.clip(np.minimum(times / attack, falling), 0, 1)
  # Two filters that are mixed stand in for one that moves.
  moved = _low_pass(wave, closed + moves, resonance, rate_hz)
  return share * moved + (1 - share) * at_rest


def _low_pass(
  wave: np.ndarray, cents: int, resonance: float, rate_hz: int
) -> np.ndarray:
  cutoff_hz = 8.176 * 2.0 ** (np.clip(cents, 1500, 13_500) / 1200)
  size = 1 << (len(wave) + 512).bit_length()
  ratio = np.fft.rfftfreq(size, 1 / rate_hz) / cutoff_hz
  response = 1 / (1 - ratio**2 + 1j * ratio / max(resonance, 0.1))
  return np.fft.irfft(np.fft.rfft(wave, size) * response, size)[: len(wave)]
