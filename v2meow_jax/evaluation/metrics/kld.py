"""Computes Kullback-Leibler divergences of a classifier's posteriors."""

from typing import Literal

from jaxtyping import Float
import numpy as np

from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.pretrained import network as network_lib

Form = Literal['softmax', 'sigmoid']
# Smallest posterior, so that a class that float32 rounds to 0 does not make a
# divergence infinite.
FLOOR = 1e-7
# Sums of float16 posteriors over 527 classes come this close to 1.
_SUM_TOLERANCE = 1e-2


def softmax(
  logits: Float[np.ndarray, 'clips classes'],
) -> Float[np.ndarray, 'clips classes']:
  """Computes posteriors of a classifier that gives each clip one label."""
  logits = np.asarray(logits, np.float64)
  odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return odds / odds.sum(axis=-1, keepdims=True)


def sigmoid(
  logits: Float[np.ndarray, 'clips classes'],
) -> Float[np.ndarray, 'clips classes']:
  """Computes posteriors of a classifier of any number of labels a clip."""
  return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


def divergences(
  reference: Float[np.ndarray, 'clips classes'],
  generated: Float[np.ndarray, 'clips classes'],
  form: Form,
) -> Float[np.ndarray, 'clips']:
  """Computes KL(reference || generated) of each pair of clips, in nats.

  'softmax', one label a clip: sum over classes of p log(p / q). 'sigmoid', any
  number of labels: the sum over classes of the divergence of two coins,
  p log(p / q) + (1 - p) log((1 - p) / (1 - q)).

  >>> p, q = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
  >>> divergences(p, q, 'softmax').round(6).tolist()
  [0.143841]

  Args:
    reference: Posteriors of the reference, by `softmax` or `sigmoid`.
    generated: Posteriors of the generated clips, in the same order.
    form: Form of the posteriors.

  Returns:
    >= 0, and 0 where both are the same; not symmetric.

  Raises:
    ValueError: Numbers that are no posteriors of that form, or shapes that
      differ.
  """
  p, q = _outcomes(reference, form), _outcomes(generated, form)
  if p.shape != q.shape:
    raise ValueError(
      f'posteriors have shapes {np.shape(reference)} and'
      f' {np.shape(generated)}; wanted pairs from one classifier.'
    )
  return np.maximum(0.0, np.sum(p * (np.log(p) - np.log(q)), axis=1))


def kld(
  reference: Float[np.ndarray, 'clips classes'],
  generated: Float[np.ndarray, 'clips classes'],
  network: network_lib.NetworkId,
  *,
  form: Form = 'softmax',
  seed: int = 0,
) -> dict[str, scores.Score]:
  """Computes the mean divergence of pairs, and of mismatched pairs.

  Args:
    reference: Posteriors of the reference clips, one row each: the mean over
      a clip's windows.
    generated: Posteriors of the generated clips, in the same order.
    network: The classifier.
    form: Form of the posteriors, see `divergences`.
    seed: Seed of the intervals.

  Returns:
    'kld_<form>/<network>', KL(reference || generated), with the mean of the
    other direction as `reverse` in its details, and, of two clips or more,
    'kld_<form>_shuffled/<network>': each generated clip against the reference
    of every other.

  Raises:
    ValueError: No clips, or see `divergences`.
  """
  scores.require_pairs(reference, generated)
  details = {
    'network': network.as_dict(),
    'direction': 'KL(reference || generated)',
    'form': form,
    'unit': 'nats',
  }
  metrics = {
    f'kld_{form}/{network.name}': scores.of_clips(
      divergences(reference, generated, form),
      seed=seed,
      **details,
      reverse=float(divergences(generated, reference, form).mean()),
    )
  }
  if len(generated) > 1:
    metrics[f'kld_{form}_shuffled/{network.name}'] = scores.of_mismatched(
      _grid(reference, generated, form), seed=seed, **details
    )
  return metrics


def posteriors(
  values: Float[np.ndarray, 'clips classes'], form: Form
) -> Float[np.ndarray, 'clips classes']:
  """Converts posteriors to float64, at least FLOOR; ValueError for others."""
  values = np.asarray(values, np.float64)
  if values.ndim != 2 or values.shape[1] < 1 or len(values) < 1:
    raise ValueError(
      f'posteriors have shape {values.shape}; wanted [clips, classes].'
    )
  # No comparison with NaN is true.
  if not np.all((values >= 0.0) & (values <= 1.0 + _SUM_TOLERANCE)):
    raise ValueError(
      f'posteriors reach from {values.min():g} to {values.max():g}; wanted'
      f' [0, 1]. Are they logits? Take the {form} of them first.'
    )
  if form == 'sigmoid':
    return np.clip(values, FLOOR, 1.0 - FLOOR)
  sums = values.sum(axis=1)
  if np.any(np.abs(sums - 1.0) > _SUM_TOLERANCE):
    raise ValueError(
      f'posteriors of a clip sum to {sums[np.abs(sums - 1).argmax()]:g};'
      ' wanted 1. A classifier of many labels needs form sigmoid.'
    )
  floored = np.maximum(values, FLOOR)
  return floored / floored.sum(axis=1, keepdims=True)


def _outcomes(
  values: Float[np.ndarray, 'clips classes'], form: Form
) -> Float[np.ndarray, 'clips outcomes']:
  """Lists probabilities of all outcomes, so that one law fits both forms."""
  checked = posteriors(values, form)
  if form == 'softmax':
    return checked
  return np.concatenate([checked, 1.0 - checked], axis=1)


def _grid(
  reference: Float[np.ndarray, 'clips classes'],
  generated: Float[np.ndarray, 'clips classes'],
  form: Form,
) -> Float[np.ndarray, 'clips clips']:
  """Computes [i, j]: KL(reference j || generated i)."""
  p, q = _outcomes(reference, form), _outcomes(generated, form)
  return np.sum(p * np.log(p), axis=1) - np.log(q) @ p.T
