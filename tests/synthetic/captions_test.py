"""Captions tell of the music, in many wordings."""

import dataclasses

from v2meow_jax.synthetic import captions
from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import scene as scene_lib

SCENES = [scene_lib.sample(0, n) for n in range(300)]


def test_captions_vary():
  texts = [captions.caption(s) for s in SCENES]
  assert len(set(texts)) > 200
  assert all(t == t.strip() and '{' not in t for t in texts)


def test_a_caption_names_its_genre_or_one_of_its_instruments():
  for scene in SCENES:
    genre = genres.GENRES[scene.genre]
    names = [n.removeprefix('a ') for n in genre.names]
    text = captions.caption(scene)
    assert any(w in text for w in (*names, *genre.instruments)), text


def test_a_caption_is_of_the_music_whatever_the_look():
  for scene in SCENES[:20]:
    odd = dataclasses.replace(scene, look_genre='rock', shapes='triangle')
    assert captions.caption(odd) == captions.caption(scene)


def test_dark_is_minor_and_bright_is_major():
  for scene in SCENES:
    words = captions.caption(scene).replace(',', '').split()
    assert 'dark' not in words or scene.mode == 'minor'
    assert 'bright' not in words or scene.mode == 'major'
