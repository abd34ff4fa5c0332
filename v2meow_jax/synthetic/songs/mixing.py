"""Makes a song sound: notes of a bank, a room, a pumping bus, a limiter."""

from __future__ import annotations

import functools

import numpy as np

from v2meow_jax import media
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.bank import orchestra
from v2meow_jax.synthetic.songs import arrangement
from v2meow_jax.synthetic.songs import song as song_lib
from v2meow_jax.synthetic.songs import styles

# Loudness in dB of full scale where energy is 1 and where it is 0.
LOUD_DB, QUIET_DB = -15.0, -36.0
_PEAK = 0.95
_BLOCK_SECONDS = 0.01
_LIMITED_BLOCKS = 4
_FAST_SECONDS, _SLOW_SECONDS, _RATIO = 0.1, 2.0, 2.0
_RIDING_SECONDS, _RIDDEN, _MOST_RIDDEN_DB = 1.5, 0.7, 12.0
_PUMP_SECONDS = 0.25
_KIT_IN_ROOM = 0.3
_REFERENCE_STRENGTH, _REFERENCE_SECONDS = 0.8, 0.3
_REFERENCE_RMS, _REFERENCE_PEAK = 0.1, 0.7
_MOST_GAIN = 20.0
_FADE_SHARE = 0.5


def render(song: song_lib.Song, bank: banks.Bank) -> media.Audio:
  """Plays a song; a function of its arguments alone.

  Args:
    song: Song to play.
    bank: Notes of its instruments.

  Returns:
    round(seconds * bank.rate_hz) samples, of magnitude below 1.
  """
  style = song_lib.STYLES[song.style]
  num = round(song.seconds * bank.rate_hz)
  written = arrangement.notes(song)
  tones = np.zeros(num, np.float32)
  drums = np.zeros(num, np.float32)
  for note in written:
    if note.is_hit:
      wave = bank.drum(note.player, note.pitch, note.strength)
      gain = note.gain * kit_gain(bank, note.player)
      _add(drums, wave, gain, round(note.start_seconds * bank.rate_hz))
    else:
      _add_note(tones, note, bank)
  if style.pump:
    tones *= _pumping(written, style.pump, num, bank.rate_hz)
  room = _reverberated(tones + _KIT_IN_ROOM * drums, style, bank.rate_hz)
  mix = _glued(tones + drums + style.wet * room, bank.rate_hz)
  mix = _faded(mix, song, bank.rate_hz)
  return media.Audio(
    samples=_limited(mix * _ridden(mix, song, bank.rate_hz), bank.rate_hz),
    rate_hz=bank.rate_hz,
  )


@functools.lru_cache(maxsize=1024)
def instrument_gain(bank: banks.Bank, instrument: str) -> float:
  """Factor that makes all instruments of a bank equally loud."""
  kind = orchestra.INSTRUMENTS[instrument]
  # Basses are heard where they play.
  low = kind.highest <= 60
  pitch = int(np.clip(40 if low else 64, kind.lowest, kind.highest))
  wave, _ = bank.note(instrument, pitch, _REFERENCE_STRENGTH, 3.0)
  window = min(round(_REFERENCE_SECONDS * bank.rate_hz), len(wave))
  energy = np.cumsum(np.pad(np.square(wave, dtype=np.float64), (1, 0)))
  # Where it is loudest: some swell, and some die away.
  loudest = float((energy[window:] - energy[: len(energy) - window]).max())
  rms = np.sqrt(max(loudest, 0.0) / max(window, 1))
  return min(_REFERENCE_RMS / max(rms, 1e-6), _MOST_GAIN)


@functools.lru_cache(maxsize=64)
def kit_gain(bank: banks.Bank, kit: str) -> float:
  """Factor that makes the kicks of all kits equally loud."""
  wave = bank.drum(kit, orchestra.KICK, _REFERENCE_STRENGTH)
  peak = float(np.abs(wave).max(initial=0.0))
  return min(_REFERENCE_PEAK / max(peak, 1e-6), _MOST_GAIN)


def _add_note(
  out: np.ndarray, note: arrangement.Note, bank: banks.Bank
) -> None:
  wave, release = bank.note(
    note.player, note.pitch, note.strength, note.seconds + 0.05
  )
  held = round(note.seconds * bank.rate_hz)
  tail = _release(round(release * bank.rate_hz))
  wave = wave[: held + len(tail)]
  if len(wave) > held:
    wave = wave.copy()
    wave[held:] *= tail[: len(wave) - held]
  gain = note.gain * instrument_gain(bank, note.player)
  _add(out, wave, gain, round(note.start_seconds * bank.rate_hz))


@functools.lru_cache(maxsize=256)
def _release(num: int) -> np.ndarray:
  """A fall by 60 dB that ends at nothing, float32[num]."""
  x = np.arange(num) / max(num, 1)
  return (10 ** (-3 * x) * (1 - x)).astype(np.float32)


def _add(out: np.ndarray, wave: np.ndarray, gain: float, start: int) -> None:
  wave = wave[: max(0, len(out) - start)]
  out[start : start + len(wave)] += np.float32(gain) * wave


def _pumping(
  written: list[arrangement.Note], depth: float, num: int, rate_hz: int
) -> np.ndarray:
  """Gain that dips at each kick and comes back, float32[num]."""
  gain = np.ones(num, np.float32)
  dip = (
    depth
    * (
      1 - np.arange(round(_PUMP_SECONDS * rate_hz)) / (_PUMP_SECONDS * rate_hz)
    )
    ** 2
  )
  for note in written:
    if note.is_hit and note.pitch == orchestra.KICK:
      at = round(note.start_seconds * rate_hz)
      part = gain[at : at + len(dip)]
      np.minimum(part, 1 - dip[: len(part)], out=part)
  return gain


def _reverberated(
  dry: np.ndarray, style: styles.Style, rate_hz: int
) -> np.ndarray:
  size = 1 << (len(dry) + round(style.room_seconds * rate_hz)).bit_length()
  wet = np.fft.rfft(dry, size) * _room(style.room_seconds, size, rate_hz)
  return np.fft.irfft(wet, size)[: len(dry)].astype(np.float32)


@functools.lru_cache(maxsize=8)
def _room(seconds: float, size: int, rate_hz: int) -> np.ndarray:
  """Spectrum of a room of unit energy: noise whose heights fall sooner."""
  num = round(seconds * rate_hz)
  t = np.arange(num) / rate_hz
  noise = np.random.default_rng(0).normal(size=(2, num))
  dark = np.convolve(noise[0], np.ones(6) / 6, 'same')
  decays = 10 ** (-3 * t / seconds), 10 ** (-6 * t / seconds)
  response = (dark * decays[0] + 0.4 * noise[1] * decays[1]) * (t > 0.012)
  response /= np.sqrt(np.sum(response**2)) + 1e-9
  return np.fft.rfft(response, size)


def _glued(mix: np.ndarray, rate_hz: int) -> np.ndarray:
  """Compresses what is louder than its surroundings of two seconds."""
  block = round(_BLOCK_SECONDS * rate_hz)
  power = _blocks(np.square(mix), block).mean(1) + 1e-10
  fast = 10 * np.log10(_mean(power, _FAST_SECONDS))
  slow = 10 * np.log10(_mean(power, _SLOW_SECONDS))
  gain_db = -(1 - 1 / _RATIO) * np.maximum(fast - slow, 0)
  return mix * _smooth(10 ** (gain_db / 20), len(mix), block)


def _limited(mix: np.ndarray, rate_hz: int) -> np.ndarray:
  """Turns down what is above the peak, before it comes."""
  block = round(_BLOCK_SECONDS * rate_hz)
  peaks = np.abs(_blocks(mix, block)).max(1)
  wanted = np.minimum(1, _PEAK / np.maximum(peaks, 1e-9))
  padded = np.pad(wanted, _LIMITED_BLOCKS, mode='edge')
  lowest = np.lib.stride_tricks.sliding_window_view(
    padded, 2 * _LIMITED_BLOCKS + 1
  ).min(1)
  limited = mix * _smooth(lowest, len(mix), block)
  return np.clip(limited, -_PEAK, _PEAK).astype(np.float32)


def _blocks(x: np.ndarray, block: int) -> np.ndarray:
  return np.pad(x, (0, -len(x) % block)).reshape(-1, block)


def _mean(power: np.ndarray, seconds: float) -> np.ndarray:
  """Mean of each block and its neighbours."""
  width = round(seconds / _BLOCK_SECONDS) | 1
  total = np.cumsum(np.pad(power, (width // 2 + 1, width // 2), mode='edge'))
  return np.maximum((total[width:] - total[:-width]) / width, 1e-10)


def _smooth(gains: np.ndarray, num: int, block: int) -> np.ndarray:
  """Gains of blocks, interpolated between their middles."""
  middles = (np.arange(len(gains)) + 0.5) * block
  return np.interp(np.arange(num), middles, gains).astype(np.float32)


def _ridden(mix: np.ndarray, song: song_lib.Song, rate_hz: int) -> np.ndarray:
  """Gain that brings loudness near what energy says, as an engineer's fader.

  Rests stay rests, and the last chord dies away as it would.
  """
  block = round(_BLOCK_SECONDS * rate_hz)
  power = _blocks(np.square(mix), block).mean(1)
  times = (np.arange(len(power)) + 0.5) * _BLOCK_SECONDS
  beats = song.beats_at(times)
  last = song.seconds if song.end_seconds is None else song.end_seconds
  plays = (times >= song.grid[0]) & (times < last) & ~song.is_rest(beats)
  sounds = plays & (power > 1e-5 * power.max(initial=0.0))
  if not sounds.any():
    return np.ones(len(mix), np.float32)
  loudness = 10 * np.log10(_mean(power, _RIDING_SECONDS))
  wanted = QUIET_DB + (LOUD_DB - QUIET_DB) * song.energy_of(beats)
  missing = np.interp(times, times[sounds], (wanted - loudness)[sounds])
  middle = float(np.median(missing[sounds]))
  moves = _RIDDEN * np.clip(missing - middle, -_MOST_RIDDEN_DB, _MOST_RIDDEN_DB)
  return _smooth(10 ** ((middle + moves) / 20), len(mix), block)


def _faded(mix: np.ndarray, song: song_lib.Song, rate_hz: int) -> np.ndarray:
  """Lets the last chord fade to nothing at the end of the song."""
  if song.end_seconds is None:
    return mix
  start = song.end_seconds + _FADE_SHARE * (song.seconds - song.end_seconds)
  at = min(round(start * rate_hz), len(mix))
  x = np.linspace(0, 1, len(mix) - at, dtype=np.float32)
  return np.concatenate([mix[:at], mix[at:] * np.cos(x * np.pi / 2) ** 2])
