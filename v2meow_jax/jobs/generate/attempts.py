"""Finds what of a shard is still to be made, from the records of what was."""

from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import dataclasses

from v2meow_jax.files import copies
from v2meow_jax.jobs import commit
from v2meow_jax.jobs.generate import items as items_lib

_NUM_LOOKERS = 16  # Threads that ask a bucket for versions.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
  """One try at an item.

  Attributes:
    item: Item to make.
    options: Digest of its options and of the settings of the batch.
    versions: Versions of its files when the batch began, by role.
    number: Number of the try, from 1.
    output: File name of the result.
    replaced: File names of results of other formats.
    is_again: Whether a result of the item was made before.
  """

  item: items_lib.Item
  options: str
  versions: Mapping[str, str | None]
  number: int
  output: str
  replaced: frozenset[str] = frozenset()
  is_again: bool = False


@dataclasses.dataclass(kw_only=True)
class Stock:
  """What became of the items of a shard before.

  Attributes:
    num_done: Number of items that are done.
    num_failed: Number of items that failed, and are left so.
    attempts: Tries at the items that are left.
  """

  num_done: int = 0
  num_failed: int = 0
  attempts: list[Attempt] = dataclasses.field(default_factory=list)


def take_stock(
  items: Sequence[items_lib.Item],
  options: Mapping[str, str],
  output_format: str,
  folder: commit.ShardFolder,
) -> Stock:
  """What is done and failed of some items; results without a record get theirs.

  Args:
    items: Items of a shard.
    options: Digest of the options by the id of an item.
    output_format: Suffix of the results, without its dot.
    folder: Folder of the results.
  """
  results = folder.results
  stock = Stock()
  for item, versions in zip(items, _versions(items), strict=True):
    digest = options[item.id]
    output = f'{item.id}.{output_format}'
    if results.done(item.id, digest, versions):
      stock.num_done += 1
      continue
    if results.failed(item.id, digest, versions):
      stock.num_failed += 1
      continue
    if (record := results.unrecorded(item.id, output)) is not None:
      folder.journal.append(record)
      if results.done(item.id, digest, versions):
        stock.num_done += 1
        continue
    made = {r.output for r in results.of(item.id) if r.state == 'done'}
    stock.attempts.append(
      Attempt(
        item=item,
        options=digest,
        versions=versions,
        number=results.last_attempt(item.id) + 1,
        output=output,
        replaced=frozenset(made - {output}),
        is_again=bool(made),
      )
    )
  return stock


def _versions(
  items: Sequence[items_lib.Item],
) -> list[dict[str, str | None]]:
  """Versions of the files of each item, by role; no file is opened."""

  def version(path: str) -> str | None:
    try:
      return copies.version(path)
    except (OSError, ImportError):
      return None  # The worker says why.

  names = {path for item in items for path in item.files.values()}
  with futures.ThreadPoolExecutor(_NUM_LOOKERS) as pool:
    versions = dict(zip(names, pool.map(version, names), strict=True))
  return [
    {role: versions[path] for role, path in item.files.items()}
    for item in items
  ]
