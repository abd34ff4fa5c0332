"""Which part of a list of items a process works at, by the hash of their names."""

from collections.abc import Mapping
import dataclasses
import hashlib
import os
import re

# What indexed jobs of Kubernetes do not say themselves.
COUNT_VARIABLE = 'V2MEOW_NUM_SHARDS'


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobShard:
  """A part of all items.

  Attributes:
    index: Number of the part, from 0.
    count: Number of parts.
  """

  index: int
  count: int

  def __post_init__(self):
    if not 0 <= self.index < self.count:
      raise ValueError(
        f'the shard is {self.index}/{self.count}; wanted I/N with I from 0 to'
        ' N-1, such as 0/4.'
      )

  def __contains__(self, name: str) -> bool:
    """Whether the item of this name is in the part."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], 'big') % self.count == self.index

  def __str__(self) -> str:
    return f'{self.index}-of-{self.count}'


ALL = JobShard(index=0, count=1)


def every(count: int) -> list[JobShard]:
  """All parts of so many."""
  return [JobShard(index=index, count=count) for index in range(count)]


def parse(text: str) -> JobShard:
  """The shard of a text such as 0/4."""
  match = re.fullmatch(r'(\d{1,9})/(\d{1,9})', text)
  if not match:
    raise ValueError(f'the shard is {text!r}; wanted I/N, such as 0/4.')
  return JobShard(index=int(match[1]), count=int(match[2]))


def chosen(
  text: str | None, environment: Mapping[str, str] = os.environ
) -> JobShard:
  """The shard that was asked for, or that Slurm or Kubernetes gave this process.

  Args:
    text: Text such as 0/4; None: the environment decides.
    environment: Environment variables; without any of a job, all is one shard.

  Raises:
    ValueError: The text or a variable is no shard.
  """
  if text:
    return parse(text)
  if 'SLURM_ARRAY_TASK_ID' in environment:

    def of_array(name: str, default: int) -> int:
      return int(environment.get(f'SLURM_ARRAY_TASK_{name}', default))

    task, count, step = (
      of_array('ID', 0),
      of_array('COUNT', 1),
      of_array('STEP', 1),
    )
    first = of_array('MIN', 0)
    last = of_array('MAX', first + (count - 1) * step)
    if (last - first) // step + 1 != count:
      raise ValueError(
        f'the tasks {first} to {last} of the array are {count}, with gaps, so'
        ' they name no shards; give --shard I/N.'
      )
    return JobShard(index=(task - first) // step, count=count)
  if 'JOB_COMPLETION_INDEX' in environment:
    index = environment['JOB_COMPLETION_INDEX']
    count = environment.get(COUNT_VARIABLE)
    if count is None:
      raise ValueError(
        f'JOB_COMPLETION_INDEX is {index}, and nothing says how many there are;'
        f' set {COUNT_VARIABLE} to the completions of the job, or give --shard.'
      )
    return parse(f'{index}/{count}')
  return ALL
