"""Mean cosines against scipy, and what cannot change them."""

import numpy as np
import pytest
import scipy.spatial.distance

from v2meow_jax.evaluation.metrics import mcc
from v2meow_jax.pretrained import network as network_lib

NETWORK = network_lib.NetworkId(name='clap', digest='0123')


def vectors(seed, num=10, dims=6):
  return np.random.default_rng(seed).normal(size=(num, dims))


@pytest.mark.parametrize('seed', range(5))
def test_cosines_are_scipys(seed):
  a, b = vectors(seed), vectors(seed + 50, num=4)
  wanted = 1 - scipy.spatial.distance.cdist(a, b, 'cosine')
  assert mcc.cosines(a, b) == pytest.approx(wanted)


def test_score_is_the_mean_over_pairs_and_its_shuffle_over_the_others():
  a, b = vectors(0), vectors(1)
  grid = 1 - scipy.spatial.distance.cdist(a, b, 'cosine')
  found = mcc.mean_cosine(b, a, NETWORK, metric='mcc_audio')
  score, shuffled = found['mcc_audio/clap'], found['mcc_audio_shuffled/clap']
  assert score.value == pytest.approx(np.trace(grid) / 10)
  assert score.per_clip == pytest.approx(tuple(np.diagonal(grid)))
  assert shuffled.value == pytest.approx((grid.sum() - np.trace(grid)) / 90)
  assert score.details['network'] == {'name': 'clap', 'digest': '0123'}
  assert score.details['against'] == 'the reference audio'


@pytest.mark.parametrize('seed', range(5))
def test_identity_is_1_opposites_minus_1_and_neither_length_nor_side_counts(
  seed,
):
  a, b = vectors(seed), vectors(seed + 50)

  def value(x, y):
    found = mcc.mean_cosine(y, x, NETWORK, metric='clap_score')
    return found['clap_score/clap'].value

  assert value(a, a) == pytest.approx(1.0)
  assert value(a, -a) == pytest.approx(-1.0)
  assert value(a, b) == pytest.approx(value(b, a))
  assert value(3 * a, 0.1 * b) == pytest.approx(value(a, b))


def test_a_planted_turn_gives_its_cosine():
  a = np.tile([1.0, 0.0], (5, 1))
  b = np.tile([np.cos(0.7), np.sin(0.7)], (5, 1))
  found = mcc.mean_cosine(b, a, NETWORK, metric='mcc_text')
  assert found['mcc_text/clap'].value == pytest.approx(np.cos(0.7))
  assert found['mcc_text/clap'].details['against'] == 'the prompt'


def test_one_clip_has_no_shuffled_row():
  found = mcc.mean_cosine(
    vectors(0, num=1), vectors(1, num=1), NETWORK, metric='mcc_audio'
  )
  assert list(found) == ['mcc_audio/clap']


def test_unpaired_and_empty_vectors_are_refused():
  with pytest.raises(ValueError, match='10 reference clips with 9'):
    mcc.mean_cosine(vectors(1), vectors(0, num=9), NETWORK, metric='mcc_text')
  with pytest.raises(ValueError, match='generated vectors .* all zeros'):
    mcc.cosines(np.zeros((2, 3)), np.ones((2, 3)))
