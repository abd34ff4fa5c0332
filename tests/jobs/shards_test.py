"""Which process makes an item follows from its name alone."""

import pytest

from v2meow_jax.jobs import shards


def shard(index, count):
  return shards.JobShard(index=index, count=count)


def test_every_name_is_in_one_shard_and_shards_are_of_like_size():
  names = [f'clip_{n}' for n in range(3000)]
  for count in (1, 3, 7):
    parts = [{n for n in names if n in shard(i, count)} for i in range(count)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(names)
    assert max(map(len, parts)) < 1.2 * len(names) / count


@pytest.mark.parametrize(
  ('text', 'variables', 'expected'),
  [
    (None, {}, (0, 1)),
    ('2/3', {'SLURM_ARRAY_TASK_ID': '5'}, (2, 3)),
    (None, {'ID': '5', 'COUNT': '4', 'MIN': '3', 'MAX': '6'}, (2, 4)),
    (
      None,
      {'ID': '4', 'COUNT': '3', 'MIN': '0', 'MAX': '4', 'STEP': '2'},
      (2, 3),
    ),
    (None, {'JOB_COMPLETION_INDEX': '1', 'V2MEOW_NUM_SHARDS': '4'}, (1, 4)),
  ],
)
def test_shards_are_given_by_hand_or_by_the_scheduler(
  text, variables, expected
):
  names = {
    k if '_' in k else f'SLURM_ARRAY_TASK_{k}': v for k, v in variables.items()
  }
  assert shards.chosen(text, names) == shard(*expected)


@pytest.mark.parametrize(
  ('text', 'variables', 'words'),
  [
    ('3/3', {}, '3/3'),
    ('a', {}, 'wanted I/N'),
    (None, {'JOB_COMPLETION_INDEX': '1'}, 'V2MEOW_NUM_SHARDS'),
    (
      None,
      {f'SLURM_ARRAY_TASK_{k}': v for k, v in zip(
        ('ID', 'COUNT', 'MIN', 'MAX'), ('1', '2', '1', '5'), strict=True
      )},
      'with gaps',
    ),
  ],
)  # fmt: skip
def test_what_is_no_shard_is_refused(text, variables, words):
  with pytest.raises(ValueError, match=words):
    shards.chosen(text, variables)
