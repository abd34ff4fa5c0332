"""Moods of pictures and prompts."""

import numpy as np

from v2meow_jax.extractors.planning import analysis
from v2meow_jax.extractors.planning import mood
from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import held_out


def seen(motion=0.0, brightness=0.5, saturation=0.3, warmth=0.0, cuts=()):
  steps = np.ones(500)
  return analysis.Analysis(
    seconds=10.0,
    motion=motion * steps,
    accents=0 * steps,
    brightness=brightness * steps,
    saturation=saturation * steps,
    warmth=warmth * steps,
    cuts=np.array(cuts),
    cut_changes=np.ones(len(cuts)),
  )


def of(**look):
  return mood.of_picture(seen(**look), 0.0, 10.0)


def test_each_part_of_the_look_acts_as_the_literature_says():
  assert of(motion=0.8).energy > of(motion=0.2).energy
  assert of(cuts=(2, 4, 6, 8)).energy > of().energy
  assert of(warmth=0.3).energy > of(warmth=-0.3).energy
  assert of(saturation=0.9).energy > of(saturation=0.1).energy
  assert of(brightness=0.9).energy < of(brightness=0.1).energy
  assert of(brightness=0.9).valence > of(brightness=0.1).valence
  assert of(saturation=0.9).valence > of(saturation=0.1).valence
  assert of(motion=1.0, brightness=0.0, saturation=1.0, warmth=1.0).energy <= 1


def likeliest(of_songs=False, **look):
  probabilities = mood.genres_of_mood(of(**look), of_songs=of_songs)
  assert abs(sum(probabilities.values()) - 1) < 1e-9
  return max(probabilities, key=probabilities.__getitem__)


def test_calm_pictures_are_ambient_and_wild_ones_are_not():
  assert likeliest(motion=0.0) == 'ambient'
  wild = likeliest(motion=1.0, warmth=0.3, cuts=range(1, 10))
  assert wild in ('rock', 'drum_and_bass')


def test_calm_songs_have_a_pulse_unless_nothing_moves():
  assert likeliest(True, motion=0.0, warmth=-0.3) == 'ambient'
  assert likeliest(True, motion=0.2) == 'folk'
  assert likeliest(True, motion=0.2, brightness=0.1) == 'solo_piano'
  wild = likeliest(True, motion=1.0, warmth=0.3, cuts=range(1, 10))
  assert wild in ('rock', 'drum_and_bass', 'techno')


def test_prompts_name_their_genres():
  for genre, text in held_out.PROMPTS.items():
    named = mood.genres_of_prompt(text)
    assert max(named, key=named.__getitem__) == genre
  for genre, text in {
    'solo_piano': 'calm piano',
    'techno': 'dark techno at 128 bpm',
    'strings': 'sad string music',
    'orchestra': 'a film score',
    'waltz': 'a waltz for strings and solo piano',
  }.items():
    named = mood.genres_of_prompt(text)
    assert max(named, key=named.__getitem__) == genre
  assert mood.genres_of_prompt('music of the spheres') == {}


def test_the_prompt_of_a_mood_names_its_genre():
  for genre in genres.GENRES:
    named = mood.genres_of_prompt(mood.prompt('minor', genre))
    assert max(named, key=named.__getitem__) == genre


def test_only_a_tempo_is_a_tempo():
  assert mood.bpm_of_prompt('house, 124 BPM') == 124
  assert mood.bpm_of_prompt('at 90.5bpm') == 90.5
  for text in ('an 808 beat', 'opus 120', '1240 bpm', ''):
    assert mood.bpm_of_prompt(text) is None


def test_a_prompt_may_name_a_key_and_moods_have_some():
  assert mood.key_of_prompt('a waltz in F# minor') == 'Gb minor'
  assert mood.key_of_prompt('house at 120 bpm in Eb major, loud') == 'Eb major'
  assert mood.key_of_prompt('jazz in c flat major') == 'B major'
  for text in ('in a minor key', 'a major piece', 'E minor', ''):
    assert mood.key_of_prompt(text) is None
  keys = {
    mood.key_of_mood(of(brightness=b), warmth)
    for b in (0.1, 0.9)
    for warmth in (-0.2, -0.03, 0.03, 0.2)
  }
  assert len(keys) == 8
