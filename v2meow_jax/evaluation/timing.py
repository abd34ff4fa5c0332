"""Whether two clips of music are in time: onsets, beats and tempo."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation import beat_coverage
from v2meow_jax.evaluation import beat_scores
from v2meow_jax.evaluation import scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
  """What was heard in one clip, or is known of it.

  Attributes:
    onsets: float64[num_onsets], seconds, rising.
    beats: Its tempo and beats.
  """

  onsets: np.ndarray
  beats: beat_scores.Beats


def listen(audio: media.Audio) -> Heard:
  """Onsets as the adjusted beat coverage hears them, beats by `track`."""
  return Heard(
    onsets=beat_coverage.onsets(audio), beats=beat_scores.track(audio)
  )


def timing(
  reference: Sequence[Heard], generated: Sequence[Heard], *, seed: int = 0
) -> dict[str, scores.Score]:
  """Scores that a shift of a tenth of a second changes.

  Args:
    reference: Of the true music, heard or known.
    generated: Of the music that is scored, in the same order.
    seed: Of the intervals.

  Returns:
    'onset_f' and 'beat_f': F-measure within 70 ms; 'tempo_error', in octaves;
    'tempo_accuracy': the share of clips within 4 % of the reference's tempo.
    All in [0, 1]; all but the error are 0 for a clip without a pulse.

  Raises:
    ValueError: Numbers of clips that differ, or none.
  """
  scores.require_pairs(reference, generated)
  pairs = list(zip(reference, generated, strict=True))
  found = {
    name: scores.of_clips(
      np.array(values),
      seed=seed,
      window_seconds=beat_scores.BEAT_TOLERANCE_SECONDS,
    )
    for name, values in (
      ('onset_f', [beat_scores.beat_f(g.onsets, r.onsets) for r, g in pairs]),
      (
        'beat_f',
        [beat_scores.beat_f(g.beats.times, r.beats.times) for r, g in pairs],
      ),
    )
  }
  tempi = [(made.beats.tempo_bpm, true.beats.tempo_bpm) for true, made in pairs]
  found['tempo_error'] = scores.of_clips(
    np.array([beat_scores.tempo_error(*pair) for pair in tempi]),
    seed=seed,
    unit='octaves, at most 1',
  )
  found['tempo_accuracy'] = scores.of_clips(
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
  return found
