"""Beat coverage and hit on bins of one second, as papers have them.

Both forms hear onsets, not beats, and a bin is set if one onset starts in it,
so music with an onset in every second has the scores of perfect alignment.
`timing` has scores that see less than a second.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Literal

from jaxtyping import Bool
from jaxtyping import Float
import numpy as np
import soxr

from v2meow_jax import media
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores

Form = Literal['adjusted', 'unadjusted']
Statistic = Callable[[np.ndarray], np.ndarray]
RATE_HZ = 22_050
# Of librosa's peak picking, in frames of 512 samples. The adjusted form is
# that of github.com/OpenGVLab/LORIS, beats_scores.py, the other that of
# github.com/L-YeZhu/Beats_Scores.
_DETECTOR: Mapping[Form, Mapping[str, float]] = {
  'adjusted': {'pre_avg': 3, 'post_avg': 3, 'pre_max': 3, 'post_max': 3},
  'unadjusted': {'pre_avg': 1, 'post_avg': 1, 'pre_max': 1, 'post_max': 1},
}
# A clip this much longer than whole seconds was rounded, and has no more bins.
_ROUNDING_SECONDS = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
  """Scores of one pair of clips.

  Attributes:
    coverage: Adjusted: the share of the generated clip's bins that the
      reference has too, a precision. Unadjusted: generated bins over reference
      bins, which can be above 1.
    hit: The share of the reference's bins that the generated clip has too, a
      recall.
    coverage_saturated: No other timing could have changed coverage. Adjusted:
      the reference fills all bins. Unadjusted: the generated clip does.
    hit_saturated: No reference could have lowered hit: the generated clip
      fills all bins.
  """

  coverage: float
  hit: float
  coverage_saturated: bool
  hit_saturated: bool


def onsets(
  audio: media.Audio, form: Form = 'adjusted'
) -> Float[np.ndarray, 'onsets']:
  """Seconds at which notes start, heard as that form's published code does."""
  import librosa

  samples = np.asarray(audio.samples, np.float32)
  if not samples.any():
    return np.zeros(0)
  samples = soxr.resample(samples, audio.rate_hz, RATE_HZ, 'HQ')
  return librosa.onset.onset_detect(
    y=samples, sr=RATE_HZ, wait=1, delta=0.2, units='time', **_DETECTOR[form]
  )


def second_bins(
  times: Float[np.ndarray, 'events'], seconds: float
) -> Bool[np.ndarray, 'bins']:
  """Which seconds of a clip have an event; the last may be cut short.

  >>> second_bins(np.array([0.1, 0.9, 2.5]), 3.0).tolist()
  [True, False, True]
  """
  made = np.zeros(math.ceil(seconds - _ROUNDING_SECONDS), bool)
  index = np.asarray(times, np.float64).astype(int)
  made[index[index < len(made)]] = True
  return made


def compare(
  reference: Bool[np.ndarray, 'bins'],
  generated: Bool[np.ndarray, 'bins'],
  form: Form = 'adjusted',
) -> Coverage:
  """Scores of one pair of clips from their bins.

  Adjusted as in Yu et al. 2023 (LORIS), unadjusted as in Zhu et al. 2022; a
  score that would divide by zero is 0.

  >>> pair = compare(np.ones(4, bool), np.array([1, 0, 1, 0], bool))
  >>> pair.coverage, pair.hit, pair.coverage_saturated
  (1.0, 0.5, True)

  Args:
    reference: At least as many bins as `generated`; the rest is cut off.
    generated: Of the clip that is scored.
    form: 'adjusted' or 'unadjusted'.

  Returns:
    The scores. Neither form is symmetric, but swapping the clips swaps the
    adjusted form's two scores.

  Raises:
    ValueError: No bins, or a reference shorter than the generated clip.
  """
  reference = np.asarray(reference, bool)[: len(generated)]
  generated = np.asarray(generated, bool)
  if len(reference) != len(generated) or len(generated) == 0:
    raise ValueError(
      f'a reference of {len(reference)} s and a generated clip of'
      f' {len(generated)} s; wanted a reference as long as the clip, and a'
      ' second at least: cut the longer one.'
    )
  hits = np.count_nonzero(reference & generated)
  in_reference = np.count_nonzero(reference)
  in_generated = np.count_nonzero(generated)
  full_reference, full_generated = reference.all(), generated.all()
  if form == 'adjusted':
    coverage, coverage_full = _ratio(hits, in_generated), full_reference
  else:
    coverage, coverage_full = _ratio(in_generated, in_reference), full_generated
  return Coverage(
    coverage=coverage,
    hit=_ratio(hits, in_reference),
    coverage_saturated=bool(coverage_full),
    hit_saturated=bool(full_generated),
  )


def beat_coverage(
  reference: Sequence[media.Audio],
  generated: Sequence[media.Audio],
  *,
  form: Form = 'adjusted',
  seed: int = 0,
) -> dict[str, scores.Score]:
  """Coverage, hit, their harmonic mean and their deviations, over clips.

  `saturated` in the details says that the figure cannot tell timing: it is set
  when more than half of the clips are saturated, see `Coverage`.
  `saturated_share` is how many are. That of F1 is set when either of its two
  is.

  Args:
    reference: The true music of each clip, of any rate.
    generated: The music that is scored, in the same order, no longer than its
      reference by a second's bin.
    form: 'adjusted', the paper's, or 'unadjusted', with which 'BCS' of earlier
      papers and of MuVi can be compared.
    seed: Of the intervals.

  Returns:
    'bcs', 'bhs' and 'f1', the harmonic mean of the two means; of two clips or
    more 'csd' and 'hsd' too, their standard deviations over clips (n - 1), for
    which `per_clip` has how far a clip is from the mean.
    Names of the unadjusted form end in '_unadjusted'. Shares: the papers print
    them times 100.

  Raises:
    ValueError: Numbers of clips that differ, or as `compare`.
  """
  scores.require_pairs(reference, generated)
  return of_bins(
    [bins(audio, form) for audio in reference],
    [bins(audio, form) for audio in generated],
    form=form,
    seed=seed,
  )


def of_bins(
  reference: Sequence[Bool[np.ndarray, 'bins']],
  generated: Sequence[Bool[np.ndarray, 'bins']],
  *,
  form: Form = 'adjusted',
  seed: int = 0,
) -> dict[str, scores.Score]:
  """`beat_coverage` of clips that were heard before; see there and `bins`."""
  scores.require_pairs(reference, generated)
  pairs = [
    compare(true, made, form)
    for true, made in zip(reference, generated, strict=True)
  ]
  values = np.array([[pair.coverage, pair.hit] for pair in pairs])
  full = np.array(
    [[pair.coverage_saturated, pair.hit_saturated] for pair in pairs]
  )
  facts = {'form': form, 'bin_seconds': 1.0, 'heard': 'onsets'}
  flags = []
  for share in full.mean(axis=0).tolist():
    flags.append({'saturated': share > 0.5, 'saturated_share': share})
  suffix = '' if form == 'adjusted' else '_unadjusted'
  found = {}
  for i, name in enumerate(('bcs', 'bhs')):
    found[name + suffix] = scores.of_clips(
      values[:, i], seed=seed, **facts, **flags[i]
    )
  saturated = any(flag['saturated'] for flag in flags)
  gaps = (values - values.mean(axis=0)).T
  # F1 is of the means and not the mean of these.
  per_clip = {'f1': harmonic_mean(values), 'csd': gaps[0], 'hsd': gaps[1]}
  for name, (columns, statistic) in of_all(values).items():
    own = {'saturated': saturated} if name == 'f1' else {}
    interval = bootstrap.means_interval(columns, statistic, seed=seed)
    found[name + suffix] = scores.of_set(
      interval, len(pairs), per_clip[name], **facts, **own
    )
  return found


def of_all(
  values: Float[np.ndarray, 'clips 2'],
) -> dict[str, tuple[Float[np.ndarray, 'clips 2'], Statistic]]:
  """What is of all clips together, for a bootstrap over them.

  Args:
    values: Coverage and hit of each clip.

  Returns:
    'f1' and, of two clips or more, 'csd' and 'hsd', each as two numbers a clip
    and the function of rows of their means.
  """
  found: dict[str, tuple[np.ndarray, Statistic]] = {
    'f1': (values, harmonic_mean)
  }
  if len(values) > 1:
    unbiased = len(values) / (len(values) - 1)
    for name, column in zip(('csd', 'hsd'), values.T, strict=True):
      centred = column - column.mean()  # So that little is lost to rounding.
      found[name] = (
        np.stack([centred, centred**2], axis=1),
        lambda m: np.sqrt(unbiased * np.maximum(m[:, 1] - m[:, 0] ** 2, 0.0)),
      )
  return found


def harmonic_mean(
  means: Float[np.ndarray, '*rows 2'],
) -> Float[np.ndarray, '*rows']:
  """Of the two numbers of each row, >= 0; 0 where both are."""
  sums = means.sum(axis=-1)
  return 2 * means.prod(axis=-1) / np.where(sums > 0, sums, 1.0)


def bins(
  audio: media.Audio, form: Form = 'adjusted'
) -> Bool[np.ndarray, 'bins']:
  """The seconds of a clip in which a note starts, as that form hears it."""
  return second_bins(onsets(audio, form), audio.seconds)


def _ratio(part: int, whole: int) -> float:
  return float(part / whole) if whole else 0.0
