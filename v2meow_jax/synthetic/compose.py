"""Plays a scene: drums, bass, chords and a lead, in time with the picture."""

import functools

import numpy as np

from v2meow_jax import media
from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import instruments
from v2meow_jax.synthetic import scene as scene_lib

RATE_HZ = instruments.RATE_HZ
_STEPS_PER_BEAT = 4
_REVERB_SECONDS = 0.5
# Lowest pitch of each part's octave, as a MIDI number.
_BASS_FROM = 33
_CHORDS_FROM = 55
_LEAD_FROM = 67
_PIANO_BASS_FROM = 40


def music(scene: scene_lib.Scene) -> media.Audio:
  """Plays the music of a scene.

  The piece begins before the scene: a note from before time 0 that lasts beyond
  it starts in its middle.

  Args:
    scene: Scene to play.

  Returns:
    round(seconds * 16000) samples at 16 kHz, of magnitude below 1.
  """
  style = genres.GENRES[scene.genre]
  num = round(scene.seconds * RATE_HZ)
  drums = np.zeros(num, np.float32)
  tones = np.zeros(num, np.float32)
  motif = _motif(scene, style.lead.pattern)
  for bar in range(-1, _num_bars(scene)):
    triad = _triad(scene, scene.chord_at(bar))
    for part in style.drums:
      _play_drums(drums, scene, bar, part)
    piano = style.bass.instrument == 'piano'
    bass_from = _PIANO_BASS_FROM if piano else _BASS_FROM
    root = (_place(triad[0], bass_from),)
    _play(tones, scene, bar, style.bass, lambda _, notes=root: notes)
    chord = tuple(_place(p, _CHORDS_FROM) for p in triad)
    _play(tones, scene, bar, style.chords, lambda _, notes=chord: notes)
    ladder = sorted(_place(p, _LEAD_FROM) for p in triad)
    _play(
      tones,
      scene,
      bar,
      style.lead,
      lambda step, notes=ladder: (notes[motif[step]],),
    )
  mix = drums + tones + 0.25 * _reverb(tones + 0.3 * drums)
  if style.hiss:
    rng = np.random.default_rng([scene.seed, scene.index, 3])
    mix += style.hiss * rng.standard_normal(num, np.float32)
  return media.Audio(samples=0.97 * np.tanh(mix), rate_hz=RATE_HZ)


def _num_bars(scene: scene_lib.Scene) -> int:
  bar = scene.beat_seconds * scene.beats_per_bar
  return int(np.ceil((scene.seconds - scene.bar_seconds(0)) / bar))


def _motif(scene: scene_lib.Scene, pattern: str) -> list[int]:
  """Draws the chord tone of each step of a bar, mostly in small steps."""
  rng = np.random.default_rng([scene.seed, scene.index, 2])
  walk = np.cumsum(rng.integers(-1, 2, len(pattern))) + rng.integers(3)
  # Reflected at the ends, so that a rising walk falls again.
  return [int(abs((w % 4) - 2)) for w in walk]


def _triad(scene: scene_lib.Scene, chord: int) -> tuple[int, int, int]:
  """Returns root, third and fifth as pitch classes."""
  root = genres.GENRES[scene.genre].loops[scene.mode][chord]
  scale = genres.SCALES[scene.mode]
  tonic = genres.TONICS[scene.key]
  a, b, c = ((tonic + scale[(root + up) % 7]) % 12 for up in (0, 2, 4))
  return a, b, c


def _place(pitch_class: int, start: int) -> int:
  """Returns the pitch of a class in the octave from `start`."""
  return start + (pitch_class - start) % 12


def _steps(scene: scene_lib.Scene, bar: int, part: genres.Riff):
  """Yields (step, start, gain, duration in seconds) of each note in a bar."""
  steps = [n for n, c in enumerate(part.pattern) if c != '.']
  step_seconds = scene.beat_seconds / _STEPS_PER_BEAT
  ends = [*steps[1:], len(part.pattern)]
  for step, end in zip(steps, ends, strict=True):
    start = scene.bar_seconds(bar) + step * step_seconds
    activity = scene.activity[scene.section_at(max(start, 0.0))]
    has_ended = scene.end_seconds is not None and (
      start > scene.end_seconds + 1e-3
    )
    if activity >= part.min_activity and not has_ended:
      loudness = 0.55 + 0.45 * activity
      velocity = int(part.pattern[step]) / 9 * loudness
      yield step, start, velocity * part.gain, (end - step) * step_seconds


def _play_drums(
  out: np.ndarray, scene: scene_lib.Scene, bar: int, part: genres.Riff
) -> None:
  hit = instruments.drum(part.instrument)
  for _, start, gain, _ in _steps(scene, bar, part):
    _add(out, hit, start, gain)


def _play(
  out: np.ndarray,
  scene: scene_lib.Scene,
  bar: int,
  part: genres.Riff,
  pitches_at,
) -> None:
  for step, start, gain, seconds in _steps(scene, bar, part):
    for pitch in pitches_at(step):
      wave = instruments.note(part.instrument, pitch, 0.95 * seconds)
      _add(out, wave, start, gain)


def _add(out: np.ndarray, wave: np.ndarray, start: float, gain: float) -> None:
  """Adds the part of a wave that falls inside `out`."""
  at = round(start * RATE_HZ)
  skipped = max(0, -at)
  wave = wave[skipped : max(0, len(out) - at)]
  if len(wave):
    out[at + skipped : at + skipped + len(wave)] += gain * wave


def _reverb(dry: np.ndarray) -> np.ndarray:
  """Simulates a small room: decaying noise after 15 ms."""
  size = 1 << (len(dry) + round(_REVERB_SECONDS * RATE_HZ) - 1).bit_length()
  wet = np.fft.irfft(np.fft.rfft(dry, size) * _room(size), size)
  return wet[: len(dry)].astype(np.float32)


@functools.lru_cache(maxsize=2)
def _room(size: int) -> np.ndarray:
  """Returns the spectrum of the room's response, of unit energy."""
  t = np.arange(round(_REVERB_SECONDS * RATE_HZ)) / RATE_HZ
  noise = np.random.default_rng(0).normal(size=len(t))
  response = noise * np.exp(-t / 0.12) * (t > 0.015)
  return np.fft.rfft(response / np.sqrt(np.sum(response**2)), size)
