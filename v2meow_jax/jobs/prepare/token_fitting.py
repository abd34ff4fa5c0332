"""Fits the standardisation and the clusters of `clustered_tokens`."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
import pathlib
from typing import Any

import numpy as np

from v2meow_jax import media
from v2meow_jax import progress
from v2meow_jax.clusters import clustering as clustering_lib
from v2meow_jax.clusters import kmeans_report
from v2meow_jax.clusters import snapshots
from v2meow_jax.clusters import standardize
from v2meow_jax.jobs.prepare import clip_frames
from v2meow_jax.pretrained.audio import semantic_encoder

# Clips are drawn for the scaling as in a pass of their own.
_SCALING_EPOCH = 1_000_000
_MINI_BATCH = clustering_lib.MiniBatch()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedTokens:
  """The result of `fit_tokens`.

  Attributes:
    params: Parameters of `clustered_tokens.ClusteredTokens`, float32.
    report: Quality of the clusters.
    rejected: Clips that gave no frames, and why.
  """

  params: Mapping[str, np.ndarray]
  report: kmeans_report.ClusterReport
  rejected: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameSampling:
  """Which frames are clustered.

  Attributes:
    clip_seconds: Longest stretch of one clip in one pass; it is drawn.
      ours: a minute, so that no long recording outweighs others.
    block_rows: Frames that are mixed, and held in memory, at once. ours: 44
      minutes at 25 Hz, a quarter of a gigabyte at 1024 numbers a frame.
    scaling_clips: Number of clips that give mean and deviation, in a shorter
      pass before the others. ours: 2000 minutes tell both to a hundredth.
    held_out_clips: Number of clips that are not clustered, for the held-out
      inertia of the report.
  """

  clip_seconds: float = 60.0
  block_rows: int = 65_536
  scaling_clips: int = 2000
  held_out_clips: int = 0


def fit_tokens(
  clips: Sequence[str],
  read_audio: Callable[[str], media.Audio],
  encoder: semantic_encoder.SemanticEncoder,
  k: int,
  *,
  heard_by: Mapping[str, Any],
  seed: int,
  sampling: FrameSampling = FrameSampling(),
  clustering: clustering_lib.MiniBatch | clustering_lib.Lloyd = _MINI_BATCH,
  max_rejected: float = 0.05,
  state_dir: pathlib.Path | None = None,
  save_every: int = 1,
) -> FittedTokens:
  """Clusters the frames of any number of clips, in memory that a block bounds.

  Clips go by in an order that the seed draws, first some for the scaling, then
  all in each pass. One that cannot be read, heard, or whose frames are not
  finite goes to a ledger and the work goes on.

  Args:
    clips: Names or paths; the same in a run that goes on.
    read_audio: Gives the audio of one.
    encoder: Hears it.
    k: Clusters: the codebook_size of the stream.
    heard_by: Kind, weights and layer of the encoder, as JSON data.
    seed: Seed of the order, the stretches and the clusters.
    sampling: Frames to cluster.
    clustering: Way to cluster them.
    max_rejected: Share of the clips that may go to the ledger; 0: the first one
      ends the run.
    state_dir: Folder to go on from, and to keep scaling, clusters and ledger
      in; a run that goes on ends, to the bit, where one that was not
      interrupted does, on as many devices.
    save_every: Blocks from one save to the next.

  Returns:
    Parameters, report and ledger.

  Raises:
    ValueError: Too few clips or frames for what is asked.
    clip_frames.TooManyRejected: The ledger is longer than it may be.
    snapshots.SnapshotError: `state_dir` is damaged or of another run.
  """
  order = np.random.default_rng(seed).permutation(len(clips))
  held_out = order[len(order) - sampling.held_out_clips :]
  train = order[: len(order) - sampling.held_out_clips]
  if not len(train):
    raise ValueError(
      f'{len(clips)} clips, of which {sampling.held_out_clips} are held out,'
      ' leave none to cluster; give more clips.'
    )
  if sampling.block_rows < k:
    raise ValueError(
      f'block_rows is {sampling.block_rows}; the first block must hold a row'
      f' for each of {k} clusters.'
    )
  ledger = clip_frames.Ledger(state_dir, max_rejected * len(clips))
  source = clip_frames.ClipFrames(
    clips,
    read_audio,
    encoder,
    ledger,
    seed=seed,
    clip_seconds=sampling.clip_seconds,
  )
  identity = {
    'clips': _digest('\n'.join(clips).encode()),
    'heard_by': dict(heard_by),
    'rate_hz': encoder.rate_hz,
    'dim': encoder.dim,
    'seed': seed,
    'clip_seconds': sampling.clip_seconds,
    'block_rows': sampling.block_rows,
    'scaling_clips': sampling.scaling_clips,
    'held_out_clips': sampling.held_out_clips,
  }
  for_scaling = train[: sampling.scaling_clips]
  total = len(for_scaling) + clustering.num_passes * len(train)
  with progress.bar(total=total, unit='clip', desc='tokens') as bar:

    def blocks(
      order: np.ndarray, epoch: int, position: int, done: int
    ) -> Iterator[tuple[np.ndarray, int]]:
      return source.blocks(
        order,
        epoch,
        position,
        block_rows=sampling.block_rows,
        on_clip=lambda behind: bar.update(done + behind - bar.n),
      )

    scaling = _fit_scaling(
      lambda position: blocks(for_scaling, _SCALING_EPOCH, position, 0),
      encoder.dim,
      state_dir / 'scaling.safetensors' if state_dir else None,
      save_every,
      identity,
    )

    def scaled(epoch: int, position: int) -> Iterator[tuple[np.ndarray, int]]:
      order = np.random.default_rng([seed, epoch]).permutation(train)
      done = len(for_scaling) + epoch * len(train)
      for rows, behind in blocks(order, epoch, position, done):
        yield standardize.apply(rows, scaling), behind

    found = clustering.fit(
      scaled,
      k,
      seed=seed,
      state_dir=state_dir,
      save_every=save_every,
      context={
        **identity,
        'scaling': _digest(
          scaling['mean'].tobytes() + scaling['std'].tobytes()
        ),
      },
      on_inertia=lambda inertia: bar.set_postfix(
        inertia=f'{inertia:.4g}', refresh=False
      ),
    )
  others = [source.rows(int(i), 0) for i in held_out]
  others = [standardize.apply(x, scaling) for x in others if x is not None]
  return FittedTokens(
    params={**scaling, 'centroids': found.centroids.astype(np.float32)},
    report=kmeans_report.report(
      found, np.concatenate(others) if others else None
    ),
    rejected=ledger.reasons,
  )


def _fit_scaling(
  blocks: Callable[[int], Iterator[tuple[np.ndarray, int]]],
  dim: int,
  state_file: pathlib.Path | None,
  save_every: int,
  identity: Mapping[str, Any],
) -> dict[str, np.ndarray]:
  """Mean and deviation of the rows of blocks(position)."""
  moments, position, is_done = standardize.Moments.empty(dim), 0, False
  kept = snapshots.read(state_file, identity=identity) if state_file else None
  if kept:
    tensors, where = kept
    moments = standardize.Moments(count=where['count'], **tensors)
    position, is_done = where['position'], where['is_done']

  def save(position: int, is_done: bool) -> None:
    if state_file:
      snapshots.write(
        state_file,
        {'mean': moments.mean, 'spread': moments.spread},
        identity=identity,
        progress={
          'count': moments.count,
          'position': position,
          'is_done': is_done,
        },
      )

  if not is_done:
    for number, (rows, behind) in enumerate(blocks(position), 1):
      moments = moments.with_rows(rows)
      if number % save_every == 0:
        save(behind, is_done=False)
    save(0, is_done=True)
  if not moments.count:
    raise ValueError('none of the clips gave a frame; see the ledger.')
  return moments.params()


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()
