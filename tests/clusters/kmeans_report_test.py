"""The report's numbers are those of a hand count."""

import jax
import numpy as np
import pytest

from v2meow_jax.clusters import kmeans
from v2meow_jax.clusters import kmeans_report
from v2meow_jax.clusters import kmeans_stream


def test_perplexity_is_the_number_of_evenly_used_clusters():
  def perplexity(*usage):
    return kmeans_report.ClusterReport(
      num_rows=1, inertia_per_row=0.0, usage=np.array(usage), moved=0.0
    ).perplexity

  assert perplexity(5, 5, 5, 5) == pytest.approx(4)
  assert perplexity(0, 9, 0) == pytest.approx(1)
  assert perplexity(2, 1, 1) == pytest.approx(2**1.5)


def test_report_of_a_stream_and_of_lloyd():
  rows = np.repeat(np.array([[0.0, 0], [6, 0], [6, 8]], 'f'), [50, 30, 20], 0)
  held_out = np.array([[0.0, 3], [6, 12]])
  lloyd = kmeans.fit(rows, 3, rng=jax.random.key(0))
  stream = kmeans_stream.fit(
    lambda epoch, position: [(rows, 1)], 3, seed=0, num_passes=2
  )
  for found in (lloyd, stream):
    report = kmeans_report.report(found, held_out)
    assert report.num_rows == 100
    assert report.inertia_per_row == 0 == report.moved
    assert sorted(report.usage) == [20, 30, 50]
    assert report.held_out_rows == 2
    assert report.held_out_inertia_per_row == pytest.approx((9 + 16) / 2)
    text = str(report)
    assert '3 of 3' in text and '12.5' in text
    assert '50 rows, 1.5 of an equal share' in text


def test_no_held_out_rows_no_line_of_them():
  rows = np.eye(4, dtype=np.float32)
  report = kmeans_report.report(kmeans.fit(rows, 4, rng=jax.random.key(0)))
  assert report.held_out_inertia_per_row is None
  assert 'held-out' not in str(report)
