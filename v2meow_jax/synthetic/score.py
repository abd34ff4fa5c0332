"""The plan that the music of a scene follows, with faults a stage must forgive."""

from collections.abc import Sequence
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

  Some plans are not quite right; see `with_faults`.

  Args:
    scene: Scene whose music to plan.

  Returns:
    The plan as JSON data.
  """
  times = np.array(scene.beat_times)
  is_down = scene.is_downbeat(np.round(scene.beats_at(times)))
  return with_faults(
    {
      'seconds': scene.seconds,
      'tempo_bpm': scene.tempo_bpm,
      'beats_per_bar': scene.beats_per_bar,
      'end_seconds': scene.end_seconds,
      'key': f'{scene.key} {scene.mode}',
    },
    times=times,
    is_down=is_down,
    energies=_energies(scene, times),
    starts=scene.cut_times,
    rng=np.random.default_rng([scene.seed, scene.index, 6]),
  )


def with_faults(
  facts: dict[str, Any],
  *,
  times: np.ndarray,
  is_down: np.ndarray,
  energies: np.ndarray,
  starts: Sequence[float],
  rng: np.random.Generator,
  names_key: float = _NAMES_KEY,
) -> dict[str, Any]:
  """A plan of known music, which a stage that reads it must forgive.

  In some, beats lie up to 20 ms off, energy is noisy or says nothing, sections
  are missing or begin where nothing does, and the key is not named. So a stage
  that reads them need not take each at its word.

  Args:
    facts: Fields of the plan that have no faults, and its `key`.
    times: Times of the beats in seconds, rising; the last is the end, if any.
    is_down: Whether each beat begins a bar.
    energies: Energy at each beat, from 0 to 1.
    starts: Times in seconds at which sections begin, the first one left out.
    rng: Source of the faults.
    names_key: Share of the plans that name the key.

  Returns:
    The plan as JSON data.
  """
  seconds, end = facts['seconds'], facts['end_seconds']
  energies = _faulty(energies, rng)
  if rng.random() < _JITTERED:
    jitter = rng.normal(0, _JITTER_SECONDS, len(times))
    times = times + np.clip(jitter, -_MOST_SECONDS, _MOST_SECONDS)
    times = np.clip(times, 0, end or seconds)
  if end is not None and len(times):
    times[-1] = end
  starts = [t for t in starts if rng.random() >= _MISSING_SECTIONS]
  if rng.random() < _FALSE_SECTIONS:
    starts.append(float(rng.uniform(1.0, seconds)))
  return {
    **facts,
    'key': facts['key'] if rng.random() < names_key else None,
    'source': 'given',
    'beats': [
      {
        'seconds': round(float(time), 4),
        'downbeat': bool(first),
        'energy': round(float(energy), 3),
      }
      for time, first, energy in zip(times, is_down, energies, strict=True)
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
    'version': 1,
  }


def _energies(scene: scene_lib.Scene, times: np.ndarray) -> np.ndarray:
  """Energy at each beat, from 0 (least activity of a scene) to 1 (most)."""
  low, high = min(genres.ACTIVITIES), max(genres.ACTIVITIES)
  activity = np.array(scene.activity)[scene.section_at(times)]
  return (activity - low) / (high - low)


def _faulty(energies: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Energies as they are, with noise, or all the same."""
  draw = rng.random()
  if draw < _NOISY:
    energies = energies + rng.normal(0, _NOISE, len(energies))
  elif draw < _NOISY + _FLAT:
    energies = np.full(len(energies), _FLAT_ENERGY)
  return np.clip(energies, 0, 1)
