"""The best of several takes is the one whose beats are where the plan has them."""

import types

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.inference import sound
from v2meow_jax.inference.finish import scoring

RATE_HZ = 16_000
SECONDS = 10.0
TIMES = np.arange(0.5, 9.5, 0.6)
PLAN = plan_lib.MusicPlan(
  seconds=SECONDS,
  tempo_bpm=100.0,
  beats_per_bar=4,
  source='given',
  beats=tuple(
    plan_lib.Beat(seconds=float(t), downbeat=i % 4 == 0, energy=0.5)
    for i, t in enumerate(TIMES)
  ),
  sections=(plan_lib.Section(start_seconds=0.0, mood='calm', energy=0.5),),
)


def take(seed, shift, spread=0.0, level=0.3, plan=PLAN):
  """Notes that begin `shift` seconds after the beats, or near there."""
  rng = np.random.default_rng(seed)
  times = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
  out = 1e-3 * rng.normal(size=len(times))
  for start in TIMES + shift + rng.normal(size=len(TIMES)) * spread:
    since = np.maximum(times - start, 0)
    wave = np.sin(2 * np.pi * rng.uniform(200, 2000) * since)
    out += (times >= start) * level * wave * np.exp(-6 * since)
  return types.SimpleNamespace(
    audio=media.Audio(
      samples=np.clip(out, -0.99, 0.99).astype(np.float32), rate_hz=RATE_HZ
    ),
    seconds=SECONDS,
    plan=plan,
    settings={'seed': seed},
  )


def replaced(soundtrack, **fields):
  return types.SimpleNamespace(**{**vars(soundtrack), **fields})


@pytest.fixture(autouse=True)
def plain_takes(monkeypatch):
  monkeypatch.setattr(scoring.dataclasses, 'replace', replaced)


def test_the_later_the_notes_the_lower_the_score():
  scores = [
    scoring.beats_heard(take(0, shift).audio, PLAN)
    for shift in (0.0, 0.08, 0.15, 0.3)
  ]
  assert scores == sorted(scores, reverse=True)
  assert scores[0] > 1.5 > 0 > scores[-1]


@pytest.mark.slow
def test_scattered_notes_score_less_than_notes_on_the_beats():
  on, off = (
    [scoring.beats_heard(take(n, 0.0, s).audio, PLAN) for n in range(5)]
    for s in (0.01, 0.15)
  )
  assert min(on) > max(off)


def test_the_best_take_wins_and_all_scores_are_told():
  contest = scoring.Contest()
  for seed, shift in ((3, 0.3), (4, 0.0), (5, 0.15)):
    contest.add(take(seed, shift))
  contest.add(take(6, 0.0, level=0.0))
  silent = take(7, 0.0)
  silent.audio = media.Audio(samples=0 * silent.audio.samples, rate_hz=RATE_HZ)
  contest.add(silent)
  facts = contest.winner().settings
  assert facts['seed'] == 4
  assert facts['best_of']['scorer'] == scoring.NAME
  told = facts['best_of']['takes']
  assert [t['seed'] for t in told] == [3, 4, 5, 6, 7]
  assert told[-1]['score'] is None and 'silent' in told[-1]['why']
  assert told[1]['score'] == max(t['score'] for t in told if t['score'])


def test_takes_that_are_all_of_no_use_have_no_winner():
  contest = scoring.Contest()
  silent = take(7, 0.0)
  silent.audio = media.Audio(samples=0 * silent.audio.samples, rate_hz=RATE_HZ)
  contest.add(silent)
  with pytest.raises(sound.UnusableSound, match='none of 1 takes is of use'):
    contest.winner()


def test_takes_without_a_plan_are_not_compared():
  with pytest.raises(ValueError, match='no_plan'):
    scoring.Contest().add(take(0, 0.0, plan=None))


def test_sounds_too_short_to_have_a_beat_score_nothing():
  short = media.Audio(samples=np.ones(100, np.float32), rate_hz=RATE_HZ)
  assert scoring.beats_heard(short, PLAN) == 0.0
