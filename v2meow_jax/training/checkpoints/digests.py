"""Writes a checksum of every leaf of a checkpoint, and commits them with it.

Orbax commits a step atomically but keeps no checksum of values: a flipped bit
in a data file restores without an error. These checksums reveal it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import json
import math
from typing import Any
import zlib

from etils import epath
import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import future

ITEM = 'digests'


@dataclasses.dataclass(frozen=True)
class Region:
  """A box of an array.

  Attributes:
    start: First index along each axis.
    stop: One past the last index along each axis.
    crc32: CRC-32 of its bytes in C order; detects bursts of up to 32 bits.
  """

  start: tuple[int, ...]
  stop: tuple[int, ...]
  crc32: int


@dataclasses.dataclass(frozen=True)
class Leaf:
  """An array of a checkpoint.

  Attributes:
    shape: Shape of the whole array, over all processes.
    dtype: Name of the dtype.
    regions: Regions, one per shard, that together cover the array.
  """

  shape: tuple[int, ...]
  dtype: str
  regions: tuple[Region, ...] = ()

  def __str__(self) -> str:
    return f'{self.dtype}[{",".join(map(str, self.shape))}]'


def leaves(tree: Any) -> dict[str, Any]:
  """Returns the leaves of a tree by path, as in 'variables/params/kernel'."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def describe(tree: Any) -> dict[str, Leaf]:
  """Returns shapes and dtypes of a tree of arrays, without regions."""
  return {
    path: Leaf(tuple(x.shape), np.dtype(x.dtype).name)
    for path, x in leaves(tree).items()
  }


class DigestHandler(ocp.AsyncCheckpointHandler):
  """Writes digests as an item of a checkpoint, one file for each process.

  `async_save` copies arrays to the host before it returns. Orbax reuses these
  copies, unless it splits replicated arrays among their replicas: then they are
  copied a second time. A thread of the save computes the checksums.
  """

  async def async_save(self, directory: epath.Path, args: DigestArgs):
    """Starts writing the file of this process, before the commit."""
    copies = _host_copies(args.tree)
    described = describe(args.tree)

    async def write():
      content = {
        'step': args.step,
        'processes': jax.process_count(),
        'leaves': {
          path: dataclasses.asdict(
            dataclasses.replace(
              described[path],
              regions=tuple(
                Region(start, stop, _crc32(x)) for start, stop, x in boxes
              ),
            )
          )
          for path, boxes in copies.items()
        },
      }
      path = directory / f'process_{jax.process_index()}.json'
      path.write_text(
        json.dumps({'crc32': _json_crc32(content), 'content': content}),
        'utf-8',
      )

    return [
      future.CommitFutureAwaitingContractedSignals(write(), name='digests')
    ]

  def save(self, directory: epath.Path, args: DigestArgs) -> None:
    """Writes the file of this process."""
    for written in asyncio.run(self.async_save(directory, args)):
      written.result()

  def restore(
    self, directory: epath.Path, args: ocp.args.CheckpointArgs | None = None
  ) -> dict[str, Leaf]:
    """Returns `read` of the step; orbax alone needs `args`."""
    del args
    return read(directory.parent)


# Orbax wants a class for restoring too, though `read` needs no arguments.
@ocp.args.register_with_handler(DigestHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class DigestArgs(ocp.args.CheckpointArgs):
  """Arrays to write digests of.

  Attributes:
    step: Step of the checkpoint.
    tree: {item: tree of arrays}.
  """

  step: int
  tree: Mapping[str, Any]


def read(step_dir: epath.Path) -> dict[str, Leaf]:
  """Reads the digests of a step: its leaves by path.

  Args:
    step_dir: Directory of the step, named by its number.

  Returns:
    The leaves, with the regions of all processes.

  Raises:
    ValueError: The digests are damaged, incomplete or of another step.
    OSError: The digests cannot be read.
  """
  contents = []
  # Unlike a glob, a listing that fails is not an empty one.
  for path in sorted((step_dir / ITEM).iterdir()):
    if not path.name.startswith('process_'):
      continue
    text = json.loads(path.read_bytes())
    if text['crc32'] != _json_crc32(text['content']):
      raise ValueError(f'{path.name} differs from its own checksum')
    contents.append(text['content'])
  wanted = contents[0]['processes'] if contents else 1
  if len(contents) != wanted:
    raise ValueError(f'digests of {len(contents)} processes, wanted {wanted}')
  merged: dict[str, Leaf] = {}
  for content in contents:
    if str(content['step']) != step_dir.name:
      raise ValueError(f'these are the digests of step {content["step"]}')
    for path, leaf in content['leaves'].items():
      regions = tuple(
        Region(tuple(r['start']), tuple(r['stop']), r['crc32'])
        for r in leaf['regions']
      )
      if path in merged:
        regions = merged[path].regions + regions
      merged[path] = Leaf(tuple(leaf['shape']), leaf['dtype'], regions)
  return merged


def differences(tree: Any, digests: Mapping[str, Leaf]) -> list[str]:
  """Compares arrays with their digests.

  Arrays may be sharded in any way. Those on several processes are gathered one
  at a time, so all processes must call this together.

  Args:
    tree: Tree of arrays, with paths as in the digests.
    digests: Leaves of this tree, from `read`.

  Returns:
    A sentence for each leaf that differs, is missing or has no digest.
  """
  arrays = leaves(tree)
  complaints = [f'{path} is missing' for path in digests if path not in arrays]
  for path, x in arrays.items():
    if path not in digests:
      complaints.append(f'{path} has no digest')
      continue
    leaf = digests[path]
    host = _whole(x)
    boxes = [
      (r, host[tuple(map(slice, r.start, r.stop))]) for r in leaf.regions
    ]
    if (host.shape, host.dtype.name) != (leaf.shape, leaf.dtype):
      complaints.append(f'{path} is {host.dtype}{list(host.shape)}, not {leaf}')
    elif sum(box.size for _, box in boxes) != math.prod(leaf.shape):
      complaints.append(f'the digests of {path} cover a part of it only')
    elif any(_crc32(box) != r.crc32 for r, box in boxes):
      complaints.append(f'{path} differs from its digest')
  return complaints


def _host_copies(
  tree: Any,
) -> dict[str, list[tuple[tuple[int, ...], tuple[int, ...], np.ndarray]]]:
  """Copies (start, stop, values) of each shard that this process writes."""
  arrays = leaves(tree)
  shards = {
    path: [s for s in x.addressable_shards if s.replica_id == 0]
    for path, x in arrays.items()
    if isinstance(x, jax.Array)
  }
  for shard in (s for many in shards.values() for s in many):
    shard.data.copy_to_host_async()
  copies = {}
  for path, x in arrays.items():
    if path in shards:
      copies[path] = [
        (*_corners(s.index, x.shape), np.asarray(s.data)) for s in shards[path]
      ]
    elif jax.process_index() == 0:
      copies[path] = [((0,) * np.ndim(x), np.shape(x), np.array(x))]
    else:
      copies[path] = []
  return copies


def _corners(index, shape) -> Iterator[tuple[int, ...]]:
  bounds = [s.indices(n) for s, n in zip(index, shape, strict=True)]
  yield tuple(start for start, _, _ in bounds)
  yield tuple(stop for _, stop, _ in bounds)


def _whole(x: Any) -> np.ndarray:
  """Copies an array to the host, from all processes if it is sharded."""
  if isinstance(x, jax.Array) and not (
    x.is_fully_addressable or x.is_fully_replicated
  ):
    x = multihost_utils.process_allgather(x, tiled=True)
  return np.asarray(x)


def _crc32(x: np.ndarray) -> int:
  return zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)


def _json_crc32(content: Any) -> int:
  return zlib.crc32(json.dumps(content, sort_keys=True).encode())
