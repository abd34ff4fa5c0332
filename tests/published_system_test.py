"""The paper's streams through published networks: records, then a soundtrack.

All networks are small and random, and come from files of the published layout;
streams, rates and ids are those of the full size.
"""

import json

import numpy as np
import pytest
import soundfile

from benchmarks import full_size
from v2meow_jax import cli
from v2meow_jax import media
from v2meow_jax import media_io
from v2meow_jax import networks
from v2meow_jax import preparation
from v2meow_jax import stages
from v2meow_jax.synthetic import world

pytestmark = [pytest.mark.slow, pytest.mark.torch]

SECONDS = 10.0


@pytest.fixture(scope='module')
def manifest(tmp_path_factory):
  return world.write(
    str(tmp_path_factory.mktemp('world')), num=2, seed=5, seconds=SECONDS
  )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('published')
  full_size.write_system(path, tiny=True)
  return path


@pytest.fixture(scope='module')
def published(folder):
  config = json.loads((folder / 'system' / 'config.json').read_text())
  named = [networks.Network(**row['network']) for row in config['networks']]
  return preparation.Published(table=stages.PAPER, networks=named)


@pytest.fixture(scope='module')
def dataset(manifest, published, tmp_path_factory):
  out = tmp_path_factory.mktemp('data') / 'paper'
  preparation.prepare(str(manifest), str(out), published)
  return out


def _records(dataset):
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(str(dataset))
  return {
    row['id'].decode(): row
    for split in builder.info.splits
    for row in tfds.as_numpy(builder.as_dataset(split=split))
  }


def test_records_hold_what_the_networks_say_of_whole_clips(
  dataset, manifest, published
):
  rows = _records(dataset)
  assert len(rows) == 2
  built = published()
  for line in manifest.read_text().splitlines()[:1]:
    clip = json.loads(line)
    path = manifest.parent / clip['path']
    video = media_io.read_video(path)
    for name in ('clip', 'flow'):
      whole = built[name].extractor(video)
      stored = np.frombuffer(rows[clip['id']][name], np.float16)
      np.testing.assert_array_equal(
        stored.reshape(whole.shape), whole.astype(np.float16)
      )
    codes = np.frombuffer(rows[clip['id']]['acoustic'], np.uint16)
    assert codes.size == SECONDS * 50 * 12
    audio = media_io.read_audio(path, rate_hz=16_000)
    whole = built['acoustic'].extractor(
      media.Audio(
        samples=audio.samples[: int(SECONDS * 16_000)], rate_hz=16_000
      )
    )
    np.testing.assert_array_equal(codes.reshape(whole.shape), whole)


def test_the_system_plays_as_long_as_its_video(folder, manifest, tmp_path):
  clip = next((manifest.parent / 'clips').glob('*.mp4'))
  out = tmp_path / 'out.wav'
  system = str(folder / 'system')
  assert (
    cli.main(['generate', str(clip), '-o', str(out), '--system', system]) == 0
  )
  sound = soundfile.info(out)
  wanted = round(media_io.probe_video(clip).seconds * 16_000)
  assert (sound.samplerate, sound.frames) == (16_000, wanted)
  sidecar = json.loads((tmp_path / 'out.wav.json').read_text())
  assert set(sidecar['licences']) == {'weights', 'clip', 'flow', 'acoustic'}


def test_a_system_without_a_network_of_text_says_so(folder, tmp_path, capsys):
  clip = tmp_path / 'clip.mp4'
  full_size.generate.write_clip(clip, 2.0, seed=7)
  command = ['generate', str(clip), '-o', str(tmp_path / 'out.wav')]
  command += ['--system', str(folder / 'system'), '--prompt', 'calm piano']
  assert cli.main(command) == 2
  assert 'no network for a style given as text' in capsys.readouterr().err


def test_other_weights_than_those_of_the_system_are_refused(folder, capsys):
  file = folder / 'flow' / 'flow_imagenet.safetensors'
  before = file.read_bytes()
  file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
  clip = folder / 'clip.mp4'
  full_size.generate.write_clip(clip, 2.0, seed=7)
  command = ['generate', str(clip), '-o', str(folder / 'out.wav')]
  try:
    assert cli.main([*command, '--system', str(folder / 'system')]) == 2
  finally:
    file.write_bytes(before)
  assert 'flow_imagenet.safetensors is damaged' in capsys.readouterr().err
  assert not (folder / 'out.wav').exists()


def test_a_recipe_prepares_from_the_command_line(
  folder, manifest, tmp_path, capsys, root, monkeypatch
):
  monkeypatch.chdir(root)
  recipe = tmp_path / 'small.gin'
  recipe.write_text(
    'from __gin__ import dynamic_registration\n'
    'from v2meow_jax import networks\n'
    'from v2meow_jax import preparation\n'
    "include 'prepare/paper.gin'\n"
    'preparation.Published.networks = [@acoustic/networks.Network()]\n'
    "acoustic/networks.Network.settings = {'config': "
    f'{full_size.TINY_DAC}}}\n'
  )
  weights = f"--gin.CODEC_WEIGHTS='{folder / 'dac'}'"
  common = [str(manifest), str(tmp_path / 'out'), f'--gin_file={recipe}']
  common += [weights]
  assert cli.main(['data', 'prepare', *common, '--estimate', '--hours=5']) == 0
  said = capsys.readouterr().out
  assert '5 hours of video' in said
  assert 'extract acoustic' in said
  assert not (tmp_path / 'out').exists()
  assert cli.main(['data', 'prepare', *common]) == 0
  assert len(_records(tmp_path / 'out')) == 2
