"""Engines hand out shards of what is left; the records say what came of it."""

import pytest

from tests.fakes import small_batch
from v2meow_jax.jobs.engines import sharing
from v2meow_jax.jobs.generate import job

pytestmark = pytest.mark.slow


def test_only_shards_with_something_left_are_handed_out(tmp_path, capsys):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 6, poison=False)
  batch = small_batch.batch(manifest, tmp_path / 'out')
  rounds = []

  def first_two(batch, left):
    rounds.append([str(shard) for shard in left])
    with job.Job(batch) as made:
      for shard in left[:2]:
        made.run(shard)
    return []

  assert sharing.run(batch, 20, first_two) == job.EXIT_TRY_AGAIN
  assert len(rounds[0]) <= 6
  while (code := sharing.run(batch, 20, first_two)) == job.EXIT_TRY_AGAIN:
    assert rounds[-1] == rounds[-2][2:]
  assert code == job.EXIT_DONE
  assert len(small_batch.digests(tmp_path / 'out')) == 6
  num_rounds = len(rounds)
  assert sharing.run(batch, 20, first_two) == job.EXIT_DONE
  assert len(rounds) == num_rounds
  assert '6 done, 0 failed, 0 left' in capsys.readouterr().out


def test_paths_mean_the_same_in_other_folders(tmp_path, monkeypatch):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 2, poison=False)
  plan = manifest.with_name('plan.json')
  plan.touch()
  monkeypatch.chdir(manifest.parent)
  batch = small_batch.batch(
    manifest.name, 'out', defaults={'seed': 0, 'plan': plan.name}
  )
  handed = []

  def elsewhere(batch, left):
    handed.append(batch)
    return []

  assert sharing.run(batch, 1, elsewhere) == job.EXIT_TRY_AGAIN
  (other,) = handed
  assert other.manifest == str(manifest) and other.system_dir is None
  assert other.out == str(manifest.with_name('out'))
  assert other.defaults == {'seed': 0, 'plan': str(plan)}


def test_a_shard_that_ends_with_an_error_is_named(tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 2, poison=False)
  batch = small_batch.batch(manifest, tmp_path / 'out')

  def fail(batch, left):
    return [sharing.ShardError(shard=str(left[0]), error='no room.')]

  with pytest.raises(ValueError, match='1 of 3 shards .*-of-3 with: no room'):
    sharing.run(batch, 3, fail)
  with pytest.raises(ValueError, match='num_shards is 0'):
    sharing.run(batch, 0, fail)
