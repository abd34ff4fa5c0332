"""Mini-batches find planted clusters, go on to the bit, and leave none dead."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from v2meow_jax.clusters import kmeans
from v2meow_jax.clusters import kmeans_assign
from v2meow_jax.clusters import kmeans_stream
from v2meow_jax.clusters import snapshots

K = 24


class Stop(BaseException):
  """What ends a run from outside."""


def mixture(scale):
  """float32[6000, 8]: 24 clusters of unequal size, `scale` deviations apart."""
  rng = np.random.default_rng(0)
  centres = rng.normal(0, scale, (K, 8))
  labels = rng.choice(K, 6000, p=rng.dirichlet(np.full(K, 4.0)))
  return (centres[labels] + rng.normal(0, 1, (6000, 8))).astype(np.float32)


@pytest.fixture(scope='module')
def planted():
  return mixture(4.0)


def blocks_of(rows, size=1500):
  """Blocks whose position is a row; the order of a block is of its pass."""

  def blocks(epoch, position):
    for first in range(position, len(rows), size):
      block = rows[first : first + size]
      order = np.random.default_rng([epoch, first]).permutation(len(block))
      yield block[order], first + len(block)

  return blocks


def fit(rows, k=K, **options):
  options = {'seed': 0, 'batch_rows': 500} | options
  return kmeans_stream.fit(blocks_of(rows), k, **options)


def inertia(rows, centroids):
  return kmeans_assign.assign(rows, centroids).distance.sum(dtype=np.float64)


def test_a_batch_is_the_steps_of_sculley_row_by_row():
  rng = np.random.default_rng(1)
  rows = rng.normal(size=(40, 3))
  state = kmeans_stream.StreamClusters(
    centroids=rng.normal(size=(4, 3)),
    counts=np.array([0, 5, 1, 30]),
    recent=np.zeros(4, int),
  )
  wanted, counts = state.centroids.copy(), state.counts.copy()
  nearest = ((rows[:, None] - wanted) ** 2).sum(-1).argmin(1)
  for row, i in zip(rows, nearest, strict=True):
    counts[i] += 1
    wanted[i] += (row - wanted[i]) / counts[i]
  found = kmeans_stream.update(state, rows, seed=0)
  np.testing.assert_allclose(found.centroids, wanted, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(found.counts, counts)
  ways = ((wanted - state.centroids) ** 2).sum(1)
  assert found.moved == pytest.approx(np.sqrt(ways.mean()), rel=1e-5)
  assert (found.step, found.num_rows) == (1, 40)


@pytest.mark.slow
def test_inertia_is_that_of_full_lloyd_and_of_sklearn():
  cluster = pytest.importorskip('sklearn.cluster')
  rows, seeds = mixture(1.5), range(3)
  theirs = [
    cluster.KMeans(K, n_init=1, random_state=s).fit(rows).inertia_
    for s in seeds
  ]
  lloyd = [kmeans.fit(rows, K, rng=jax.random.key(s)).inertia for s in seeds]
  found = [fit(rows, seed=s) for s in seeds]
  ours = [inertia(rows, f.centroids) for f in found]
  assert np.mean(ours) == pytest.approx(np.mean(lloyd), rel=0.03)
  assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.03)
  # What the last pass saw before it learnt from it.
  assert found[0].inertia == pytest.approx(ours[0], rel=0.05)


@pytest.mark.slow
def test_plus_plus_beats_random_rows_on_separated_clusters(planted):
  plus_plus, random = (
    [
      inertia(planted, fit(planted, seed=s, init=init).centroids)
      for s in range(3)
    ]
    for init in ('k-means++', 'random')
  )
  assert np.mean(plus_plus) < 0.9 * np.mean(random)


@pytest.mark.slow
def test_no_cluster_is_dead_after_a_start_where_only_few_lie(planted):
  # The first block is one blob, so all centroids begin in it.
  order = np.argsort(planted[:, 0])
  found = fit(planted[order], num_passes=4)
  index = kmeans_assign.assign(planted, found.centroids).index
  assert found.repaired > 0
  assert len(np.unique(index)) == K
  assert found.counts.min() > 0


def test_a_centroid_without_use_moves_to_a_far_row():
  rows = np.repeat([[0.0, 0.0], [9.0, 9.0]], 150, axis=0)
  state = kmeans_stream.StreamClusters(
    centroids=np.array([[0.0, 0.0], [500.0, 500.0]]),
    counts=np.array([1000, 7]),
    recent=np.zeros(2, int),
  )
  found = kmeans_stream.update(state, rows, seed=0)
  np.testing.assert_array_equal(found.centroids[1], [9, 9])
  assert (found.counts[1], found.repaired) == (1, 1)
  assert not found.recent.any()


def assert_equal(one, two):
  for name, value in vars(one).items():
    np.testing.assert_array_equal(value, getattr(two, name), err_msg=name)


def test_same_seed_and_order_same_bits_and_another_seed_others(planted):
  rows = planted[:3000]
  one, two = fit(rows, num_passes=2), fit(rows, num_passes=2)
  assert_equal(one, two)
  other = fit(rows, num_passes=2, seed=1)
  assert not np.array_equal(one.centroids, other.centroids)


# Stopped in batch `stop`, with `kept` batches done at the last save.
@pytest.mark.parametrize(
  ('save_every', 'stop', 'kept'),
  [(1, 1, 0), (1, 4, 2), (2, 4, 0), (1, 6, 4), (2, 7, 6), (1, 11, 10)],
)
def test_an_interrupted_run_ends_to_the_bit_where_a_whole_one_does(
  planted, tmp_path, save_every, stop, kept
):
  # A block is two batches of 500 rows, a pass three blocks, two passes.
  rows = planted[:2900]
  options = {'num_passes': 2, 'save_every': save_every}
  blocks = blocks_of(rows, 1000)
  whole = kmeans_stream.fit(blocks, K, seed=0, batch_rows=500, **options)
  assert whole.step == 12
  steps = itertools.count(1)

  def interrupt(_):
    if next(steps) == stop:
      raise Stop

  options |= {'state_file': tmp_path / 'state.safetensors', 'batch_rows': 500}
  with pytest.raises(Stop):
    kmeans_stream.fit(blocks, K, seed=0, on_batch=interrupt, **options)
  seen = []
  found = kmeans_stream.fit(
    blocks, K, seed=0, on_batch=lambda s: seen.append(s.step), **options
  )
  assert_equal(found, whole)
  assert seen == list(range(kept + 1, 13))
  # A finished run has nothing left to do, and more passes are more to do.
  seen.clear()
  assert_equal(kmeans_stream.fit(blocks, K, seed=0, **options), whole)
  assert not seen
  longer = kmeans_stream.fit(blocks, K, seed=0, **options | {'num_passes': 3})
  assert (longer.epoch, longer.step) == (3, 18)


def test_the_state_of_another_run_is_refused(planted, tmp_path):
  rows = planted[:500]
  options = {'num_passes': 1, 'state_file': tmp_path / 's.safetensors'}
  fit(rows, **options)
  for other, told in (
    ({'k': 5}, r'k 24 \(wanted 5\)'),
    ({'seed': 1}, r'seed 0 \(wanted 1\)'),
    ({'context': {'clips': 'x'}}, r"clips None \(wanted 'x'\)"),
  ):
    with pytest.raises(snapshots.SnapshotError, match=told):
      fit(rows, **options | other)
  with pytest.raises(ValueError, match='rows are of 5 numbers, .* of 8'):
    fit(rows[:, :5], **options | {'num_passes': 2})
  content = options['state_file'].read_bytes()
  options['state_file'].write_bytes(content[:-9])
  with pytest.raises(snapshots.SnapshotError, match='damaged'):
    fit(rows, **options)


def test_refuses_what_it_cannot_cluster(planted):
  rows = planted[:500]
  with pytest.raises(ValueError, match='500 rows cannot form 501'):
    fit(rows, k=501)
  with pytest.raises(ValueError, match='no block'):
    fit(rows[:0])
  with pytest.raises(ValueError, match='num_passes is 0'):
    fit(rows, num_passes=0)
  state = fit(rows, num_passes=1)
  with pytest.raises(ValueError, match='batch 1 hold NaN'):
    kmeans_stream.update(state, np.full((1, 8), np.nan), seed=0)


def test_state_is_replaced_not_changed(planted):
  state = fit(planted[:500], num_passes=1)
  before = dataclasses.replace(
    state, centroids=state.centroids.copy(), counts=state.counts.copy()
  )
  kmeans_stream.update(state, planted[500:900], seed=0)
  assert_equal(state, before)
