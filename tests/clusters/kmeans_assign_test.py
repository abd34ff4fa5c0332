"""Rows find their centroids, in chunks and on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import blobs
from tests.fakes import virtual_devices
from v2meow_jax.clusters import kmeans
from v2meow_jax.clusters import kmeans_assign


@pytest.mark.parametrize('num_rows', [1, 64, 150])
def test_tally_is_brute_force_across_chunks(monkeypatch, num_rows):
  monkeypatch.setattr(kmeans_assign, '_ROWS_AT_ONCE', 64)
  rng = np.random.default_rng(2)
  rows, centroids = rng.normal(size=(num_rows, 3)), rng.normal(size=(7, 3))
  found = kmeans_assign.assign(rows, centroids)
  every = ((rows[:, None] - centroids) ** 2).sum(-1)
  np.testing.assert_array_equal(found.index, every.argmin(1))
  np.testing.assert_allclose(found.distance, every.min(1), rtol=1e-4)
  owner = np.eye(7)[every.argmin(1)]
  np.testing.assert_array_equal(found.counts, owner.sum(0))
  np.testing.assert_allclose(found.sums, owner.T @ rows, rtol=1e-5, atol=1e-5)


def test_both_ways_to_add_rows_agree_and_leave_padding_out():
  rng = np.random.default_rng(3)
  rows = jnp.asarray(rng.normal(size=(40, 5)), jnp.float32)
  index = jnp.asarray(rng.integers(0, 5, 40))
  scattered = kmeans_assign._sums(rows, index, 4, True)
  multiplied = kmeans_assign._sums(rows, index, 4, False)
  wanted = [np.asarray(rows)[np.asarray(index) == i].sum(0) for i in range(4)]
  np.testing.assert_allclose(scattered, wanted, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(multiplied, wanted, rtol=1e-5, atol=1e-6)


_ON_EIGHT = """
import json, jax, numpy as np
from tests.fakes import blobs
from v2meow_jax.clusters import kmeans, kmeans_assign
kmeans_assign._ROWS_AT_ONCE = 64
found = kmeans.fit(blobs.blobs(), 12, rng=jax.random.key(0))
print(json.dumps({
  'devices': jax.device_count(),
  'centroids': found.centroids.tolist(),
  'usage': found.usage.tolist(),
  'inertia': found.inertia,
}))
"""


@pytest.mark.slow
def test_eight_devices_give_the_clusters_of_one():
  eight = virtual_devices.run_code(_ON_EIGHT)
  assert eight['devices'] == 8
  one = kmeans.fit(blobs.blobs(), 12, rng=jax.random.key(0))
  np.testing.assert_allclose(eight['centroids'], one.centroids, rtol=1e-5)
  np.testing.assert_array_equal(eight['usage'], one.usage)
  assert eight['inertia'] == pytest.approx(one.inertia, rel=1e-5)
