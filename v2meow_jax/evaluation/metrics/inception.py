"""Computes the inception score: sure classes of clips, varied over the set."""

from jaxtyping import Float
import numpy as np

from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import kld
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.pretrained import network as network_lib


def inception_score(
  generated: Float[np.ndarray, 'clips classes'],
  network: network_lib.NetworkId,
  *,
  seed: int = 0,
) -> dict[str, scores.Score]:
  """Computes exp of the mean KL(p(class | clip) || p(class)).

  Salimans et al. 2016; p(class) is the mean over all clips: one split (their
  code has ten, whose scores are smaller, being of fewer clips).

  Args:
    generated: Posteriors of a classifier of one label, by `kld.softmax`.
    network: The classifier.
    seed: Seed of the jackknife's groups.

  Returns:
    'is/<network>': 1, where all clips have the same posteriors, up to the
    number of classes. `per_clip` has the divergences, in nats.

  Raises:
    ValueError: Fewer than two clips, or numbers that are no posteriors.
  """
  rows = kld.posteriors(generated, 'softmax')

  def per_clip(kept: np.ndarray) -> np.ndarray:
    return np.sum(
      rows[kept] * np.log(rows[kept] / rows[kept].mean(axis=0)), axis=1
    )

  interval = bootstrap.jackknife_interval(
    lambda kept: float(np.exp(per_clip(kept).mean())), len(rows), seed=seed
  )
  score = scores.Score(
    value=interval.mean,
    low=max(1.0, interval.low),
    high=interval.high,
    num_clips=len(rows),
    per_clip=tuple(per_clip(np.arange(len(rows))).tolist()),
    details={
      'network': network.as_dict(),
      'classes': rows.shape[1],
      'splits': 1,
      'per_clip': 'KL(clip || set), nats',
    },
  )
  return {f'is/{network.name}': score}
