"""Genres by group: what is planted is found, what is not is chance."""

import numpy as np
import pytest

from v2meow_jax.evaluation.controls import genre_bias


def test_groups_that_each_have_their_own_genre_are_as_far_as_can_be():
  groups = ['a', 'b', 'c'] * 10
  found = genre_bias.bias(groups, [g.upper() for g in groups], seed=0)
  # Of three equal groups: half of |1 - 1/3| + 2 x |0 - 1/3|.
  assert found.value == pytest.approx(2 / 3)
  assert found.details['counts'] == (10 * np.eye(3, dtype=int)).tolist()
  assert found.details['chance'] < 0.4


def test_the_same_genres_in_all_groups_have_no_distance():
  groups = ['a', 'a', 'b', 'b']
  assert genre_bias.bias(groups, ['x', 'y'] * 2, seed=0).value == 0


def test_genres_at_random_are_as_far_as_chance():
  rng = np.random.default_rng(0)
  groups = rng.choice(['a', 'b', 'c'], 600).tolist()
  genres = rng.choice(['x', 'y', 'z'], 600).tolist()
  found = genre_bias.bias(groups, genres, seed=0)
  assert found.value == pytest.approx(found.details['chance'], abs=0.03)


def test_a_group_for_every_genre_is_wanted():
  with pytest.raises(ValueError, match='2 groups with 1 genres'):
    genre_bias.bias(['a', 'b'], ['x'], seed=0)
