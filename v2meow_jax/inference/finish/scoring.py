"""Scores takes of one clip, to choose the best: how clearly the beats are heard.

The scorer needs no network and no recording to compare with. It looks at where
the sound changes suddenly, and asks how much more it does so on the beats of the
plan, the cuts among them, than between.
"""

import dataclasses
from typing import Any

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import sound
from v2meow_jax.inference import streams as streams_lib
from v2meow_jax.inference.finish import options

# Name of the scorer in sidecars; raised when equal takes get other scores.
NAME = 'beats_of_plan_1'
_HOPS_HZ = 100
_FRAME_SECONDS = 0.032
_NUM_BANDS = 24
_LOWEST_HZ = 50.0
_NEAR_HOPS = 5  # Within 50 ms, on either side of a beat.
_FLOOR = 1e-6
_BATCH = 2000


class Contest:
  """Takes of one clip that are compared, of which the best is kept.

  Attributes:
    best: Take with the highest score so far, the first among equals; None: none
      is of use.
  """

  def __init__(self):
    """Has seen no take."""
    self.best: requests_lib.Soundtrack | None = None
    self._best_score = -np.inf
    self._takes: list[dict[str, Any]] = []

  def add(self, soundtrack: requests_lib.Soundtrack) -> None:
    """Scores a take; one that fails the checks of an output has no score.

    Raises:
      ValueError: It follows no plan.
    """
    plan = soundtrack.plan
    if plan is None:
      raise ValueError(options.NO_PLAN)
    facts = {'seed': soundtrack.settings['seed'], 'score': None}
    self._takes.append(facts)
    try:
      sound.require_usable(
        soundtrack.audio, soundtrack.seconds, plan.end_seconds
      )
    except sound.UnusableSound as e:
      facts['why'] = str(e)
      return
    facts['score'] = score = round(beats_heard(soundtrack.audio, plan), 4)
    if score > self._best_score:
      self.best, self._best_score = soundtrack, score

  def winner(self) -> requests_lib.Soundtrack:
    """The best take, whose settings have the scores of all.

    Raises:
      sound.UnusableSound: None is of use.
    """
    if self.best is None:
      raise sound.UnusableSound(
        'unusable',
        f'none of {len(self._takes)} takes is of use; the first: '
        f'{self._takes[0]["why"]}',
      )
    facts = {'scorer': NAME, 'takes': self._takes}
    settings = {**self.best.settings, 'best_of': facts}
    return dataclasses.replace(self.best, settings=settings)


def takes(
  read: streams_lib.ReadRequest, count: int
) -> list[streams_lib.ReadRequest]:
  """Requests of one clip that differ in their seeds, the first as it is."""
  if count == 1:
    return [read]
  seeds = [read.clip.seed + number for number in range(count)]
  return [
    dataclasses.replace(
      read,
      clip=dataclasses.replace(
        read.clip, seed=seed, streams=dict(read.clip.streams)
      ),
      settings={**read.settings, 'seed': seed},
    )
    for seed in seeds
  ]


def beats_heard(audio: media.Audio, plan: plan_lib.MusicPlan) -> float:
  """How much more the sound changes on the beats of a plan than between them.

  Returns:
    Difference of the means of the onset strength, in standard deviations; 0
    without beats or a place between them.
  """
  onsets = onset_strength(audio)
  if len(onsets) < 2 * _NEAR_HOPS + 1:
    return 0.0
  nearby = np.lib.stride_tricks.sliding_window_view(
    np.pad(onsets, _NEAR_HOPS), 2 * _NEAR_HOPS + 1
  ).max(axis=1)
  times = np.array([beat.seconds for beat in plan.beats])
  hops = np.round(times * _HOPS_HZ).astype(int)
  hops = hops[(hops >= 0) & (hops < len(nearby))]
  is_between = np.ones(len(nearby), bool)
  for shift in range(-2 * _NEAR_HOPS, 2 * _NEAR_HOPS + 1):
    is_between[np.clip(hops + shift, 0, len(nearby) - 1)] = False
  spread = float(nearby.std())
  if not (len(hops) and is_between.any() and spread > 0):
    return 0.0
  return float(nearby[hops].mean() - nearby[is_between].mean()) / spread


def onset_strength(audio: media.Audio) -> np.ndarray:
  """Rise of the level, summed over bands: float64[hops], 100 a second."""
  rate_hz, samples = audio.rate_hz, audio.samples
  size = round(_FRAME_SECONDS * rate_hz)
  num_hops = round(len(samples) * _HOPS_HZ / rate_hz)
  starts = np.round(np.arange(num_hops) * rate_hz / _HOPS_HZ).astype(int)
  padded = np.pad(samples, (size // 2, size))
  borders = np.geomspace(_LOWEST_HZ, rate_hz / 2, _NUM_BANDS + 1)
  bins = np.unique(np.round(borders * size / rate_hz).astype(int))
  levels = []
  for i in range(0, num_hops, _BATCH):
    frames = padded[starts[i : i + _BATCH, None] + np.arange(size)]
    power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2
    bands = np.add.reduceat(power[:, : bins[-1]], bins[:-1], axis=1)
    levels.append(np.log10(bands / size + _FLOOR))
  if not levels:
    return np.zeros(0)
  rises = np.diff(np.concatenate(levels), axis=0, prepend=levels[0][:1])
  return np.maximum(rises, 0).sum(axis=1)
