"""Computes beat coverage and hit on bins of one second, as papers do.

Both forms detect onsets, not beats, and a bin is set if one onset starts in it,
so music with an onset in every second scores as if perfectly aligned. `timing`
has scores with a finer resolution than a second.
"""

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
from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.evaluation.metrics import scores

Form = Literal['adjusted', 'unadjusted']
Statistic = Callable[[np.ndarray], np.ndarray]
RATE_HZ = 22_050
# librosa's peak picking, in frames of 512 samples: adjusted as in
# github.com/OpenGVLab/LORIS, beats_scores.py, unadjusted as in
# github.com/L-YeZhu/Beats_Scores.
_DETECTOR: Mapping[Form, Mapping[str, float]] = {
  'adjusted': {'pre_avg': 3, 'post_avg': 3, 'pre_max': 3, 'post_max': 3},
  'unadjusted': {'pre_avg': 1, 'post_avg': 1, 'pre_max': 1, 'post_max': 1},
}
# A clip this much longer than whole seconds was rounded: it has no more bins.
_ROUNDING_SECONDS = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
  """Scores of one pair of clips.

  Attributes:
    coverage: Adjusted: share of the generated clip's bins that the reference
      sets too, a precision. Unadjusted: generated bins over reference bins,
      which can be above 1.
    hit: Share of the reference's bins that the generated clip sets too, a
      recall.
    coverage_saturated: Whether no other timing could change coverage: all bins
      are set, adjusted: by the reference, unadjusted: by the generated clip.
    hit_saturated: Whether no reference could lower hit: the generated clip
      sets all bins.
  """

  coverage: float
  hit: float
  coverage_saturated: bool
  hit_saturated: bool


def onsets(
  audio: media.Audio, form: Form = 'adjusted'
) -> Float[np.ndarray, 'onsets']:
  """Detects the times of onsets, in seconds, as the code of that form does."""
  librosa = numba_cache.librosa()

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
  """Marks the seconds of a clip that have an event; the last may be shorter.

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
  """Scores one pair of clips by their bins.

  Adjusted: Yu et al. 2023 (LORIS); unadjusted: Zhu et al. 2022. A score that
  would divide by zero is 0.

  >>> pair = compare(np.ones(4, bool), np.array([1, 0, 1, 0], bool))
  >>> pair.coverage, pair.hit, pair.coverage_saturated
  (1.0, 0.5, True)

  Args:
    reference: Bins of the true music, at least as many as `generated`; the
      rest is cut off.
    generated: Bins of the clip to score.
    form: Form of the scores.

  Returns:
    The scores; swapping the clips swaps the adjusted form's two.

  Raises:
    ValueError: No bins, or a reference shorter than the generated clip.
  """
  reference = np.asarray(reference, bool)[: len(generated)]
  generated = np.asarray(generated, bool)
  if len(reference) != len(generated) or len(generated) == 0:
    raise ValueError(
      f'a reference of {len(reference)} s and a generated clip of'
      f' {len(generated)} s; wanted a reference as long as the clip, and at'
      ' least one second: cut the longer one.'
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
  reference: Sequence[Bool[np.ndarray, 'bins']],
  generated: Sequence[Bool[np.ndarray, 'bins']],
  *,
  form: Form = 'adjusted',
  seed: int = 0,
) -> dict[str, scores.Score]:
  """Computes coverage, hit, their harmonic mean and deviations, over clips.

  `saturated` in the details warns that the figure does not depend on timing:
  more than half of the clips (`saturated_share`) are saturated, see
  `Coverage`. F1 is saturated when either of its two is.

  Args:
    reference: `bins` of the true music of each clip.
    generated: `bins` of the music to score, in the same order; no clip has
      more than its reference.
    form: 'adjusted', the paper's, or 'unadjusted', comparable with 'BCS' of
      earlier papers and of MuVi.
    seed: Seed of the intervals.

  Returns:
    'bcs', 'bhs' and 'f1', the harmonic mean of the two means; for two clips or
    more also 'csd' and 'hsd', their standard deviations over clips (n - 1),
    with each clip's deviation in `per_clip`. Names of the unadjusted form end
    in '_unadjusted'. Shares, not percent.

  Raises:
    ValueError: Numbers of clips that differ, or see `compare`.
  """
  scores.require_pairs(reference, generated)
  pairs = [
    compare(*bins, form) for bins in zip(reference, generated, strict=True)
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
  metrics = {}
  for i, name in enumerate(('bcs', 'bhs')):
    metrics[name + suffix] = scores.of_clips(
      values[:, i], seed=seed, **facts, **flags[i]
    )
  saturated = any(flag['saturated'] for flag in flags)
  gaps = (values - values.mean(axis=0)).T
  # F1 is that of the means, not the mean over clips.
  per_clip = {'f1': harmonic_mean(values), 'csd': gaps[0], 'hsd': gaps[1]}
  for name, (columns, statistic) in of_all(values).items():
    own = {'saturated': saturated} if name == 'f1' else {}
    interval = bootstrap.means_interval(columns, statistic, seed=seed)
    metrics[name + suffix] = scores.of_set(
      interval, len(pairs), per_clip[name], **facts, **own
    )
  return metrics


def of_all(
  values: Float[np.ndarray, 'clips 2'],
) -> dict[str, tuple[Float[np.ndarray, 'clips 2'], Statistic]]:
  """Lists the figures of all clips together, for a bootstrap over clips.

  Args:
    values: Coverage and hit of each clip.

  Returns:
    'f1' and, for two clips or more, 'csd' and 'hsd', each as two numbers a
    clip and the function of rows of their means.
  """
  metrics: dict[str, tuple[np.ndarray, Statistic]] = {
    'f1': (values, harmonic_mean)
  }
  if len(values) > 1:
    unbiased = len(values) / (len(values) - 1)
    for name, column in zip(('csd', 'hsd'), values.T, strict=True):
      centred = column - column.mean()  # Loses less to rounding.
      metrics[name] = (
        np.stack([centred, centred**2], axis=1),
        lambda m: np.sqrt(unbiased * np.maximum(m[:, 1] - m[:, 0] ** 2, 0.0)),
      )
  return metrics


def harmonic_mean(
  means: Float[np.ndarray, '*rows 2'],
) -> Float[np.ndarray, '*rows']:
  """Computes the harmonic mean of each row's two numbers >= 0; 0 for zeros."""
  sums = means.sum(axis=-1)
  return 2 * means.prod(axis=-1) / np.where(sums > 0, sums, 1.0)


def bins(
  audio: media.Audio, form: Form = 'adjusted'
) -> Bool[np.ndarray, 'bins']:
  """Marks the seconds of a clip in which that form detects an onset."""
  return second_bins(onsets(audio, form), audio.seconds)


def _ratio(part: int, whole: int) -> float:
  return float(part / whole) if whole else 0.0
