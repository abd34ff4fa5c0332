"""Voices are in tune, and hits start at once."""

import numpy as np
import pytest

from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import instruments

PITCHED = sorted(
  {
    part.instrument
    for g in genres.GENRES.values()
    for part in (g.bass, g.chords, g.lead)
  }
)
DRUMS = sorted(
  {part.instrument for g in genres.GENRES.values() for part in g.drums}
)


@pytest.mark.parametrize('name', PITCHED)
@pytest.mark.parametrize('pitch', [45, 57, 69])
def test_a_voice_is_in_tune(name, pitch):
  note = instruments.voice(name, pitch)[:12800]
  spectrum = np.abs(np.fft.rfft(note * np.hanning(len(note)), 1 << 17))
  hz = 440.0 * 2 ** ((pitch - 69) / 12)
  # Partials that a true harmonic series of this pitch would have, and those
  # a quarter tone away from them.
  bins = hz * np.arange(1, 5) * (1 << 17) / 16000
  reach = 0.012 * bins

  def energy(centre):
    return sum(
      np.sum(spectrum[round(c - r) : round(c + r) + 1] ** 2)
      for c, r in zip(centre, reach, strict=True)
    )

  assert energy(bins) > 5 * energy(bins * 2 ** (0.5 / 12))


@pytest.mark.parametrize('name', DRUMS)
def test_a_hit_is_at_full_level_within_20_ms_and_dies_away(name):
  hit = np.abs(instruments.drum(name))
  assert hit.max() == pytest.approx(1.0)
  assert hit.argmax() < 0.02 * 16000
  assert hit[-100:].max() < 0.06


def test_a_note_that_is_let_go_falls_silent_without_a_click():
  note = instruments.note('organ', 60, 0.2)
  assert len(note) == round(0.26 * 16000)
  assert np.abs(note[-1]) < 1e-3
  assert np.abs(np.diff(note[-200:])).max() < 0.1


def test_cached_sounds_cannot_be_changed():
  with pytest.raises(ValueError, match='read-only'):
    instruments.drum('kick')[0] = 1.0
  with pytest.raises(ValueError, match='read-only'):
    instruments.voice('piano', 60)[0] = 1.0
