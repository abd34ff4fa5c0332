"""How good clusters are: how near, how evenly used, how settled."""

from __future__ import annotations

import dataclasses

import numpy as np

from v2meow_jax.clusters import kmeans
from v2meow_jax.clusters import kmeans_assign
from v2meow_jax.clusters import kmeans_stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """What there is to know about clusters without hearing them.

  Attributes:
    num_rows: That were clustered.
    inertia_per_row: Mean squared distance to the nearest centroid. Of rows of
      dim standardised numbers, their share of dim is what codes do not tell.
    usage: int64[k], rows of each centroid.
    moved: Root mean square of how far the centroids went in the last step.
    held_out_rows: Others, which no centroid has seen.
    held_out_inertia_per_row: Of those; None: there were none.
  """

  num_rows: int
  inertia_per_row: float
  usage: np.ndarray
  moved: float
  held_out_rows: int = 0
  held_out_inertia_per_row: float | None = None

  @property
  def num_used(self) -> int:
    """Centroids with a row."""
    return int((self.usage > 0).sum())

  @property
  def perplexity(self) -> float:
    """2 to the entropy of use in bits: k when all are used alike, 1 of one."""
    share = self.usage[self.usage > 0] / self.usage.sum()
    return float(np.exp(-(share * np.log(share)).sum()))

  def __str__(self) -> str:
    """A table of two columns."""
    k = len(self.usage)
    equal = self.usage.sum() / k
    lines = {
      'rows': f'{self.num_rows:,}',
      'inertia per row': f'{self.inertia_per_row:.6g}',
    }
    if self.held_out_inertia_per_row is not None:
      lines |= {
        'held-out rows': f'{self.held_out_rows:,}',
        'held-out inertia per row': f'{self.held_out_inertia_per_row:.6g}',
      }
    lines |= {
      'clusters used': f'{self.num_used:,} of {k:,}',
      'perplexity of use': f'{self.perplexity:,.1f}',
      'least used': _share(self.usage.min(), equal),
      'most used': _share(self.usage.max(), equal),
      'moved in the last step': f'{self.moved:.3g}',
    }
    width = max(map(len, lines))
    return '\n'.join(f'{name:<{width}}  {v}' for name, v in lines.items())


def _share(rows: int, equal: float) -> str:
  return f'{rows:,} rows, {rows / equal:.2g} of an equal share'


def report(
  found: kmeans.Clusters | kmeans_stream.State,
  held_out: np.ndarray | None = None,
) -> Report:
  """Reports on clusters.

  Args:
    found: Of `kmeans.fit`; or of `kmeans_stream.fit`, whose inertia and use are
      those of the last pass, while the centroids still moved.
    held_out: float[n, dim], rows that were not clustered.

  Returns:
    The report.
  """
  if isinstance(found, kmeans.Clusters):
    usage, num_rows = found.usage, int(found.usage.sum())
  else:
    usage, num_rows = found.counts, found.num_rows
  others = {}
  if held_out is not None and len(held_out):
    _, distance = kmeans_assign.assign(held_out, found.centroids)
    others = {
      'held_out_rows': len(held_out),
      'held_out_inertia_per_row': float(distance.mean(dtype=np.float64)),
    }
  return Report(
    num_rows=num_rows,
    inertia_per_row=found.inertia / max(num_rows, 1),
    usage=usage,
    moved=found.moved,
    **others,
  )
