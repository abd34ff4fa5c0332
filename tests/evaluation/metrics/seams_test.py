"""Seams that were planted are found, and none where there are none."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.evaluation.metrics import seams

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
SECONDS = 60
BORDERS = np.arange(4.0, SECONDS, 3.0)


def music():
  """Tones that begin now and then and die away, over noise."""
  rng = np.random.default_rng(0)
  time = np.arange(SECONDS * RATE_HZ) / RATE_HZ
  sound = 0.01 * rng.normal(size=len(time))
  for start in np.arange(0.21, SECONDS, 0.47):
    after = np.maximum(time - start, 0)
    tone = np.sin(2 * np.pi * 55 * 2 ** rng.uniform(0, 4) * after)
    sound += 0.2 * tone * np.exp(-5 * after) * (time >= start)
  return sound


def means(sound, borders=BORDERS):
  return seams.seams(sound, RATE_HZ, list(borders))


def test_music_without_seams_has_none():
  for interval in means(music()).values():
    assert interval.low < 0.5 and abs(interval.mean - 0.5) < 0.2


@pytest.mark.parametrize('kind', ['click', 'jump', 'step'])
def test_a_planted_seam_is_found(kind):
  sound = music()
  for number, border in enumerate(BORDERS):
    at = round(border * RATE_HZ)
    after = slice(at, at + 3 * RATE_HZ)
    if kind == 'click':
      sound[at] += 0.5
    elif kind == 'jump':  # To another place of the music.
      sound[after] = np.roll(sound[after], RATE_HZ)
      sound[at : at + 20] += 0.3
    elif number % 2:
      sound[after] *= 4
  found = means(sound)
  most = found['loudness'] if kind == 'step' else found['flux']
  assert most.low > 0.6
  # Elsewhere there is nothing.
  elsewhere = seams.seams(
    sound, RATE_HZ, list(BORDERS[:-1] + 1.37), near=list(BORDERS)
  )
  assert elsewhere['flux'].low < 0.5


def test_changes_are_at_their_time():
  sound = np.full(RATE_HZ, 0.1)
  sound[RATE_HZ // 2 :] = 0.2
  changes = seams.changes(sound, RATE_HZ)
  assert changes['loudness'].argmax() == round(0.5 / 0.01) - 2
  assert changes['loudness'].max() == pytest.approx(6.02, abs=0.05)


def test_windows_of_the_embedded_system_meet_without_a_seam():
  from v2meow_jax.inference import system
  from v2meow_jax.inference import windows

  rng = np.random.default_rng(0)
  seconds = 64.0
  times = np.arange(0, seconds, 0.5)
  video = media.Video(
    frames=rng.integers(0, 255, (len(times), 32, 32, 3), np.uint8),
    times=times,
    seconds=seconds,
  )
  loaded = system.load('tiny')
  audio = loaded.generate(video)
  borders = set()
  for stage, window in zip(loaded.stages, loaded.windows, strict=True):
    starts = windows.window_starts(
      seconds, stage.spec.crop_seconds, window.prefix_seconds
    )
    borders |= {start + window.prefix_seconds for start in starts[1:]}
  assert len(borders) > 30
  for interval in seams.seams(
    audio.samples, audio.rate_hz, sorted(borders)
  ).values():
    assert interval.low < 0.5
