"""Weights are fetched whole, kept where readers look, and known again."""

import dataclasses
import functools
import http.server
import json
import threading

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from v2meow_jax import cli
from v2meow_jax.weights import ledger
from v2meow_jax.weights import store
from v2meow_jax.weights import tensors

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
      'reader': 'v2meow_jax.weights.tensors.load',
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


def test_what_was_fetched_is_found_and_verified(server, here):
  folder, address = server
  published = folder / 'model.safetensors'
  wanted = artefact(
    f'{address}/model.safetensors', sha256=store.sha256(published)
  )
  file = here.fetch(wanted)
  assert file == here.path / 'planted' / 'model.safetensors'
  assert file.read_bytes() == published.read_bytes()
  assert here.locate(wanted) == here.fetch(wanted) == file
  assert here.verify(wanted) == 'as it was fetched'
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
  with pytest.raises(store.WeightsError) as caught:
    here.locate(missing)
  said = str(caught.value)
  assert 'v2meow weights fetch planted' in said
  assert f'download {missing.url}' in said
  assert str(here.path / 'planted') in said


def test_the_digest_of_git_is_known(tmp_path, here):
  # git hash-object of a file that holds 'v2meow'.
  wanted = artefact(
    'https://example.org/a.npz',
    git_blob='1a950cfa8f2d011f33b17151285116c5b196e4a3',
  )
  good, bad = tmp_path / 'good', tmp_path / 'bad'
  good.write_bytes(b'v2meow')
  bad.write_bytes(b'meow')
  assert here.take(wanted, good).read_bytes() == b'v2meow'
  with pytest.raises(store.WeightsError, match="git's SHA-1"):
    here.take(wanted, bad)


def test_the_cache_of_the_hub_is_read(tmp_path, here):
  clip = ledger.find('clip-vit-l14')
  assert here.find(clip) is None
  model = tmp_path / 'hub/hub/models--openai--clip-vit-large-patch14'
  snapshot = model / 'snapshots/abc'
  snapshot.mkdir(parents=True)
  (model / 'refs').mkdir()
  (model / 'refs/main').write_text('abc')
  (snapshot / 'model.safetensors').write_bytes(b'weights')
  assert here.locate(clip) == snapshot / 'model.safetensors'
  assert here.verify(clip) == 'here; no digest of it is known'


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
  assert here.verify(wanted) == 'as it was fetched'
  noted = json.loads((file.parent / 'SOURCE.json').read_text())
  assert noted['original_sha256'] == store.sha256(good)

  bad = tmp_path / 'bad.ckpt'
  torch.save({'kernel': state['kernel'], 'x': _Runs(tmp_path / 'made')}, bad)
  other = dataclasses.replace(wanted, name='other')
  with pytest.raises(ValueError, match='cannot be converted'):
    here.take(other, bad)
  assert not (tmp_path / 'made').exists()
  assert not list(here.folder(other).iterdir())


def test_the_command_lists_imports_and_verifies(tmp_path, here, capsys):
  arguments = ['--weights_dir', str(here.path)]
  assert cli.main(['weights', 'list', *arguments]) == 0
  listed = capsys.readouterr().out
  for a in ledger.ARTEFACTS:
    assert a.name in listed and a.weights_licence in listed
  assert listed.count('not here') == len(ledger.ARTEFACTS)
  file = tmp_path / 'model.safetensors'
  file.write_bytes(b'weights')
  name = 'clip-vit-l14'
  assert cli.main(['weights', 'import', name, str(file), *arguments]) == 0
  kept = capsys.readouterr().out.strip()
  assert kept == str(here.path / name / file.name)
  assert cli.main(['weights', 'verify', *arguments]) == 0
  assert capsys.readouterr().out == f'{name}: as it was fetched\n'
  here.locate(ledger.find(name)).write_bytes(b'others')
  assert cli.main(['weights', 'verify', name, *arguments]) == 2
  assert cli.main(['weights', 'list', '--json', *arguments]) == 0
  capsys.readouterr()
  assert cli.main(['weights', 'fetch', 'clip', *arguments]) == 2
  error = capsys.readouterr().err
  assert "no weights are named 'clip'; there are clip-vit-l14" in error


def test_licenses_are_those_of_the_system_and_of_the_ledger(capsys):
  assert cli.main(['licenses']) == 0
  told = capsys.readouterr().out
  assert 'system tiny:' in told and 'Apache-2.0, trained by' in told
  assert 'i3d-flow: code Apache-2.0' in told
