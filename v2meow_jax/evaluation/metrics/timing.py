"""Scores how well two clips agree in time: onsets, beats and tempo."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores

_WINDOW_SECONDS = beat_scores.BEAT_TOLERANCE_SECONDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rhythm:
  """Onsets and beats of one clip, estimated or known.

  Attributes:
    onsets: Onset times in seconds, rising, float64[num_onsets].
    beats: Tempo and beats.
  """

  onsets: np.ndarray
  beats: beat_scores.Beats


def timing(
  reference: Sequence[Rhythm], generated: Sequence[Rhythm], *, seed: int = 0
) -> dict[str, scores.Score]:
  """Computes scores that a shift of a tenth of a second changes.

  Args:
    reference: Rhythm of the true music of each clip.
    generated: Rhythm of the music to score, in the same order.
    seed: Seed of the intervals.

  Returns:
    'bcs_70ms', 'bhs_70ms' and 'f1_70ms': beat coverage, hit and the harmonic
    mean of their means, of onsets that agree within 70 ms instead of seconds;
    'onset_f' and 'beat_f': mean F-measure of a clip within 70 ms;
    'tempo_error', in octaves; 'tempo_accuracy': the share of clips within 4 %
    of the reference's tempo. All in [0, 1]; all but the error are 0 for a clip
    without a pulse.

  Raises:
    ValueError: Numbers of clips that differ, or none.
  """
  scores.require_pairs(reference, generated)
  pairs = list(zip(reference, generated, strict=True))
  metrics = _windowed(pairs, seed)
  for name, values in (
    ('onset_f', [beat_scores.beat_f(g.onsets, r.onsets) for r, g in pairs]),
    (
      'beat_f',
      [beat_scores.beat_f(g.beats.times, r.beats.times) for r, g in pairs],
    ),
  ):
    metrics[name] = scores.of_clips(
      np.array(values), seed=seed, window_seconds=_WINDOW_SECONDS
    )
  tempi = [(made.beats.tempo_bpm, true.beats.tempo_bpm) for true, made in pairs]
  metrics['tempo_error'] = scores.of_clips(
    np.array([beat_scores.tempo_error(*pair) for pair in tempi]),
    seed=seed,
    unit='octaves, at most 1',
  )
  metrics['tempo_accuracy'] = scores.of_clips(
    np.array(
      [
        true is not None and beat_scores.tempo_agrees(made, true)
        for made, true in tempi
      ]
    ),
    seed=seed,
    tolerance=beat_scores.TEMPO_TOLERANCE,
    octave_errors=sum(
      true is not None and beat_scores.tempo_octave(made, true)
      for made, true in tempi
    ),
  )
  return metrics


def _windowed(
  pairs: Sequence[tuple[Rhythm, Rhythm]], seed: int
) -> dict[str, scores.Score]:
  """Scores coverage and hit of onsets matched one to one within 70 ms."""
  import mir_eval

  values, full = [], []
  for true, made in pairs:
    _, coverage, hit = (
      mir_eval.onset.f_measure(true.onsets, made.onsets, window=_WINDOW_SECONDS)
      if len(true.onsets) and len(made.onsets)
      else (0.0, 0.0, 0.0)
    )
    values.append((coverage, hit))
    full.append((_is_dense(true.onsets), _is_dense(made.onsets)))
  shares = np.mean(full, axis=0).tolist()
  details = {'window_seconds': _WINDOW_SECONDS, 'heard': 'onsets'}
  metrics = {
    name: scores.of_clips(
      column, seed=seed, **details, saturated=share > 0.5, saturated_share=share
    )
    for name, column, share in zip(
      ('bcs_70ms', 'bhs_70ms'), np.array(values).T, shares, strict=True
    )
  }
  metrics['f1_70ms'] = scores.of_set(
    bootstrap.means_interval(
      np.array(values), beat_coverage.harmonic_mean, seed=seed
    ),
    len(pairs),
    beat_coverage.harmonic_mean(np.array(values)),
    **details,
    saturated=max(shares) > 0.5,
  )
  return metrics


def _is_dense(onsets: np.ndarray) -> bool:
  """Checks whether any time between the first and last onset is near one."""
  return len(onsets) > 1 and np.diff(onsets).max() <= 2 * _WINDOW_SECONDS
