"""Makes a batch on a Ray cluster, by a pool of actors that take shards.

An actor has an accelerator of its own and loads the system once. One that dies
is replaced, and its shard is gone on with.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import os
from typing import Any

from absl import logging

import v2meow_jax
from v2meow_jax.jobs import shards
from v2meow_jax.jobs.engines import sharing
from v2meow_jax.jobs.generate import job

SHARDS_PER_ACTOR = (
  4  # ours: the last ones to end wait for a quarter of a share.
)
# Then it is the shard.
_MOST_DEATHS = 3
_POLL_SECONDS = 0.5


class BatchActor:
  """A process that makes one shard after another."""

  def __init__(self, batch: job.Batch):
    """Reads the list; the first shard loads the system."""
    self._job = job.Job(batch)
    self._is_stopped = False

  def start(self) -> None:
    """Does nothing: once it is done, the process is there."""

  def make(self, shard: shards.JobShard) -> int:
    """Makes what is not made yet of a shard; its exit code."""
    return self._job.run(shard, lambda: self._is_stopped)

  def stop(self) -> None:
    """Has `make` end early, from another thread."""
    self._is_stopped = True


def run(
  batch: job.Batch,
  *,
  num_actors: int | None = None,
  num_shards: int | None = None,
  is_stopped: Callable[[], bool] = lambda: False,
) -> int:
  """Makes a batch with Ray; see `sharing.run`.

  The cluster is that of RAY_ADDRESS, or of this machine. Ray's usage statistics
  are off in what is started here. Without a type, the stages compute in bfloat16
  where the cluster has accelerators, else in float32.

  Args:
    batch: List of videos, and how to make their music.
    num_actors: Number of actors; None: one for each accelerator, and without
      any, one for each node.
    num_shards: Number of parts that the actors take; None: four for each.
    is_stopped: Function that says whether to stop.
  """
  if num_actors is not None and num_actors < 1:
    raise ValueError(f'--actors is {num_actors}; wanted 1 or more.')
  ray = _ray()
  was_there = ray.is_initialized()
  if not was_there:
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    ray.init(include_dashboard=False, configure_logging=False)
  try:
    needs, room, dtype = _needs(ray, batch.tensor)
    num = num_actors or room
    if num_shards is None:
      num_shards = SHARDS_PER_ACTOR * num
    batch = dataclasses.replace(batch, dtype=batch.dtype or dtype)

    def hand_out(
      batch: job.Batch, left: Sequence[shards.JobShard]
    ) -> list[sharing.ShardError]:
      # `stop` is called while `make` runs.
      actor = ray.remote(max_concurrency=2, **needs)(BatchActor)
      pool = _Pool(ray, lambda: actor.remote(batch), left)
      return pool.run(min(num, len(left)), is_stopped)

    return sharing.run(batch, num_shards, hand_out)
  finally:
    if not was_there:
      ray.shutdown()


def _ray() -> Any:
  try:
    import ray
  except ImportError as e:
    raise ImportError(
      f'--engine ray needs Ray: {v2meow_jax.extra_command("ray")}'
    ) from e
  return ray


def _needs(ray: Any, tensor: int) -> tuple[dict[str, Any], int, str]:
  """What an actor takes of a cluster, how many fit, and how they compute."""
  resources = ray.cluster_resources()
  nodes = [node for node in ray.nodes() if node['Alive']]
  if num := resources.get('GPU'):
    needs = {'num_cpus': 1, 'num_gpus': tensor}
    return needs, max(1, int(num // tensor)), 'bfloat16'
  if chips := resources.get('TPU'):
    # All chips of a host belong to one process.
    hosts = sum('TPU' in node['Resources'] for node in nodes)
    needs = {'num_cpus': 1, 'resources': {'TPU': chips // hosts}}
    return needs, hosts, 'bfloat16'
  needs = {'num_cpus': 1, 'scheduling_strategy': 'SPREAD'}
  return needs, max(1, len(nodes)), 'float32'


class _Pool:
  """Actors, and the shards that they are still to make."""

  def __init__(
    self,
    ray: Any,
    make_actor: Callable[[], Any],
    left: Sequence[shards.JobShard],
  ):
    self._ray = ray
    self._make_actor = make_actor
    self._left = collections.deque(left)
    self._idle: list[Any] = []
    # By what ends: an actor, and its shard; None: it starts.
    self._at_work: dict[Any, tuple[Any, shards.JobShard | None]] = {}
    self._deaths: collections.Counter[shards.JobShard | None] = (
      collections.Counter()
    )
    self._errors: list[sharing.ShardError] = []

  def run(
    self, num_actors: int, is_stopped: Callable[[], bool]
  ) -> list[sharing.ShardError]:
    """Has all shards made, or those that are begun when it is to stop.

    Actors that the cluster has no room for yet are waited for by nobody.
    """
    try:
      for _ in range(num_actors):
        self._start_actor()
      was_stopped = False
      while self._left or any(shard for _, shard in self._at_work.values()):
        if is_stopped() and not was_stopped:
          was_stopped = True
          self._left.clear()
          for actor, _ in self._at_work.values():
            actor.stop.remote()
        while self._idle and self._left:
          actor, shard = self._idle.pop(), self._left.popleft()
          self._at_work[actor.make.remote(shard)] = actor, shard
        ready, _ = self._ray.wait(list(self._at_work), timeout=_POLL_SECONDS)
        for reference in ready:
          self._take(reference, was_stopped)
    finally:
      # As garbage, they would hold what others of the cluster wait for.
      for actor in (*self._idle, *(a for a, _ in self._at_work.values())):
        self._ray.kill(actor)
    return self._errors

  def _start_actor(self) -> None:
    actor = self._make_actor()
    self._at_work[actor.start.remote()] = actor, None

  def _take(self, reference: Any, was_stopped: bool) -> None:
    """Takes note of how a shard, or the start of an actor, ended."""
    actor, shard = self._at_work.pop(reference)
    errors = self._ray.exceptions
    try:
      self._ray.get(reference)
      self._idle.append(actor)
    except errors.RayActorError as e:
      logging.warning('An actor died: %s', e)
      self._ray.kill(actor)  # It may be out of reach only.
      self._deaths[shard] += 1
      is_given_up = self._deaths[shard] >= _MOST_DEATHS
      if is_given_up and shard is None:
        raise ValueError(f'actors do not start: {_line(e)}') from e
      if is_given_up:
        self._fail(shard, f'{_MOST_DEATHS} actors died of it: {_line(e)}')
      elif shard and not was_stopped:
        self._left.append(shard)
      self._start_actor()
    except errors.RayTaskError as e:
      self._fail(shard, f'{type(e.cause).__name__}: {_line(e.cause)}')
      self._idle.append(actor)

  def _fail(self, shard: shards.JobShard | None, error: str) -> None:
    self._errors.append(sharing.ShardError(shard=str(shard), error=error))


def _line(error: BaseException) -> str:
  return ' '.join(str(error).split())
