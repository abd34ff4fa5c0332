"""A part that is named is built; what is wrong with a name is said."""

import json

import pytest

from v2meow_jax import parts
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.inference import loading
from v2meow_jax.jobs.prepare import preparation
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import store

TABLE = {**stages.PAPER, 'acoustic': stages.acoustic(stages.PAPER)}


def _part(**changes):
  arguments = {'kind': 'clip', 'stream': 'clip', 'weights': 'clip-vit-l14'}
  return parts.Part(**{**arguments, **changes})


def test_json_brings_a_part_back():
  part = _part(settings={'batch_size': 4})
  row = {
    'kind': 'clip',
    'stream': 'clip',
    'weights': 'clip-vit-l14',
    'settings': {'batch_size': 4},
  }
  assert parts.Part(**json.loads(json.dumps(row))) == part


def test_an_unknown_kind_says_which_there_are():
  with pytest.raises(ValueError, match="'klip'; there are.*'clip'.*'dac'"):
    _part(kind='klip')


def test_weights_that_are_nowhere_say_how_to_get_them(tmp_path, monkeypatch):
  monkeypatch.setenv(store.VARIABLE, str(tmp_path))
  monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path))
  with pytest.raises(store.WeightsError, match='weights fetch clip-vit-l14'):
    _part().build(TABLE['clip'])


def test_weights_that_are_neither_path_nor_name_say_so():
  with pytest.raises(store.WeightsError, match="'clip-vit'.*neither a path"):
    _part(weights='clip-vit').file()


def test_a_setting_that_does_not_exist_is_named(tmp_path):
  part = _part(weights=str(tmp_path), settings={'batchsize': 4})
  with pytest.raises(ValueError, match="'clip'.*batchsize"):
    part.build(TABLE['clip'])


@pytest.mark.parametrize(
  ('settings', 'most', 'size'),
  [
    ({'batch_size': 64}, 2, 2),
    ({'batch_size': 64}, 100, 64),
    ({}, 2, 2),
    ({}, 1000, 32),
  ],
)
def test_batches_are_no_larger_than_what_comes_at_once(settings, most, size):
  part = _part(settings=settings).with_frames_at_once(most)
  assert part.settings == {'batch_size': size}


@pytest.mark.parametrize(
  'kind', ['clip', 'i3d_flow', 'vit_vqgan', 'maskgit_vqgan']
)
def test_every_network_of_video_has_batches(kind):
  part = _part(kind=kind, stream='x').with_frames_at_once(2)
  assert part.settings['batch_size'] == 2


def test_a_stream_that_is_not_in_the_table_is_named():
  with pytest.raises(ValueError, match="'klip'; there are.*'flow'"):
    parts.stream_of(_part(stream='klip'), TABLE)


def test_a_codec_of_another_rate_is_refused():
  class Codec:
    stream = specs.TokenSpec(name='acoustic', codebook_size=8, rate_hz=25.0)

  with pytest.raises(ValueError, match='codebook_size=8.*records hold'):
    parts.check_codec(Codec, TABLE['acoustic'])


def test_all_levels_are_coarse_and_fine():
  assert TABLE['acoustic'].num_codebooks == 12
  assert TABLE['acoustic'].rate_hz == 50


@pytest.mark.parametrize(
  ('weights', 'licence'), [('dac-16khz', 'MIT'), ('my/own', 'not known')]
)
def test_the_licence_is_that_of_the_ledger(weights, licence):
  assert _part(weights=weights).licence()['licence'] == licence


def test_all_weights_that_are_missing_are_told_at_once(tmp_path, monkeypatch):
  monkeypatch.setenv(store.VARIABLE, str(tmp_path))
  monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path))
  codec = _part(kind='dac', stream='acoustic', weights='dac-16khz')
  named = preparation.Preparation(table=stages.PAPER, parts=[_part(), codec])
  with pytest.raises(
    store.WeightsError, match='clip-vit-l14.* And .*dac-16khz'
  ):
    named.check()


def test_a_system_refuses_other_companions_than_it_was_exported_with(
  tmp_path, monkeypatch
):
  monkeypatch.setenv(store.VARIABLE, str(tmp_path))
  folder = tmp_path / 'clap-music'
  folder.mkdir()
  names = ledger.find('clap-music').companions
  for name in ('pytorch_model.safetensors', *names):
    (folder / name).write_bytes(name.encode())
  part = _part(kind='clap', stream='style', weights='clap-music')
  assert [path.name for path in part.companions()] == [*names]
  row = {
    'sha256': atomic.sha256(part.file()),
    'companions': {
      path.name: atomic.sha256(path) for path in part.companions()
    },
  }
  (folder / 'vocab.json').write_bytes(b'other words')
  with pytest.raises(released.DamagedSystem, match='vocab.json is damaged'):
    loading.check_weights(part, row)


def test_a_part_without_weights_is_built_of_its_stream_alone():
  part = _part(kind='plan', stream='plan', weights='')
  assert part.is_own and part.read() == ({}, {})
  assert part.build(stages.TINY['plan']).stream == stages.TINY['plan']
  prepared = preparation.Preparation(table=stages.TINY, parts=[part])
  prepared.check()
  assert [*prepared()] == ['plan']
  part = _part(kind='patches', stream='patches', weights='')
  assert part.build(stages.TINY['patches']).reads == 'video'
