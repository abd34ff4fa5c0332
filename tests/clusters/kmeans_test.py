"""k-means against planted blobs and against scikit-learn."""

import jax
import numpy as np
import pytest

from v2meow_jax.clusters import kmeans
from v2meow_jax.clusters import kmeans_assign
from v2meow_jax.clusters import snapshots

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def blobs():
  rng = np.random.default_rng(0)
  centres = rng.normal(0, 4, (12, 5))
  labels = np.repeat(np.arange(12), 100)
  rows = centres[labels] + rng.normal(0, 0.4, (1200, 5))
  return rows.astype(np.float32), labels, centres


def test_recovers_planted_clusters(blobs):
  rows, labels, centres = blobs
  found = kmeans.fit(rows, 12, rng=jax.random.key(0))
  assignment = kmeans_assign.assign(rows, found.centroids)
  index, distance = assignment.index, assignment.distance
  # Each planted cluster has one code and no two share it.
  codes = [set(index[labels == i]) for i in range(12)]
  assert all(len(c) == 1 for c in codes) and len(set.union(*codes)) == 12
  order = [c.pop() for c in codes]
  np.testing.assert_allclose(found.centroids[order], centres, atol=0.2)
  np.testing.assert_array_equal(found.usage, np.full(12, 100))
  assert found.inertia == pytest.approx(distance.sum(), rel=1e-5)
  assert found.moved == 0


@pytest.mark.parametrize('init', ['k-means++', 'random'])
def test_inertia_is_that_of_sklearn(init):
  cluster = pytest.importorskip('sklearn.cluster')
  rows = np.random.default_rng(1).normal(size=(1500, 4)).astype(np.float32)
  theirs = cluster.KMeans(16, n_init=1, random_state=0).fit(rows).inertia_
  ours = kmeans.fit(rows, 16, rng=jax.random.key(1), init=init).inertia
  assert ours == pytest.approx(theirs, rel=0.03)


def test_empty_cluster_is_refilled():
  rows = np.concatenate([np.zeros((50, 2)), np.full((50, 2), 9.0)])
  stuck = np.array([[0, 0], [500, 500]], np.float32)
  moved = kmeans._step(rows.astype(np.float32), stuck, jax.random.key(0))
  np.testing.assert_array_equal(moved[1], [9, 9])


def test_same_key_same_clusters(blobs):
  rows = blobs[0]
  one = kmeans.fit(rows, 5, rng=jax.random.key(3))
  two = kmeans.fit(rows, 5, rng=jax.random.key(3))
  np.testing.assert_array_equal(one.centroids, two.centroids)


def test_equal_rows_do_not_break_it():
  found = kmeans.fit(np.ones((10, 2)), 3, rng=jax.random.key(0))
  assert found.inertia == 0 and np.isfinite(found.centroids).all()


def test_moved_is_the_way_of_the_last_iteration():
  rows = np.array([[0, 0], [4, 0], [4, 4]], np.float32)
  found = kmeans.fit(
    rows, 1, rng=jax.random.key(0), num_iterations=1, init='random'
  )
  ways = np.linalg.norm(rows - rows.mean(0), axis=1)
  assert np.abs(ways - found.moved).min() < 1e-6 < found.moved


def test_refuses_what_it_cannot_cluster():
  key = jax.random.key(0)
  with pytest.raises(ValueError, match='2 rows cannot form 3'):
    kmeans.fit(np.zeros((2, 2)), 3, rng=key)
  with pytest.raises(ValueError, match='NaN'):
    kmeans.fit(np.full((4, 2), np.nan), 3, rng=key)
  with pytest.raises(ValueError, match="init is 'best'"):
    kmeans.fit(np.zeros((4, 2)), 3, rng=key, init='best')


@pytest.mark.parametrize('init', ['k-means++', 'random'])
def test_iterations_that_were_interrupted_go_on_to_the_bit(tmp_path, init):
  rows = np.random.default_rng(3).normal(size=(400, 5)).astype('f')
  options = {'rng': jax.random.key(1), 'init': init}
  whole = kmeans.fit(rows, 12, num_iterations=9, **options)
  kept = {'state_file': tmp_path / 'state.safetensors', 'identity': {'k': 12}}
  for num_iterations in (0, 1, 4, 9, 9):
    found = kmeans.fit(
      rows, 12, num_iterations=num_iterations, **options, **kept
    )
  np.testing.assert_array_equal(found.centroids, whole.centroids)
  assert found.inertia == whole.inertia and found.moved == whole.moved
  with pytest.raises(snapshots.SnapshotError, match=r'k 12 \(wanted 11\)'):
    kmeans.fit(rows, 11, **options, **{**kept, 'identity': {'k': 11}})


def test_a_start_from_some_rows_is_a_start():
  centres = np.random.default_rng(4).normal(0, 30, (6, 3))
  labels = np.arange(3000) % 6
  noise = np.random.default_rng(5).normal(size=(3000, 3))
  rows = (centres[labels] + noise).astype('f')
  found = kmeans.fit(rows, 6, rng=jax.random.key(0), start_rows=96)
  assert sorted(found.usage) == [500] * 6
