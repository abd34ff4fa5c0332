"""A batch makes each item once, whatever ends it, and one bad item ends nothing."""

import collections
import json
import os
import random

import pytest

from tests.fakes import small_batch
from v2meow_jax.files import paths
from v2meow_jax.jobs import shards
from v2meow_jax.jobs.generate import job
from v2meow_jax.jobs.generate import report

pytestmark = pytest.mark.slow

NUM = 8
NUM_GOOD = NUM - len(small_batch.POISON)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  """A batch of which three items end their worker, and its folder."""
  folder = tmp_path_factory.mktemp('undisturbed')
  manifest = small_batch.write_manifest(folder / 'clips', NUM)
  assert small_batch.run(manifest, folder / 'out') == job.EXIT_FAILURES
  return manifest, folder / 'out'


def fail_to_load(*_):
  raise AssertionError('a system is loaded')


def failures(out):
  lines = (out / report.FAILED).read_text().splitlines()
  return {row['id']: row for row in map(json.loads, lines)}


def test_bad_items_are_named_and_their_neighbours_do_not_change(
  undisturbed, tmp_path
):
  _, out = undisturbed
  failed = failures(out)
  reasons = {n: row['reason'] for n, row in failed.items()}
  expected = zip(range(3), small_batch.POISON.values(), strict=True)
  assert reasons == {f'item_{n}': reason for n, reason in expected}
  for row in failed.values():
    assert row['part'] == 'read' and row['message'] and row['fix']
  manifest = small_batch.write_manifest(tmp_path / 'clips', NUM, poison=False)
  assert small_batch.run(manifest, tmp_path / 'out') == job.EXIT_DONE
  alone = small_batch.digests(tmp_path / 'out')
  assert len(alone) == NUM
  for name, content in small_batch.digests(out).items():
    assert alone[name] == content
  names = {path.name for path in out.iterdir()}
  results = {f'item_{n}.wav' for n in range(3, NUM)}
  sidecars = {f'{name}.json' for name in results}
  assert names == {
    *results, *sidecars, 'records', report.JOB, report.FAILED
  }  # fmt: skip


def test_kills_change_nothing(undisturbed, tmp_path):
  manifest, whole = undisturbed
  out, log = tmp_path / 'out', tmp_path / 'log'
  kills = small_batch.draw_kills(random.Random(0), 3, NUM_GOOD)
  code = small_batch.run_killed(manifest, out, log, kills, {})
  assert code == job.EXIT_FAILURES
  assert small_batch.digests(out) == small_batch.digests(whole)
  assert failures(out).keys() == failures(whole).keys()
  names = [{p.name for p in folder.iterdir()} for folder in (out, whole)]
  assert names[0] == names[1]
  counts = collections.Counter(log.read_text().split())
  assert len(counts) == NUM_GOOD


def test_kills_change_nothing_in_a_bucket(undisturbed, tmp_path, bucket_url):
  manifest, whole = undisturbed
  out, log = paths.path(bucket_url), tmp_path / 'log'
  kills = small_batch.draw_kills(random.Random(1), 3, NUM_GOOD)
  code = small_batch.run_killed(manifest, out, log, kills, dict(os.environ))
  assert code == job.EXIT_FAILURES
  assert small_batch.digests(out) == small_batch.digests(whole)
  assert failures(out).keys() == failures(whole).keys()
  top = {name.partition('/')[0] for name in paths.inside(out)}
  assert top == {path.name for path in whole.iterdir()}


def test_a_process_loads_one_system_for_several_shards(undisturbed, tmp_path):
  manifest, whole = undisturbed
  loads = []

  def load(*_):
    loads.append(None)
    return small_batch.HummingSystem()

  batch = small_batch.batch(manifest, tmp_path / 'out', load_system=load)
  with job.Job(batch) as made:
    writers = set()
    for shard in shards.every(3):
      made.run(shard)
      # Poison ends readers, and no writer.
      writers.update(worker._process.pid for worker in made._writers)
    stock = made.take_stock()
  assert len(writers) == 1
  assert (stock.num_done, stock.num_failed) == (NUM_GOOD, NUM - NUM_GOOD)
  assert not stock.attempts and len(loads) == 1
  assert small_batch.digests(tmp_path / 'out') == small_batch.digests(whole)


def test_shards_and_order_change_nothing_and_empty_shards_are_done(
  undisturbed, tmp_path
):
  manifest, whole = undisturbed
  lines = manifest.read_text().splitlines()[3:]
  shuffled = manifest.with_name('shuffled.jsonl')
  shuffled.write_text('\n'.join(lines[::-1]))
  out = tmp_path / 'out'
  codes = [
    small_batch.run(shuffled, out, shard=shards.JobShard(index=i, count=7))
    for i in range(7)
  ]
  assert codes == [job.EXIT_DONE] * 7
  made = small_batch.digests(out)
  assert made == small_batch.digests(whole)
  # Other shards of the same items find them done.
  shard = shards.JobShard(index=1, count=3)
  assert small_batch.run(shuffled, out, shard=shard, rows=2) == job.EXIT_DONE
  rows = map(json.loads, open(report.collect(str(out)), encoding='utf-8'))
  assert {row['path'] for row in rows} == made.keys()


@pytest.mark.parametrize('is_link', [False, True])
def test_a_video_is_never_replaced_by_its_music(tmp_path, is_link):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 2, poison=False)
  clips = manifest.parent
  out = clips
  if is_link:
    out = tmp_path / 'out'
    out.mkdir()
  for n in range(2):
    old = clips / f'{n}.mp4'
    if is_link:
      (out / f'item_{n}.mp4').symlink_to(old)
    else:
      old.rename(clips / f'item_{n}.mp4')
  if not is_link:
    text = manifest.read_text()
    manifest.write_text(
      text.replace('"0.mp4"', '"item_0.mp4"').replace('"1.mp4"', '"item_1.mp4"')
    )
  before = {path.name: path.read_text() for path in clips.iterdir()}
  with pytest.raises(ValueError) as refused:
    small_batch.run(manifest, out, output_format='mp4')
  # Each by its line, before any work.
  for n in range(2):
    assert f'line {n + 1}: ' in str(refused.value)
    assert f"would be written for 'item_{n}'" in str(refused.value)
  assert {path.name: path.read_text() for path in clips.iterdir()} == before


def test_what_did_not_change_is_not_made_again_and_what_did_is(
  undisturbed, tmp_path, capsys
):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 4, poison=False)
  out, log = tmp_path / 'out', tmp_path / 'log'

  def made(**fields):
    log.write_text('')
    assert small_batch.run(manifest, out, log=log, **fields) == job.EXIT_DONE
    return log.read_text().split(), capsys.readouterr().out

  names, _ = made()
  assert sorted(names) == [f'item_{n}' for n in range(4)]
  first = small_batch.digests(out)
  assert made()[0] == []
  clip = manifest.with_name('1.mp4')
  clip.touch()  # Read again, and found to be the same.
  assert made()[0] == []
  clip.write_text('another')
  assert made()[0] == ['item_1']
  names, said = made(defaults={'seed': 5})
  assert len(names) == 4 and '4 items are made again' in said
  names, said = made(rows=3)
  assert len(names) == 4
  assert 'rows was 2 and is 3' in said
  clip.write_text('clip 1')
  # What was made before the last change is no longer there.
  names, _ = made()
  assert len(names) == 4 and small_batch.digests(out) == first
  made(output_format='flac')
  assert not small_batch.digests(out) and len(list(out.glob('*.flac'))) == 4


def test_another_list_does_not_take_over_a_folder(tmp_path, capsys):
  one = small_batch.write_manifest(tmp_path / 'one', 3, poison=False)
  other = one.with_name('other.jsonl')
  lines = one.read_text().splitlines(keepends=True)
  out = tmp_path / 'out'
  assert small_batch.run(one, out) == job.EXIT_DONE
  before = {p: p.read_bytes() for p in out.rglob('*') if p.is_file()}
  other.write_text(''.join(lines[:1]))
  with pytest.raises(ValueError, match="lacks 2 items, such as 'item_1'.*OUT"):
    small_batch.run(other, out)
  assert before == {p: p.read_bytes() for p in out.rglob('*') if p.is_file()}
  # A list of the same items, or of more, is the same one elsewhere.
  other.write_text(''.join(reversed(lines)))
  assert small_batch.run(other, out) == job.EXIT_DONE
  # One that was cut is, too, and says what that means.
  other.write_text(''.join(lines[:2]))
  assert small_batch.run(other, out) == job.EXIT_DONE
  assert '1 items are no longer in the list' in capsys.readouterr().out
  assert report.status(str(out)).startswith('2 of 2 done')
  assert (out / 'item_2.wav').exists()
  # Told so, another list takes over.
  (out / report.JOB).unlink()
  one.write_text(lines[2])
  assert small_batch.run(one, out) == job.EXIT_DONE
  assert report.status(str(out)).startswith('1 of 1 done')


def test_a_batch_of_which_nothing_is_left_loads_no_system(
  undisturbed, monkeypatch
):
  manifest, out = undisturbed
  before = {p: p.stat().st_mtime_ns for p in out.rglob('*')}
  monkeypatch.setattr(job.Job, '_make', None)
  monkeypatch.setattr(small_batch, 'HummingSystem', None)
  assert small_batch.run(manifest, out) == job.EXIT_FAILURES
  after = {p: p.stat().st_mtime_ns for p in out.rglob('*.wav*')}
  assert after.items() <= before.items()


def test_a_sound_of_no_use_fails_and_is_tried_again_when_asked(tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 2, poison=False)
  manifest.with_name('1.mp4').write_text('silent')
  out, log = tmp_path / 'out', tmp_path / 'log'
  assert small_batch.run(manifest, out, log=log) == job.EXIT_FAILURES
  (row,) = failures(out).values()
  assert (row['id'], row['part'], row['reason']) == (
    *('item_1', 'sound', 'silent'),
  )
  assert '1 failed: silent (sound)' in report.status(str(out))
  assert small_batch.run(manifest, out, log=log) == job.EXIT_FAILURES
  with pytest.raises(ValueError, match='there are silent'):
    report.retry(str(out), 'time')
  assert report.retry(str(out), 'silent').startswith('1 item')
  assert not failures(out)
  assert small_batch.run(manifest, out, log=log) == job.EXIT_FAILURES
  assert log.read_text().split().count('item_1') == 2
  assert log.read_text().split().count('item_0') == 1


def test_a_batch_that_is_stopped_keeps_what_is_finished(tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 24, poison=False)
  out = tmp_path / 'out'
  code = small_batch.run(
    manifest, out, is_stopped=lambda: any(out.glob('*.wav'))
  )
  assert code == job.EXIT_TRY_AGAIN
  num = len(small_batch.committed(out))
  assert 0 < num < 24 and not (out / '.building').exists()
  assert small_batch.run(manifest, out) == job.EXIT_DONE
  assert len(small_batch.digests(out)) == 24


def test_a_row_without_the_plan_that_the_system_needs_is_named_before_any_work(
  tmp_path,
):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 3, poison=False)
  rows = [json.loads(line) for line in manifest.read_text().splitlines()]
  rows[1]['no_plan'] = True
  manifest.write_text('\n'.join(map(json.dumps, rows)))
  with pytest.raises(ValueError, match='line 2: it knows a video by its plan'):
    small_batch.run(manifest, tmp_path / 'out')
  assert not list((tmp_path / 'out').glob('*.wav'))
  code = small_batch.run(manifest, tmp_path / 'out', skip_bad_rows=True)
  assert code == job.EXIT_FAILURES
  assert len(list((tmp_path / 'out').glob('*.wav'))) == 2
  (failed,) = (tmp_path / 'out' / 'failed.jsonl').read_text().splitlines()
  failure = json.loads(failed)
  assert (failure['id'], failure['part']) == (rows[1]['id'], 'row')
  assert 'by its plan' in failure['message'] and '--system' in failure['fix']


def test_a_batch_that_is_stopped_as_it_begins_loads_no_system(tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 2, poison=False)
  answers = iter([False, True])  # Before and after its workers start.
  for is_stopped in (lambda: True, lambda: next(answers)):
    code = small_batch.run(
      manifest,
      tmp_path / 'out',
      load_system=fail_to_load,
      is_stopped=is_stopped,
    )
    assert code == job.EXIT_TRY_AGAIN
  assert not list((tmp_path / 'out').glob('*.wav'))


def test_a_bucket_gets_the_same_and_is_gone_on_with(
  undisturbed, tmp_path, bucket
):
  manifest, whole = undisturbed
  out = 'gs://bucket/out'
  for expected_stop in (True, False):
    code = small_batch.run(
      manifest,
      out,
      is_stopped=lambda stop=expected_stop: (
        stop and 'bucket/out/item_3.wav.json' in bucket.objects
      ),
    )
    assert code == (job.EXIT_TRY_AGAIN if expected_stop else job.EXIT_FAILURES)
  made = {
    name: content
    for name, content in small_batch.digests(whole).items()
    if bucket.objects[f'bucket/out/{name}'] == content
  }
  assert len(made) == NUM_GOOD
  folders = {name.split('/')[2] for name in bucket.objects}
  assert {n for n in folders if not n.startswith('item_')} == {
    *('records', report.JOB, report.FAILED)
  }
  objects = dict(bucket.objects)
  assert small_batch.run(manifest, out) == job.EXIT_FAILURES
  assert objects == bucket.objects
  # A sidecar speaks for a record that a kill has kept from being written.
  for name in paths.inside(paths.path(f'{out}/records')):
    del bucket.objects[f'bucket/out/records/{name}']
  log = tmp_path / 'log'
  log.touch()
  assert small_batch.run(manifest, out, log=log) == job.EXIT_FAILURES
  assert not log.read_text()


def test_two_processes_do_not_work_at_one_shard(tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 3, poison=False)
  out = tmp_path / 'out'
  seen = []

  def also():
    if not seen:
      seen.append(None)
      with pytest.raises(ValueError, match='another process works at shard'):
        small_batch.run(manifest, out, is_stopped=lambda: True)
    return False

  assert small_batch.run(manifest, out, is_stopped=also) == job.EXIT_DONE
  assert seen


def test_a_file_in_place_of_the_folder_is_named_with_the_way_out(tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 1, poison=False)
  out = tmp_path / 'out'
  out.write_text('mine')
  with pytest.raises(OSError, match='out cannot be a folder .*another'):
    small_batch.run(manifest, out)
  assert out.read_text() == 'mine'


class Killed(BaseException):
  """Nothing more reaches the bucket."""


def test_a_bucket_that_is_cut_off_at_any_object_is_gone_on_with(
  undisturbed, tmp_path, bucket
):
  manifest, whole = undisturbed
  out, log = 'gs://bucket/out', tmp_path / 'log'
  log.touch()
  rng = random.Random(0)
  for _ in range(4):
    left = rng.randint(3, 25)

    def cut_off(operation, key):
      nonlocal left
      left -= operation != 'read'
      if left < 0 and operation != 'read':
        raise Killed(key)

    bucket.before = staticmethod(cut_off)
    before = small_batch.committed(paths.path(out))
    log.write_text('')
    try:
      small_batch.run(manifest, out, log=log)
    except Killed:
      pass
    assert not before.intersection(log.read_text().split())
  bucket.before = staticmethod(lambda operation, key: None)
  assert small_batch.run(manifest, out) == job.EXIT_FAILURES
  wanted = small_batch.digests(whole)
  assert {n: bucket.objects[f'bucket/out/{n}'] for n in wanted} == wanted
