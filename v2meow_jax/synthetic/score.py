"""The plan that the music of a scene follows, with faults a stage must forgive."""

from typing import Any

import numpy as np

from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import scene as scene_lib

# Shares of scenes whose plan has a fault, and how large it is.
_JITTERED, _JITTER_SECONDS, _MOST_SECONDS = 0.25, 0.01, 0.02
_NOISY, _NOISE = 0.15, 0.2
_FLAT, _FLAT_ENERGY = 0.2, 0.5
_MISSING_SECTIONS, _FALSE_SECTIONS = 0.15, 0.2
_NAMES_KEY = 0.6


def plan(scene: scene_lib.Scene) -> dict[str, Any]:
  """The plan of a scene's music, in the form that `v2meow plan` writes.

  Some plans are not quite right: beats lie up to 20 ms off, energy is noisy or
  says nothing, sections are missing or begin where nothing does, and the key is
  not named. So a stage that reads them need not take each at its word.

  Args:
    scene: Scene whose music to plan.

  Returns:
    The plan as JSON data.
  """
  rng = np.random.default_rng([scene.seed, scene.index, 6])
  times = np.array(scene.beat_times)
  positions = np.round(scene.beats_at(times))
  energies = _energies(scene, times, rng)
  if rng.random() < _JITTERED:
    jitter = rng.normal(0, _JITTER_SECONDS, len(times))
    times = times + np.clip(jitter, -_MOST_SECONDS, _MOST_SECONDS)
    times = np.clip(times, 0, scene.end_seconds or scene.seconds)
  if scene.end_seconds is not None and len(times):
    times[-1] = scene.end_seconds
  starts = [t for t in scene.cut_times if rng.random() >= _MISSING_SECTIONS]
  if rng.random() < _FALSE_SECTIONS:
    starts.append(float(rng.uniform(1.0, scene.seconds)))
  key = f'{scene.key} {scene.mode}' if rng.random() < _NAMES_KEY else None
  return {
    'seconds': scene.seconds,
    'tempo_bpm': scene.tempo_bpm,
    'beats_per_bar': scene.beats_per_bar,
    'source': 'given',
    'beats': [
      {
        'seconds': round(float(time), 4),
        'downbeat': bool(is_down),
        'energy': round(float(energy), 3),
      }
      for time, is_down, energy in zip(
        times, scene.is_downbeat(positions), energies, strict=True
      )
    ],
    'sections': [
      {
        'start_seconds': round(start, 4),
        'mood': '',
        'energy': _FLAT_ENERGY,
        'prompt': None,
      }
      for start in (0.0, *sorted({round(s, 4) for s in starts}))
    ],
    'end_seconds': scene.end_seconds,
    'key': key,
    'version': 1,
  }


def _energies(
  scene: scene_lib.Scene, times: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Energy at each beat, from 0 (least activity of a scene) to 1 (most)."""
  low, high = min(genres.ACTIVITIES), max(genres.ACTIVITIES)
  activity = np.array(scene.activity)[scene.section_at(times)]
  energies = (activity - low) / (high - low)
  draw = rng.random()
  if draw < _NOISY:
    energies = energies + rng.normal(0, _NOISE, len(times))
  elif draw < _NOISY + _FLAT:
    energies = np.full(len(times), _FLAT_ENERGY)
  return np.clip(energies, 0, 1)
