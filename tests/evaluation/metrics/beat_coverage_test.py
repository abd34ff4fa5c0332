"""Coverage and hit on bins of one second, from bins."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from v2meow_jax.evaluation.metrics import beat_coverage

FORMS = ['adjusted', 'unadjusted']
# Other work on the machine must not fail a test.
BRIEF = hypothesis.settings(max_examples=50)
PAIRS = st.integers(1, 12).flatmap(
  lambda n: st.tuples(*[st.lists(st.booleans(), min_size=n, max_size=n)] * 2)
)


def bins(text):
  return np.array([c == '1' for c in text])


@pytest.mark.parametrize(
  'form, reference, generated, coverage, hit',
  [
    # By the published code of each form.
    ('adjusted', '1111', '1010', 1.0, 0.5),
    ('unadjusted', '1010', '1111', 2.0, 1.0),
    ('adjusted', '1111', '0000', 0.0, 0.0),
    ('adjusted', '0000', '1111', 0.0, 0.0),
    ('adjusted', '1100', '0110', 0.5, 0.5),
    ('unadjusted', '1110', '0101', 2 / 3, 1 / 3),
    # There it divides by zero.
    ('unadjusted', '0000', '1111', 0.0, 0.0),
    # The reference is cut to the generated clip.
    ('adjusted', '101011', '1010', 1.0, 1.0),
  ],
)
def test_scores_of_a_pair(form, reference, generated, coverage, hit):
  got = beat_coverage.compare(bins(reference), bins(generated), form)
  assert (got.coverage, got.hit) == pytest.approx((coverage, hit))


def test_f1_of_the_pair_of_the_published_code():
  assert beat_coverage.harmonic_mean(np.array([1.0, 0.5])) == pytest.approx(
    2 / 3
  )
  assert beat_coverage.harmonic_mean(np.zeros(2)) == 0.0


@pytest.mark.parametrize('form', FORMS)
@BRIEF
@hypothesis.given(pair=PAIRS)
def test_identity_is_1_and_an_empty_clip_0(form, pair):
  one = np.array(pair[0])
  got = beat_coverage.compare(one, one, form)
  assert (got.coverage, got.hit) == (float(one.any()),) * 2
  none = beat_coverage.compare(one, np.zeros_like(one), form)
  assert (none.coverage, none.hit) == (0.0, 0.0)


@BRIEF
@hypothesis.given(pair=PAIRS)
def test_swapping_the_clips_swaps_the_adjusted_scores(pair):
  there = beat_coverage.compare(np.array(pair[0]), np.array(pair[1]))
  back = beat_coverage.compare(np.array(pair[1]), np.array(pair[0]))
  assert (there.coverage, there.hit) == (back.hit, back.coverage)


@pytest.mark.parametrize('form', FORMS)
@BRIEF
@hypothesis.given(pair=PAIRS, seed=st.integers(0, 99))
def test_a_saturated_score_does_not_change_with_timing(form, pair, seed):
  one, other = map(np.array, pair)
  moved = np.random.default_rng(seed).permutation(other)
  got = beat_coverage.compare(one, other, form)
  again = beat_coverage.compare(one, moved, form)
  if got.coverage_saturated:
    assert got.coverage == again.coverage
  if got.hit_saturated:
    assert got.hit == float(one.any())


def test_saturation_is_a_full_side():
  full, part = bins('1111'), bins('1101')
  got = beat_coverage.compare(full, part)
  assert got.coverage_saturated and not got.hit_saturated
  got = beat_coverage.compare(part, full)
  assert not got.coverage_saturated and got.hit_saturated
  got = beat_coverage.compare(full, part, 'unadjusted')
  assert not got.coverage_saturated and not got.hit_saturated


def test_a_shift_by_a_second_is_seen_where_bins_are_not_full():
  events = np.arange(0.5, 10.0, 2.0)
  one = beat_coverage.second_bins(events, 10.0)
  other = beat_coverage.second_bins(events + 1.0, 10.0)
  got = beat_coverage.compare(one, other)
  assert (got.coverage, got.hit) == (0.0, 0.0)


@pytest.mark.parametrize(
  'seconds, num', [(10.0, 10), (10.0004, 10), (9.2, 10), (10.4, 11)]
)
def test_a_clip_has_a_bin_for_each_second_begun(seconds, num):
  assert len(beat_coverage.second_bins(np.zeros(0), seconds)) == num


def test_a_reference_that_is_shorter_is_refused():
  with pytest.raises(ValueError, match='reference of 3 s and .* of 4 s'):
    beat_coverage.compare(bins('111'), bins('1111'))
  with pytest.raises(ValueError, match='at least one second'):
    beat_coverage.compare(bins(''), bins(''))
