"""Reports the quality of clusters: distance, evenness of use, movement."""

import dataclasses

import numpy as np

from v2meow_jax.clusters import kmeans
from v2meow_jax.clusters import kmeans_assign
from v2meow_jax.clusters import kmeans_stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterReport:
  """Quality of clusters in numbers.

  Attributes:
    num_rows: Number of clustered rows.
    inertia_per_row: Mean squared distance to the nearest centroid. For rows of
      dim standardised numbers, its share of dim is the variance that is lost.
    usage: Number of rows of each centroid, int64[k].
    moved: Root mean square movement of the centroids in the last step.
    held_out_rows: Number of held-out rows.
    held_out_inertia_per_row: Mean squared distance of held-out rows; None
      without any.
  """

  num_rows: int
  inertia_per_row: float
  usage: np.ndarray
  moved: float
  held_out_rows: int = 0
  held_out_inertia_per_row: float | None = None

  @property
  def num_used(self) -> int:
    """Number of centroids with rows."""
    return int((self.usage > 0).sum())

  @property
  def perplexity(self) -> float:
    """Exponential of the entropy of use, from 1 (one cluster) to k (all alike)."""
    share = self.usage[self.usage > 0] / self.usage.sum()
    return float(np.exp(-(share * np.log(share)).sum()))

  def __str__(self) -> str:
    """Formats a table of two columns."""
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
  clusters: kmeans.Clusters | kmeans_stream.StreamClusters,
  held_out: np.ndarray | None = None,
) -> ClusterReport:
  """Reports on clusters.

  Args:
    clusters: Clusters from `kmeans.fit`, or from `kmeans_stream.fit`, whose
      inertia and use are those of the last pass, while the centroids moved.
    held_out: Rows that were not clustered, float[n, dim].
  """
  if isinstance(clusters, kmeans.Clusters):
    usage, num_rows = clusters.usage, int(clusters.usage.sum())
  else:
    usage, num_rows = clusters.counts, clusters.num_rows
  held_out_fields = {}
  if held_out is not None and len(held_out):
    distance = kmeans_assign.assign(held_out, clusters.centroids).distance
    held_out_fields = {
      'held_out_rows': len(held_out),
      'held_out_inertia_per_row': float(distance.mean(dtype=np.float64)),
    }
  return ClusterReport(
    num_rows=num_rows,
    inertia_per_row=clusters.inertia / max(num_rows, 1),
    usage=usage,
    moved=clusters.moved,
    **held_out_fields,
  )
