"""Computes cosines in a joint embedding: MCC and CLAP score."""

from typing import Literal

from jaxtyping import Float
import numpy as np

from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.pretrained import network as network_lib

Metric = Literal['mcc_audio', 'mcc_text', 'clap_score']
# Targets that each metric compares the generated music with.
_TARGETS: dict[Metric, str] = {
  'mcc_audio': 'the reference audio',
  'mcc_text': 'the prompt',
  'clap_score': 'the prompt',
}


def cosines(
  generated: Float[np.ndarray, 'n dim'], targets: Float[np.ndarray, 'm dim']
) -> Float[np.ndarray, 'n m']:
  """Computes the cosine of each generated vector with each target.

  Raises:
    ValueError: Vectors of different width, of zeros, or not finite.
  """
  return _unit(generated, 'generated') @ _unit(targets, 'target').T


def mean_cosine(
  targets: Float[np.ndarray, 'clips dim'],
  generated: Float[np.ndarray, 'clips dim'],
  network: network_lib.NetworkId,
  *,
  metric: Metric,
  seed: int = 0,
) -> dict[str, scores.Score]:
  """Computes the mean cosine of pairs, and of mismatched pairs.

  V2Meow's MCC compares the music with the video's own music ('mcc_audio') or,
  where there is a caption, with that ('mcc_text'); MuVi's CLAP score is the
  latter with CLAP. Mismatched pairs are the paper's 'random shuffle' row.

  Args:
    targets: Audio or text vectors, one per clip.
    generated: Vectors of the generated clips, by the same network.
    network: The joint embedding.
    metric: Name of the metric.
    seed: Seed of the intervals.

  Returns:
    '<metric>/<network>' and, of two clips or more,
    '<metric>_shuffled/<network>'.

  Raises:
    ValueError: Numbers of clips that differ, or see `cosines`.
  """
  scores.require_pairs(targets, generated)
  grid = cosines(generated, targets)
  details = {'network': network.as_dict(), 'against': _TARGETS[metric]}
  metrics = {
    f'{metric}/{network.name}': scores.of_clips(
      np.diagonal(grid), seed=seed, **details
    )
  }
  if len(grid) > 1:
    metrics[f'{metric}_shuffled/{network.name}'] = scores.of_mismatched(
      grid, seed=seed, **details
    )
  return metrics


def _unit(
  vectors: Float[np.ndarray, 'n dim'], side: str
) -> Float[np.ndarray, 'n dim']:
  vectors = np.asarray(vectors, np.float64)
  norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
  if vectors.ndim != 2 or not np.all(np.isfinite(norms) & (norms > 0)):
    raise ValueError(
      f'{side} vectors of shape {vectors.shape} must be finite [clips, dim],'
      ' none of them all zeros; leave out the clips that failed.'
    )
  return vectors / norms
