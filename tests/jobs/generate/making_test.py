"""Clips of equal options share calls; what fails alone fails alone."""

import time
import types

import pytest

from tests.fakes import small_batch
from v2meow_jax.jobs import commit
from v2meow_jax.jobs import shards
from v2meow_jax.jobs.generate import attempts
from v2meow_jax.jobs.generate import items
from v2meow_jax.jobs.generate import making
from v2meow_jax.jobs.generate import workers
from v2meow_jax.jobs.generate import writing

pytestmark = pytest.mark.slow

ROWS = 3


class InProcess(workers.Worker):
  """A worker that is no process; counts what it has read."""

  def __init__(self, function):
    self.function = function
    self.num_calls = 0

  def __call__(self, *args):
    self.num_calls += 1
    return self.function(*args)

  def end(self):
    """Has no process."""


class Listening(small_batch.HummingSystem):
  """Keeps the ids of each call, and breaks where it is told to."""

  def __init__(self, broken=(), seconds=0.0):
    self.calls = []
    self.broken = broken
    self.seconds = seconds

  def sample(self, clips, samplings, rows, on_progress, clock):
    self.calls.append([clip['id'] for clip in clips])
    if set(self.calls[-1]).intersection(self.broken):
      raise ValueError('too many beats')
    time.sleep(self.seconds)
    super().sample(clips, samplings, rows, on_progress, clock)


def of_options(index, **options):
  return attempts.Attempt(
    item=items.Item(
      id=f'item_{index}',
      where=f'line {index}',
      files={'video': f'{index}.mp4'},
      options={'seed': 0, **options},
    ),
    options='digest',
    versions={'video': '1'},
    number=1,
    output=f'item_{index}.wav',
  )


def read(item, output):
  del output
  clip = {'number': 1, 'text': 'hum', 'log': None, 'id': item.id}
  file = {'version': '1', 'sha256': item.id}
  return types.SimpleNamespace(clip=clip), {'video': file}


def make(
  tmp_path,
  system,
  tries,
  reader=read,
  on_item=lambda figures: None,
  num_writers=1,
):
  out = tmp_path / 'out'
  out.mkdir()
  with commit.ShardFolder(out, shards.ALL) as folder:
    maker = making.Maker(
      system,
      folder,
      making.Figures(),
      readers=[InProcess(reader)],
      writers=[InProcess(writing.write) for _ in range(num_writers)],
      rows=ROWS,
      is_stopped=lambda: False,
      on_item=on_item,
    )
    maker.make(tries)
  return maker.figures


def test_only_clips_of_equal_options_share_a_call(tmp_path):
  tries = [of_options(n, top_k=5 + n % 2) for n in range(10)]
  system = Listening()
  figures = make(tmp_path, system, tries)
  assert (figures.num_done, figures.num_failed) == (10, 0)
  numbers = [[int(i.split('_')[1]) for i in call] for call in system.calls]
  assert sorted(map(sorted, numbers)) == [[0, 2, 4], [1, 3, 5], [6, 8], [7, 9]]
  assert len(list((tmp_path / 'out').glob('*.wav'))) == 10


def test_several_writers_make_the_files_of_one(tmp_path):
  contents = []
  for num_writers in (1, 3):
    folder = tmp_path / str(num_writers)
    folder.mkdir()
    tries = [of_options(n) for n in range(20)]
    figures = make(folder, Listening(), tries, num_writers=num_writers)
    assert figures.num_done == 20
    contents.append(small_batch.digests(folder / 'out'))
  assert len(contents[0]) == 20 and contents[0] == contents[1]


def test_each_group_of_devices_has_rows_of_its_own(tmp_path):
  system = Listening()
  system.num_groups = 2
  make(tmp_path, system, [of_options(n) for n in range(4 * ROWS)])
  assert [len(call) for call in system.calls] == [2 * ROWS] * 2


def test_a_clip_that_the_stages_fail_on_fails_alone(tmp_path):
  system = Listening(broken=['item_1'])
  tries = [of_options(n) for n in range(ROWS)]
  figures = make(tmp_path, system, tries)
  assert (figures.num_done, figures.num_failed) == (2, 1)
  names = {path.stem for path in (tmp_path / 'out').glob('*.wav')}
  assert names == {'item_0', 'item_2'}
  assert system.calls[0] == ['item_0', 'item_1', 'item_2']


def test_stages_that_fail_on_everything_end_the_batch(tmp_path):
  tries = [of_options(n) for n in range(50)]
  system = Listening(broken=[t.item.id for t in tries])
  with pytest.raises(RuntimeError, match='3 clips in succession.*many beats'):
    make(tmp_path, system, tries)
  assert len(system.calls) < 8


def test_reading_is_ahead_by_a_few_clips_however_long_the_list(tmp_path):
  num_read, most_ahead = 0, 0

  def counted(item, output):
    nonlocal num_read
    num_read += 1
    return read(item, output)

  def note(figures):
    nonlocal most_ahead
    most_ahead = max(most_ahead, num_read - figures.num_done)

  figures = make(
    tmp_path,
    Listening(),
    [of_options(n) for n in range(30)],
    counted,
    note,
  )
  assert figures.num_done == 30
  # A row that waits, one at the stages, three behind them, one at the reader.
  assert most_ahead <= 5 * ROWS


@pytest.mark.parametrize('slow', ['reading', 'stages'])
def test_the_share_of_waiting_says_which_part_is_slow(tmp_path, slow):
  def slowly(item, output):
    time.sleep(0.05 if slow == 'reading' else 0)
    return read(item, output)

  system = Listening(seconds=0.0 if slow == 'reading' else 0.2)
  figures = make(tmp_path, system, [of_options(n) for n in range(12)], slowly)
  assert 0 < figures.start_seconds < figures.seconds
  assert (figures.wait_share > 0.5) == (slow == 'reading')


def test_a_failure_of_a_worker_is_a_record_with_its_part(tmp_path):
  def refuse(item, output):
    if item.id == 'item_0':
      raise workers.ItemFailure('refused', 'no pictures', 'film some')
    return read(item, output)

  figures = make(tmp_path, Listening(), [of_options(0), of_options(1)], refuse)
  assert (figures.num_done, figures.num_failed) == (1, 1)
  with commit.ShardFolder(tmp_path / 'out', shards.ALL) as folder:
    (record,) = folder.results.of('item_0')
  assert (record.state, record.part, record.reason) == (
    *('failed', 'read', 'refused'),
  )
