"""Weights are fetched whole, kept where readers look, and known again."""

import dataclasses
import functools
import http.server
import json
import subprocess
import threading
import zipfile

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from v2meow_jax import parts
from v2meow_jax.cli import main
from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import store
from v2meow_jax.pretrained import tensors

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope='module')
def server(tmp_path_factory):
  """A folder, and the address at which a web server shows it."""
  folder = tmp_path_factory.mktemp('published')
  safetensors_numpy.save_file({'kernel': KERNEL}, folder / 'model.safetensors')
  handler = functools.partial(
    http.server.SimpleHTTPRequestHandler, directory=folder
  )
  with http.server.ThreadingHTTPServer(('localhost', 0), handler) as running:
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield folder, f'http://localhost:{running.server_port}'
    running.shutdown()


def artefact(url, **changes):
  return ledger.Artefact(
    **{
      'name': 'planted',
      'what': 'a test',
      'url': url,
      'megabytes': 1,
      'holds': 'kernel',
      'reader': 'v2meow_jax.pretrained.tensors.load',
      'code_licence': 'MIT',
      'weights_licence': 'MIT',
      'commercial': True,
      **changes,
    }
  )


@pytest.fixture
def here(tmp_path, monkeypatch):
  """An empty store, and no hub cache."""
  monkeypatch.setenv('HF_HOME', str(tmp_path / 'hub'))
  monkeypatch.delenv('HF_HUB_CACHE', raising=False)
  return store.Store(path=tmp_path / 'weights')


def test_a_file_in_place_of_the_folder_is_named(tmp_path, monkeypatch):
  file = tmp_path / 'model.safetensors'
  file.touch()
  monkeypatch.setenv(store.VARIABLE, str(file))
  with pytest.raises(store.WeightsError, match=r'model\.safetensors is a file'):
    store.Store()


def test_a_folder_may_be_told_from_home(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.setenv(store.VARIABLE, '~/weights')
  assert store.Store().path == tmp_path / 'weights'


def test_what_was_fetched_is_found_and_verified(server, here):
  folder, address = server
  published = folder / 'model.safetensors'
  wanted = artefact(
    f'{address}/model.safetensors', sha256=atomic.sha256(published)
  )
  file = here.fetch(wanted)
  assert file == here.path / 'planted' / 'model.safetensors'
  assert file.read_bytes() == published.read_bytes()
  assert here.locate(wanted) == here.fetch(wanted) == file
  assert here.verify(wanted) == 'as fetched'
  assert {p.name for p in file.parent.iterdir()} == {file.name, 'SOURCE.json'}
  np.testing.assert_array_equal(tensors.load(file)['kernel'], KERNEL)
  content = bytearray(file.read_bytes())
  content[-1] ^= 1
  file.write_bytes(content)
  with pytest.raises(store.WeightsError, match='when it was fetched it had'):
    here.verify(wanted)


def test_other_bytes_than_those_published_are_refused(server, here):
  _, address = server
  wanted = artefact(f'{address}/model.safetensors', sha256='0' * 64)
  with pytest.raises(store.WeightsError, match='does not match the known hash'):
    here.fetch(wanted)
  assert here.find(wanted) is None


def test_a_file_that_is_not_there_says_what_to_do(server, here):
  _, address = server
  missing = artefact(f'{address}/nothing.safetensors')
  with pytest.raises(OSError, match='404'):
    here.fetch(missing)
  assert not here.path.exists()
  with pytest.raises(store.WeightsError) as caught:
    here.locate(missing)
  said = str(caught.value)
  assert 'v2meow weights fetch planted' in said
  assert f'download {missing.url}' in said
  assert 'v2meow weights import planted FILE' in said
  assert str(here.path / 'planted') in said


def test_companions_come_and_are_found_with_their_file(server, here):
  folder, address = server
  (folder / 'a_stats.json').write_text('{}')
  wanted = artefact(
    f'{address}/model.safetensors', companions=('a_stats.json',)
  )
  file = here.fetch(wanted)
  beside = file.with_name('a_stats.json')
  assert beside.read_text() == '{}'
  assert {p.name for p in file.parent.iterdir()} == {
    file.name,
    beside.name,
    'SOURCE.json',
  }
  beside.unlink()
  assert here.find(wanted) is None


def test_a_file_is_taken_in_with_its_companions_or_not_at_all(tmp_path, here):
  came = tmp_path / 'came'
  came.mkdir()
  safetensors_numpy.save_file({'kernel': KERNEL}, came / 'b.safetensors')
  wanted = artefact(
    'https://example.org/a.safetensors', companions=('a_stats.json',)
  )
  with pytest.raises(store.WeightsError) as caught:
    here.take(wanted, came / 'b.safetensors')
  assert f'no {came / "a_stats.json"}' in str(caught.value)
  assert 'https://example.org/a_stats.json' in str(caught.value)
  assert here.find(wanted) is None
  (came / 'a_stats.json').write_text('{}')
  file = here.take(wanted, came / 'b.safetensors')
  assert file.with_name('a_stats.json').read_text() == '{}'
  assert here.take(wanted, file) == file == here.locate(wanted)
  assert here.verify(wanted).startswith('as fetched')
  file.with_name('a_stats.json').write_text('[]')
  with pytest.raises(store.WeightsError, match='a_stats.json has sha256'):
    here.verify(wanted)


def test_the_digest_of_git_is_known(tmp_path, here):
  good, bad = tmp_path / 'good.safetensors', tmp_path / 'bad.safetensors'
  for path, value in ((good, KERNEL), (bad, KERNEL + 1)):
    safetensors_numpy.save_file({'kernel': value}, path)
  done = subprocess.run(
    ['git', 'hash-object', good], capture_output=True, text=True, check=True
  )
  wanted = artefact(
    'https://example.org/a.safetensors',
    git_blob=done.stdout.strip(),
  )
  assert here.take(wanted, good).read_bytes() == good.read_bytes()
  with pytest.raises(store.WeightsError, match="bad.*git's SHA-1") as caught:
    here.take(wanted, bad)
  assert 'elete' not in str(caught.value)  # It is the user's.


def test_the_cache_of_the_hub_is_read(tmp_path, here):
  clip = ledger.find('clip-vit-l14')
  assert here.find(clip) is None
  model = tmp_path / 'hub/hub/models--openai--clip-vit-large-patch14'
  snapshot = model / 'snapshots/abc'
  snapshot.mkdir(parents=True)
  (model / 'refs').mkdir()
  (model / 'refs/main').write_text('abc')
  safetensors_numpy.save_file(
    {clip.holds: KERNEL}, snapshot / 'model.safetensors'
  )
  assert here.locate(clip) == snapshot / 'model.safetensors'
  said = 'complete; no published digest of it is known'
  assert here.verify(clip) == said


def test_a_nested_file_is_found_in_the_cache_with_its_companions(
  tmp_path, here
):
  nested = ledger.find('musiccoca')
  model = tmp_path / 'hub/hub/models--google--magenta-realtime-2'
  folder = model / 'snapshots/abc/resources/musiccoca'
  folder.mkdir(parents=True)
  (model / 'refs').mkdir()
  (model / 'refs/main').write_text('abc')
  (folder / 'music_encoder.tflite').write_bytes(b'0000TFL3')
  assert here.find(nested) is None
  for name in nested.companions:
    (folder / name).write_bytes(b'some')
  assert here.locate(nested) == folder / 'music_encoder.tflite'


def test_a_fixed_version_is_found_in_the_cache(tmp_path, here):
  wanted = artefact(
    'https://huggingface.co/one/two/resolve/123abc/a/model.safetensors'
  )
  model = tmp_path / 'hub/hub/models--one--two'
  (model / 'refs').mkdir(parents=True)
  (model / 'refs/main').write_text('other')
  for commit in ('other', '123abc'):
    (model / 'snapshots' / commit / 'a').mkdir(parents=True)
    file = model / 'snapshots' / commit / 'a' / 'model.safetensors'
    safetensors_numpy.save_file({'kernel': KERNEL}, file)
  assert here.locate(wanted) == file


@pytest.mark.parametrize(
  ('name', 'write'),
  [
    ('README.md', lambda p: p.write_text('# no weights')),
    ('empty.safetensors', lambda p: p.write_bytes(b'')),
    ('page.html', lambda p: p.write_text('<html>log in</html>')),
    (
      'other.safetensors',
      lambda p: safetensors_numpy.save_file({'other': KERNEL}, p),
    ),
  ],
)
def test_another_file_is_not_taken_in_and_nothing_is_replaced(
  tmp_path, here, name, write
):
  wanted = artefact('https://example.org/model.safetensors')
  good = tmp_path / 'good.safetensors'
  safetensors_numpy.save_file({'kernel': KERNEL}, good)
  kept = here.take(wanted, good)
  write(tmp_path / name)
  with pytest.raises(store.WeightsError, match='this is not planted'):
    here.take(wanted, tmp_path / name)
  assert kept.read_bytes() == good.read_bytes()
  assert {p.name for p in kept.parent.iterdir()} == {kept.name, 'SOURCE.json'}


def test_a_refused_file_is_named_and_leaves_no_folder(tmp_path, here):
  wanted = artefact('https://example.org/model.safetensors')
  film = tmp_path / 'film.mp4'
  film.write_bytes(b'\0\0\0\x18ftypisom')
  with pytest.raises(store.WeightsError, match=f'{film} is damaged') as caught:
    here.take(wanted, film)
  assert 'partial' not in str(caught.value)
  assert not here.path.exists()
  here.path.mkdir()
  with pytest.raises(store.WeightsError, match=f'{film} is damaged'):
    here.take(wanted, film)
  assert not list(here.path.iterdir())


def test_a_larger_network_is_not_taken_for_a_smaller_one(tmp_path, here):
  wanted = artefact('https://example.org/model.safetensors', lacks='layer_12')
  file = tmp_path / 'large.safetensors'
  safetensors_numpy.save_file({'kernel': KERNEL, 'layer_12': KERNEL}, file)
  with pytest.raises(store.WeightsError, match="large.* has 'layer_12', as a"):
    here.take(wanted, file)
  assert not here.path.exists()
  safetensors_numpy.save_file({'kernel': KERNEL}, file)
  assert here.take(wanted, file)


def test_companions_are_listed_once_each(here):
  wanted = artefact('https://example.org/a.npz', companions=('b', 'c'))
  with pytest.raises(store.WeightsError) as caught:
    here.locate(wanted)
  beside = 'beside it https://example.org/b, https://example.org/c, elsewhere'
  assert beside in str(caught.value) and ',,' not in str(caught.value)


def test_a_damaged_record_is_named(tmp_path, here):
  wanted = artefact('https://example.org/model.safetensors')
  good = tmp_path / 'good.safetensors'
  safetensors_numpy.save_file({'kernel': KERNEL}, good)
  record = here.take(wanted, good).parent / 'SOURCE.json'
  for text in ('{}', 'garbage'):
    record.write_text(text)
    with pytest.raises(store.WeightsError, match='SOURCE.json is damaged'):
      here.verify(wanted)


class _Runs:
  """A pickle of it makes a folder when it is loaded."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    import os

    return os.mkdir, (str(self.path),)


@pytest.mark.torch
def test_a_pickle_of_tensors_is_converted_and_one_of_more_is_not(
  tmp_path, here
):
  import torch

  wanted = artefact('https://example.org/model.ckpt')
  assert here.file(wanted).name == 'model.safetensors'
  good = tmp_path / 'model.ckpt'
  state = {'kernel': torch.from_numpy(KERNEL)}
  torch.save({'state_dict': state, 'epoch': 3}, good)
  file = here.take(wanted, good)
  np.testing.assert_array_equal(tensors.load(file)['kernel'], KERNEL)
  said = 'as fetched; no published digest of it is known'
  assert here.verify(wanted) == said
  noted = json.loads((file.parent / 'SOURCE.json').read_text())
  assert noted['original_sha256'] == atomic.sha256(good)

  bad = tmp_path / 'bad.ckpt'
  torch.save({'kernel': state['kernel'], 'x': _Runs(tmp_path / 'made')}, bad)
  other = dataclasses.replace(wanted, name='other')
  with pytest.raises(ValueError, match='cannot be converted'):
    here.take(other, bad)
  assert not (tmp_path / 'made').exists()
  assert not here.folder(other).exists()
  film = tmp_path / 'film.mp4'
  film.write_bytes(b'\0\0\0\x18ftypisom')
  with pytest.raises(ValueError, match='film.mp4 cannot be converted') as told:
    here.take(other, film)
  assert 'raise ' not in str(told.value) and 'Re-running' not in str(told.value)


@pytest.mark.torch
@pytest.mark.parametrize('module', ['numpy._core', 'numpy.core'])
def test_arrays_beside_the_state_are_passed_over(tmp_path, here, module):
  import torch

  wanted = artefact('https://example.org/model.pth')
  saved = tmp_path / 'saved.pth'
  model = {'kernel': torch.from_numpy(KERNEL)}
  torch.save(
    {'model': model, 'sampler': {'queue': [np.arange(3)], 'pointer': 2}}, saved
  )
  # As older versions of NumPy name themselves.
  given = tmp_path / 'model.pth'
  with zipfile.ZipFile(saved) as old, zipfile.ZipFile(given, 'w') as new:
    for item in old.infolist():
      content = old.read(item)
      if item.filename.endswith('data.pkl'):
        assert b'numpy._core.multiarray' in content
        content = content.replace(b'numpy._core', module.encode())
      new.writestr(item.filename, content)
  file = here.take(wanted, given)
  np.testing.assert_array_equal(tensors.load(file)['kernel'], KERNEL)
  torch.save({'model': model, 'x': np.array([{}], dtype=object)}, given)
  with pytest.raises(ValueError, match='cannot be converted'):
    here.take(dataclasses.replace(wanted, name='other'), given)


def test_the_command_lists_imports_and_verifies(tmp_path, here, capsys):
  arguments = ['--weights_dir', str(here.path)]
  assert main.main(['weights', 'list', *arguments]) == 0
  listed = capsys.readouterr().out
  for a in ledger.ARTEFACTS:
    assert a.url in listed and f'{a.megabytes} MB' in listed
    assert str(here.file(a)) in listed
    for known in (a.sha256, a.git_blob, *a.companions, *a.elsewhere):
      assert not known or known in listed
    assert (
      f'licence of the code: {a.code_licence}; of the weights:'
      f' {a.weights_licence}; commercial use: '
    ) in listed
  assert 'no published digest' in listed
  assert 'models--google--magenta-realtime-2/snapshots/COMMIT/resources/' in (
    listed
  )
  assert listed.count('not here') == len(ledger.ARTEFACTS)
  file = tmp_path / 'model.safetensors'
  name = 'clip-vit-l14'
  tensor = ledger.find(name).holds
  safetensors_numpy.save_file({tensor: KERNEL}, file)
  assert main.main(['weights', 'import', name, str(file), *arguments]) == 0
  kept = capsys.readouterr().out.strip()
  assert kept == str(here.path / name / file.name)
  assert main.main(['weights', 'verify', *arguments]) == 0
  told = capsys.readouterr().out
  assert told == f'{name}: as fetched; no published digest of it is known\n'
  here.locate(ledger.find(name)).write_bytes(b'others')
  assert main.main(['weights', 'verify', name, *arguments]) == 2
  capsys.readouterr()
  assert main.main(['weights', 'list', '--json', *arguments]) == 0
  rows = {row['name']: row for row in json.loads(capsys.readouterr().out)}
  assert rows['dac-16khz']['file'] is None
  wanted = here.path / 'dac-16khz' / 'model.safetensors'
  assert rows['dac-16khz']['path'] == str(wanted)
  assert main.main(['weights', 'fetch', 'clip', *arguments]) == 2
  error = capsys.readouterr().err
  assert "no weights are named 'clip'; there are clip-vit-l14" in error


def test_licenses_are_those_of_the_system_and_of_the_ledger(capsys):
  assert main.main(['licenses']) == 0
  told = capsys.readouterr().out
  assert main.main(['licenses', 'songs']) == 0
  assert capsys.readouterr().out == told
  assert main.main(['licenses', 'tiny']) == 0
  assert 'system tiny:' in capsys.readouterr().out
  assert 'system songs:' in told and 'Apache-2.0, trained by' in told
  assert 'i3d-flow: code Apache-2.0' in told


def test_licenses_of_a_system_want_none_of_its_weights(tmp_path, capsys):
  licence = parts.Part(
    kind='dac', stream='acoustic', weights='dac-16khz'
  ).licence()
  config = {'name': 'mine', 'licences': {'weights': 'X', 'acoustic': licence}}
  config |= {'format': released.FORMAT, 'files': {'far.safetensors': '00'}}
  (tmp_path / 'config.json').write_text(json.dumps(config))
  assert main.main(['licenses', str(tmp_path)]) == 0
  told = capsys.readouterr().out
  assert 'system mine:' in told
  assert 'acoustic: weights: dac-16khz; ' in told
  assert 'code_licence: MIT; licence: MIT; commercial: True' in told


def test_licenses_of_what_is_no_system_say_so(tmp_path, capsys):
  for path in (tmp_path, tmp_path / 'nowhere'):
    assert main.main(['licenses', str(path)]) == 2
    said = capsys.readouterr().err
    assert f'{path} is not a system' in said and 'v2meow export' in said


def test_a_store_in_a_bucket_is_read_through_copies(
  server, here, bucket, monkeypatch
):
  _, address = server
  monkeypatch.setenv(store.VARIABLE, 'gs://bucket/weights')
  published = artefact(f'{address}/model.safetensors')
  with pytest.raises(store.WeightsError, match='not at gs://bucket/weights/'):
    store.Store().locate(published)
  store.Store().fetch(published)
  folder = 'bucket/weights/planted'
  assert sorted(bucket.objects) == [
    f'{folder}/SOURCE.json',
    f'{folder}/model.safetensors',
  ]
  file = store.Store().locate(published)
  assert file.name == 'model.safetensors' and file.is_file()
  np.testing.assert_array_equal(tensors.load(file)['kernel'], KERNEL)
  assert 'as fetched' in store.Store().verify(published)
  # What a person has is taken in as well.
  bucket.objects.clear()
  store.Store().take(published, file)
  assert f'{folder}/model.safetensors' in bucket.objects
  bucket.objects[f'{folder}/model.safetensors'] = b'other'
  with pytest.raises(store.WeightsError, match='when it was fetched it had'):
    store.Store().verify(published)


def test_weights_of_a_part_may_be_a_folder_in_a_bucket(bucket, monkeypatch):
  bucket.objects['bucket/published/model.safetensors'] = b'1'
  bucket.objects['bucket/published/config.json'] = b'2'
  for weights, names in (
    ('gs://bucket/published', ['config.json', 'model.safetensors']),
    ('gs://bucket/published/model.safetensors', []),
  ):
    part = parts.Part(kind='dac', stream='acoustic', weights=weights)
    file = part.file()
    assert sorted(p.name for p in file.glob('*')) == names
    assert file.exists() and (names or file.name == 'model.safetensors')
    atomic.sha256(file)
  missing = dataclasses.replace(part, weights='gs://bucket/no')
  with pytest.raises(store.WeightsError, match="'gs://bucket/no': neither"):
    missing.file()
