"""Notes outside the key of a plan, in closed form."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax.codecs.sines import analysis
from v2meow_jax.codecs.sines import sines
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.inference.expression import harmony

CONFIG = sines.SinesConfig()


class NotesCodec:
  """What a codec of notes says about itself."""

  config = CONFIG
  stream = CONFIG.latents


def plan_of(key, sections=((0.0, None),)):
  return plan_lib.MusicPlan(
    seconds=4.0,
    tempo_bpm=60.0,
    beats_per_bar=4,
    source='given',
    beats=(),
    sections=tuple(
      plan_lib.Section(start_seconds=start, mood='', energy=0.5, key=own)
      for start, own in sections
    ),
    key=key,
  )


@pytest.fixture
def latents():
  rng = np.random.default_rng(0)
  frames = round(4.0 * CONFIG.latents.rate_hz)
  return rng.normal(size=(frames, CONFIG.latents.dim)).astype(np.float32)


def change(latents, plan):
  """What is added to each number, float[frames, dim]."""
  before = latents.copy()
  made = harmony.in_key({'latents': latents}, NotesCodec(), plan)
  np.testing.assert_array_equal(latents, before)
  return made['latents'] - latents


def test_a_film_in_blocks_is_as_one_in_a_piece(latents, monkeypatch):
  plan = plan_of('C major', [(0.0, None), (1.3, 'Gb major'), (2.7, None)])
  whole = change(latents, plan)
  assert len({*map(bytes, whole < 0)}) == 2  # Two keys.
  monkeypatch.setattr(harmony, '_BLOCK_FRAMES', 7)
  np.testing.assert_array_equal(change(latents, plan), whole)


def classes_of(added):
  """Pitch classes that are changed in some frames."""
  places = np.flatnonzero(np.abs(added).max(0))
  assert (places < CONFIG.num_notes).all()  # No band of noise.
  return {int(CONFIG.lowest_note + place) % 12 for place in places}


def test_notes_outside_the_key_are_nine_decibels_softer(latents):
  added = change(latents, plan_of('D major'))
  assert classes_of(added) == {0, 3, 5, 8, 10}
  power = 0.01
  softer = analysis.log_power(power * 10**-0.9) - analysis.log_power(power)
  np.testing.assert_allclose(added[added != 0], softer, atol=1e-4)
  assert harmony.belongs(np.array([62, 66]), 'D major').all()


def test_minor_keeps_both_sevenths(latents):
  assert classes_of(change(latents, plan_of('A minor'))) == {1, 3, 6, 10}


def test_sections_have_keys_of_their_own(latents):
  plan = plan_of('C major', ((0.0, None), (1.0, 'F# major'), (3.0, None)))
  added = change(latents, plan)
  rate_hz = round(CONFIG.latents.rate_hz)
  white = {0, 2, 4, 5, 7, 9, 11}
  black = set(range(12)) - white
  sharp = {6, 8, 10, 11, 1, 3, 5}
  assert classes_of(added[:rate_hz]) == black
  assert classes_of(added[rate_hz : 3 * rate_hz]) == set(range(12)) - sharp
  assert classes_of(added[3 * rate_hz :]) == black


def test_nothing_changes_without_a_key_or_without_notes(latents):
  assert not change(latents, plan_of(None)).any()

  class OfCodes:
    config = dataclasses.replace(CONFIG).latents

  streams = {'acoustic': np.zeros((4, 2), np.int32)}
  assert harmony.in_key(streams, OfCodes(), plan_of('C major')) is streams
