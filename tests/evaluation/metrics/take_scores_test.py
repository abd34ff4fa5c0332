"""Takes of one clip are no independent clips."""

import numpy as np
import pytest

from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import mcc
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.metrics import take_scores
from v2meow_jax.pretrained import network as network_lib

EAR = network_lib.NetworkId(name='ear', digest='d' * 64)
NUM_CLIPS, NUM_TAKES = 30, 5


def bins(rng, share, shape):
  return list(rng.uniform(size=shape) < share)


def test_one_take_a_clip_changes_nothing():
  found = {'beat_f': scores.of_clips(np.arange(3.0), seed=0)}
  assert take_scores.over_clips(found, ['a', 'b', 'c'], seed=0) == found
  assert take_scores.rule(['a', 'b', 'c']) == ''


@pytest.mark.slow
def test_takes_that_are_alike_have_the_intervals_of_single_takes():
  """Figures of copies are those of the clips, as certain and no more."""
  rng = np.random.default_rng(0)
  true, made = bins(rng, 0.8, (NUM_CLIPS, 6)), bins(rng, 0.6, (NUM_CLIPS, 6))
  once = beat_coverage.beat_coverage(true, made)
  clips = [f'{i:02d}' for i in range(NUM_CLIPS) for _ in range(NUM_TAKES)]
  copied = beat_coverage.beat_coverage(
    *(
      [clip for clip in side for _ in range(NUM_TAKES)] for side in (true, made)
    )
  )
  taken = take_scores.over_clips(copied, clips, seed=0)
  for name in ('bcs', 'bhs', 'f1'):
    assert taken[name].value == pytest.approx(once[name].value)
    assert taken[name].low == pytest.approx(once[name].low)
    assert taken[name].high == pytest.approx(once[name].high)
    narrow = copied[name].high - copied[name].low
    assert narrow < 0.6 * (taken[name].high - taken[name].low)
    assert taken[name].details['num_references'] == NUM_CLIPS
  # The divisor n - 1 counts takes.
  takes = NUM_CLIPS * NUM_TAKES
  ratio = np.sqrt(takes / (takes - 1) * (NUM_CLIPS - 1) / NUM_CLIPS)
  for name in ('csd', 'hsd'):
    assert taken[name].value == pytest.approx(ratio * once[name].value)
    assert taken[name].low == pytest.approx(ratio * once[name].low)
  assert f'{takes} takes of {NUM_CLIPS} clips' in take_scores.rule(clips)


def test_a_clip_of_more_takes_counts_as_often_in_every_resample():
  values = np.array([0.0, 1.0, 1.0, 1.0])
  found = {'beat_f': scores.of_clips(values, seed=0)}
  taken = take_scores.over_clips(found, ['a', 'b', 'b', 'b'], seed=0)['beat_f']
  assert taken.value == 0.75 and taken.per_clip == tuple(values)
  assert (taken.low, taken.high) == (0.0, 1.0)


def test_mismatched_pairs_are_of_other_clips():
  rng = np.random.default_rng(1)
  clips = ['a', 'a', 'a', 'b', 'c', 'c']
  made, music = rng.normal(size=(6, 8)), rng.normal(size=(3, 8))
  true = music[['abc'.index(clip) for clip in clips]]
  found = mcc.mean_cosine(true, made, EAR, metric='mcc_audio')
  taken = take_scores.over_clips(found, clips, seed=0)
  wanted = np.mean(
    [
      mcc.cosines(made[[i]], true[[j]])[0, 0]
      for i in range(6)
      for j in range(6)
      if clips[i] != clips[j]
    ]
  )
  shuffled = taken['mcc_audio_shuffled/ear']
  assert shuffled.value == pytest.approx(wanted)
  assert found['mcc_audio_shuffled/ear'].value != pytest.approx(wanted)
  assert shuffled.low is None and shuffled.high is None
  others = [mcc.cosines(made[[3]], true[[j]])[0, 0] for j in (0, 1, 2, 4, 5)]
  assert shuffled.per_clip[3] == pytest.approx(np.mean(others))
  one = mcc.mean_cosine(true[:3], made[:3], EAR, metric='mcc_audio')
  assert list(take_scores.over_clips(one, ['a'] * 3, seed=0)) == [
    'mcc_audio/ear'
  ]


def test_a_figure_of_a_set_has_no_interval_that_took_takes_for_clips():
  # A value of each take, of which the figure is not the mean.
  score = scores.Score(
    value=1.0, low=0.5, high=1.5, num_clips=4, per_clip=(3.0, 4.0, 5.0, 6.0)
  )
  found = {'fad/ear': score, 'is/ear': score}
  for taken in take_scores.over_clips(found, list('aabb'), seed=0).values():
    assert (taken.value, taken.low, taken.high) == (1.0, None, None)
    assert taken.per_clip == score.per_clip
