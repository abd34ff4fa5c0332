"""Words that a style embedding met, and what is like them."""

import re

import numpy as np

from v2meow_jax.extractors import vocabulary
from v2meow_jax.inference import system
from v2meow_jax.synthetic import captions
from v2meow_jax.synthetic import scene


def test_a_text_is_known_by_any_word_that_was_met_or_is_like_one():
  known = vocabulary.of_texts(['Calm guitar', 'dark techno, 120 bpm'])
  for text in ('CALM', 'guitars', 'zxqv guitar', 'technoid', '120'):
    assert vocabulary.knows(known, text), text
  for text in ('zxqv', 'xylophon', '121', 'пианино', '!?', ''):
    assert not vocabulary.knows(known, text), text


def test_where_no_vocabulary_was_kept_every_word_is_known():
  assert vocabulary.knows(None, 'zxqv')
  assert not vocabulary.knows(None, '?!')


def test_a_vocabulary_depends_on_the_set_of_texts_alone():
  texts = ['calm piano', 'dark techno']
  one = vocabulary.of_texts(texts)
  np.testing.assert_array_equal(one, vocabulary.of_texts(texts[::-1] * 2))
  assert one.dtype == np.uint32


def test_the_embedded_system_knows_the_captions_it_was_trained_on():
  style = system.load('tiny').styles['style_text']
  for index in range(0, 1600, 40):
    caption = captions.caption(scene.sample(0, index))
    strange = [w for w in re.findall(r'\w+', caption) if not style.knows(w)]
    assert not strange, caption
  assert not style.knows('zxqv brgl')
