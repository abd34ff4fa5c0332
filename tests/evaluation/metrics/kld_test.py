"""KL divergence and inception score against scipy and closed forms."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from v2meow_jax.evaluation.metrics import inception
from v2meow_jax.evaluation.metrics import kld
from v2meow_jax.pretrained import network as network_lib

NETWORK = network_lib.NetworkId(name='ast', digest='0123')
NORMALISE = {'softmax': kld.softmax, 'sigmoid': kld.sigmoid}
FORMS = list(NORMALISE)


def logits(seed, num=12, classes=7):
  return np.random.default_rng(seed).normal(size=(num, classes), scale=3.0)


def both(form, seed=0):
  return NORMALISE[form](logits(seed)), NORMALISE[form](logits(seed + 1))


def test_posteriors_are_scipys():
  x = np.array([[1000.0, -1000.0, 3.0], [0.0, 1.0, -2.0]])
  assert kld.softmax(x) == pytest.approx(scipy.special.softmax(x, axis=1))
  assert kld.sigmoid(x) == pytest.approx(scipy.special.expit(x))


@pytest.mark.parametrize('seed', range(5))
def test_softmax_form_is_scipys_relative_entropy(seed):
  p, q = both('softmax', seed)
  assert kld.divergences(p, q, 'softmax') == pytest.approx(
    scipy.stats.entropy(p, q, axis=1), rel=1e-4
  )


@pytest.mark.parametrize('seed', range(5))
def test_sigmoid_form_is_a_sum_over_coins(seed):
  p, q = both('sigmoid', seed)
  wanted = scipy.special.rel_entr(p, q) + scipy.special.rel_entr(1 - p, 1 - q)
  got = kld.divergences(p, q, 'sigmoid')
  assert got == pytest.approx(wanted.sum(axis=1), rel=1e-6)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('seed', range(5))
def test_divergence_is_0_to_itself_positive_and_not_symmetric(form, seed):
  p, q = both(form, seed)
  assert (kld.divergences(p, p, form) == 0).all()
  assert (kld.divergences(p, q, form) > 0).all()
  there, back = kld.divergences(p, q, form), kld.divergences(q, p, form)
  assert not np.isclose(there, back).any()


@pytest.mark.parametrize('form', FORMS)
def test_a_planted_change_of_the_scores_grows_the_divergence(form):
  p = logits(0)
  steps = [
    kld.divergences(
      NORMALISE[form](p), NORMALISE[form](p + d * logits(1)), form
    ).mean()
    for d in (0.0, 0.1, 0.3, 1.0)
  ]
  assert steps[0] == 0 and np.all(np.diff(steps) > 0)


@pytest.mark.parametrize('form', FORMS)
def test_a_class_of_chance_0_does_not_make_it_infinite(form):
  p, q = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
  times = 1 if form == 'softmax' else 2
  wanted = times * -np.log(kld.FLOOR)
  assert kld.divergences(p, q, form) == pytest.approx([wanted], rel=1e-5)


@pytest.mark.parametrize('form', FORMS)
def test_score_states_direction_and_form_and_shuffles(form):
  p, q = both(form)
  found = kld.kld(p, q, NETWORK, form=form)
  score = found[f'kld_{form}/ast']
  assert score.details['direction'] == 'KL(reference || generated)'
  assert score.details['form'] == form
  assert score.value == pytest.approx(kld.divergences(p, q, form).mean())
  reverse = kld.divergences(q, p, form).mean()
  assert score.details['reverse'] == pytest.approx(reverse)
  assert score.low < score.value < score.high and len(score.per_clip) == 12
  rotated = [
    kld.divergences(np.roll(p, k, axis=0), q, form).mean()
    for k in range(1, len(p))
  ]
  shuffled = found[f'kld_{form}_shuffled/ast']
  assert shuffled.value == pytest.approx(np.mean(rotated))


@pytest.mark.parametrize('form', FORMS)
def test_logits_are_refused(form):
  with pytest.raises(ValueError, match='Are they logits'):
    kld.kld(logits(0), logits(1), NETWORK, form=form)


def test_posteriors_of_many_labels_are_refused_as_of_one():
  p, q = both('sigmoid')
  with pytest.raises(ValueError, match='wanted 1.*form sigmoid'):
    kld.divergences(p, q, 'softmax')


def test_unpaired_and_broken_posteriors_are_refused():
  p, q = both('softmax')
  with pytest.raises(ValueError, match='12 reference clips with 11'):
    kld.kld(p, q[1:], NETWORK)
  with pytest.raises(ValueError, match='pairs from one classifier'):
    kld.divergences(p, np.full((12, 4), 0.25), 'softmax')
  with pytest.raises(ValueError, match='nan'):
    kld.divergences(p, np.full_like(p, np.nan), 'softmax')


def test_inception_score_of_one_sure_clip_per_class_is_their_number():
  found = inception.inception_score(np.eye(6), NETWORK)['is/ast']
  assert found.value == pytest.approx(6.0, rel=1e-4)


def test_inception_score_of_clips_that_sound_alike_is_1():
  same = np.repeat(kld.softmax(logits(0, num=1)), 9, axis=0)
  found = inception.inception_score(same, NETWORK)['is/ast']
  assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize('seed', range(5))
def test_inception_score_is_the_entropy_that_a_clip_takes_away(seed):
  p = kld.softmax(logits(seed, num=40))
  known = scipy.stats.entropy(p, axis=1).mean()
  wanted = np.exp(scipy.stats.entropy(p.mean(axis=0)) - known)
  found = inception.inception_score(p, NETWORK)['is/ast']
  assert found.value == pytest.approx(wanted, rel=1e-4)
  assert found.low < found.value < found.high
  assert np.exp(np.mean(found.per_clip)) == pytest.approx(found.value)
