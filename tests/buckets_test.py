"""What tests of one module do with a fake, done with a server of buckets."""

import json

from etils import epath
import fsspec
import jax
import numpy as np
import pytest
import tensorstore as ts

from tests.fakes import media_clips
from tests.fakes import planted_model
from tests.fakes import planted_states
from v2meow_jax.cli import main
from v2meow_jax.files import atomic
from v2meow_jax.files import copies
from v2meow_jax.files import paths
from v2meow_jax.files import probe
from v2meow_jax.files import released
from v2meow_jax.inference import system
from v2meow_jax.training import loop
from v2meow_jax.training import schedules
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import stored_step

pytestmark = pytest.mark.slow


def test_files_and_folders_are_put_listed_copied_and_moved(bucket_url):
  paths.require_writable(paths.path(bucket_url))
  for content in ('1', '2'):
    with atomic.replacing_folder(f'{bucket_url}/a', marker='m') as building:
      for name in ('m', '.hidden', 'deeper/b'):
        atomic.write_text(f'{building}/{name}', content)
    folder = paths.path(f'{bucket_url}/a')
    assert paths.inside(folder) == ['.hidden', 'deeper/b', 'm']
    # The same name and size: a version tells the copies apart.
    with copies.held(folder / 'deeper/b') as file:
      assert file.read_text() == content
  assert len(list(copies._folder().iterdir())) == 2
  assert paths.inside(paths.path(bucket_url)) == [
    *('a/.hidden', 'a/deeper/b', 'a/m')
  ]
  # Another process' files are seen at once.
  other, name = fsspec.core.url_to_fs(bucket_url, skip_instance_cache=True)
  other.pipe_file(f'{name}/a/new', b'')
  assert 'new' in paths.inside(folder)
  assert 'new' in [path.name for path in folder.iterdir()]


def test_what_was_read_is_written_again_on_condition(bucket_url):
  bucket, _, name = bucket_url.removeprefix('gs://').partition('/')
  kvstore = ts.KvStore.open({'driver': 'gcs', 'bucket': bucket}).result()
  kvstore.write(f'{name}/a', b'1').result()
  seen = kvstore.read(f'{name}/a').result().stamp.generation
  kvstore.write(f'{name}/a', b'2', if_equal=seen).result()
  assert kvstore.read(f'{name}/a').result().value == b'2'


def test_a_bucket_that_is_not_there_is_one_line(bucket_url, capsys):
  clip = f'{bucket_url}/no.mp4'
  code = main.main(['generate', clip, '-o', f'{bucket_url}/out.wav'])
  error = capsys.readouterr().err
  assert code and clip in error and 'Traceback' not in error
  with pytest.raises(OSError, match='gs://nowhere-at-all cannot be written'):
    paths.require_writable(paths.path('gs://nowhere-at-all'))


@pytest.mark.parametrize('name', list(system.SHIPPED))
def test_soundtracks_are_made_from_bucket_to_bucket(bucket_url, tmp_path, name):
  clip = tmp_path / 'clip.mp4'
  media_clips.encode(clip, media_clips.planted(np.arange(30)))
  atomic.copy(clip, f'{bucket_url}/clip.mp4')
  for file in system.SHIPPED[name].iterdir():
    atomic.copy(file, f'{bucket_url}/system/{file.name}')
  video, out = f'{bucket_url}/clip.mp4', f'{bucket_url}/out.mp4'
  assert not main.main(['plan', video, '-o', f'{bucket_url}/plan.json'])
  arguments = ['--system', f'{bucket_url}/system', '--seed', '3']
  arguments += ['--plan', f'{bucket_url}/plan.json']
  assert not main.main(['generate', video, '-o', out, *arguments])
  info = probe.probe(out)
  assert info.num_frames == 30 and info.has_audio
  facts = json.loads(paths.path(f'{out}.json').read_bytes())
  assert (facts['video'], facts['seed']) == (video, 3)
  assert facts['video_sha256'] == atomic.sha256(clip)
  assert facts['system_sha256'] == atomic.sha256(
    system.SHIPPED[name] / released.CONFIG_NAME
  )
  before = atomic.sha256(out)
  again = ['--system', f'{bucket_url}/system', '--redo', '0.4-1.0']
  assert not main.main(['generate', video, '-o', out, *again])
  after = json.loads(paths.path(f'{out}.json').read_bytes())
  assert [e['take'] for e in after['redone']] == [2]
  assert after['output_sha256'] == atomic.sha256(out) != before


def test_a_run_resumed_in_a_bucket_equals_one_on_a_disk(bucket_url, tmp_path):
  def train(model_dir, train_steps):
    return loop.train(
      model_dir=model_dir,
      model=planted_model.LinearModel(),
      train_batches=planted_model.batches,
      schedule=schedules.warmup_rsqrt(0.05, 20),
      train_steps=train_steps,
      log_every=2,
      tensorboard=False,
    )

  train(bucket_url, 2)
  there, here = train(bucket_url, 4), train(tmp_path, 4)
  for one, other in zip(
    jax.tree.leaves(there), jax.tree.leaves(here), strict=True
  ):
    np.testing.assert_array_equal(one, other)
  lines = paths.path(f'{bucket_url}/metrics.jsonl').read_bytes().splitlines()
  assert [json.loads(line)['step'] for line in lines] == [2, 4]


def _step(run: str, step: int) -> epath.Path:
  return stored_step.absolute(run) / 'checkpoints' / str(step)


def _objects(path: epath.Path) -> list[str]:
  return paths.inside(path)


def test_a_run_goes_on_from_its_newest_whole_step_in_a_bucket(bucket_url):
  run = f'{bucket_url}/run'
  with checkpoints.Checkpoints(run) as saved:
    assert saved.latest_step() is None
    for step in (1, 2):
      saved.save(planted_states.state(step), {})
  bucket, _ = paths.file_system(run)
  # A save that was killed: everything but the file that is written last.
  for name in paths.inside(_step(run, 2)):
    if name != 'commit_success.txt':
      bucket.cp_file(f'{_step(run, 2)}/{name}', f'{_step(run, 3)}/{name}')
  assert stored_step.committed(_step(run, 3).parent) == [1, 2]
  assert checkpoints.restore_variables(run)[1] == 2
  # Damage that only digests see.
  for name in paths.inside(_step(run, 2)):
    if name.startswith('variables/') and '/d/' in name:
      place = f'{_step(run, 2)}/{name}'
      bucket.pipe_file(place, bucket.cat_file(place)[:-8] + b'12345678')
  with checkpoints.Checkpoints(run) as saved:
    assert not paths.inside(_step(run, 3))
    restored = saved.restore(planted_states.state(0))
    planted_states.assert_is_that_of_step(restored, 1)
    assert stored_step.committed(_step(run, 2).parent) == [1]
    assert paths.inside(_step(run, 2).with_name('corrupt-2'))
