"""Assigns trials: balanced over the study, random for each participant."""

from collections.abc import Sequence

import numpy as np

from v2meow_jax.study import protocol


def balanced_pairs(
  study: protocol.Study, counts: Sequence[int], rng: np.random.Generator
) -> list[int]:
  """Chooses the pairs that a participant compares, in the order chosen.

  Pairs shown least so far come first, so that how often two pairs were shown
  differs by at most one; among equals, clips and then pairs of systems that
  this participant has met least; then chance.

  Args:
    study: A study of at least `num_comparisons` pairs.
    counts: Number of times that each pair was shown so far.
    rng: Generator of this participant.

  Returns:
    `num_comparisons` different indices of pairs.
  """
  clips = _codes([p.clip for p in study.pairs])
  versus = _codes([(p.first, p.second) for p in study.pairs])
  shown = np.array(counts, float)
  clip_met = np.zeros(clips.max() + 1)
  versus_met = np.zeros(versus.max() + 1)
  chosen = []
  for _ in range(study.num_comparisons):
    chance = rng.random(len(shown))
    order = (chance, versus_met[versus], clip_met[clips], shown)
    best = int(np.lexsort(order)[0])
    chosen.append(best)
    clip_met[clips[best]] += 1
    versus_met[versus[best]] += 1
    shown[best] = np.inf
  return chosen


def plan(
  study: protocol.Study, participant: int, counts: Sequence[int]
) -> tuple[protocol.Trial, ...]:
  """Plans the trials of a participant, in order.

  Each system is on the left in half of its comparisons, up to one; checks are
  spread at random, and the first trial is none. Equal arguments give equal
  plans.

  Args:
    study: The study.
    participant: Number of the participant.
    counts: Number of times that each pair was shown so far.

  Returns:
    `num_comparisons + num_checks` trials.
  """
  rng = np.random.default_rng([study.seed, participant])
  pairs = rng.permutation(balanced_pairs(study, counts, rng))
  trials = [
    protocol.Trial(
      pair=int(pair), kind=protocol.COMPARISON, flipped=bool(flipped)
    )
    for pair, flipped in zip(pairs, _halves(rng, len(pairs)), strict=True)
  ]
  silent = [i for i, p in enumerate(study.pairs) if study.clips[p.clip].silent]
  for number in range(study.num_checks):
    flipped = bool(rng.integers(2))
    if number % 2 or not silent:
      check = protocol.Trial(
        pair=int(rng.integers(len(study.pairs))),
        kind=protocol.INSTRUCTED,
        flipped=flipped,
        wanted=int(rng.choice((-protocol.STRONGEST, protocol.STRONGEST))),
      )
    else:
      check = protocol.Trial(
        pair=int(rng.choice(silent)), kind=protocol.SILENCE, flipped=flipped
      )
    trials.insert(int(rng.integers(1, len(trials) + 1)), check)
  return tuple(trials)


def booklets(
  study: protocol.Study, num: int
) -> list[tuple[protocol.Trial, ...]]:
  """Plans for `num` participants who answer everything."""
  counts = [0] * len(study.pairs)
  plans = []
  for participant in range(1, num + 1):
    trials = plan(study, participant, counts)
    for trial in trials:
      counts[trial.pair] += trial.kind == protocol.COMPARISON
    plans.append(trials)
  return plans


def _codes(labels: list) -> np.ndarray:
  """Numbers labels from 0, equal labels alike."""
  numbers = {label: n for n, label in enumerate(dict.fromkeys(labels))}
  return np.array([numbers[label] for label in labels])


def _halves(rng: np.random.Generator, num: int) -> np.ndarray:
  """Draws bool[num], half of them true, one more or less when odd."""
  return rng.permutation((np.arange(num) + rng.integers(2)) % 2 == 0)
