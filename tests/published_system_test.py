"""The paper's streams through published networks: records, then a soundtrack.

All networks are small and random, and come from files of the published layout;
streams, rates and ids are those of the full size.
"""

import dataclasses
import json

import numpy as np
import pytest
from safetensors import numpy as st
import soundfile

from tests.fakes import random_system
from tests.fakes import scene_clips
from tests.fakes import tiny_networks
from tests.fakes import torch_musicfm
from v2meow_jax import media
from v2meow_jax import parts
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.cli import main
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.inference import system as system_lib
from v2meow_jax.jobs.prepare import preparation
from v2meow_jax.pretrained.audio import musicfm_weights
from v2meow_jax.synthetic import world

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.data]

SECONDS = 4.0
# DAC's geometry at 24 kHz: 75 Hz, 32 levels.
TINY_DAC_24KHZ = random_system.TINY_DAC | {
  'source': 'descript/dac_24khz',
  'sample_rate_hz': 24_000,
  'num_levels': 32,
}


@pytest.fixture(scope='module')
def manifest(tmp_path_factory):
  return world.write(
    str(tmp_path_factory.mktemp('world')), num=2, seed=5, seconds=SECONDS
  )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('published')
  random_system.write_system(path, tiny=True)
  return path


@pytest.fixture(scope='module')
def published(folder):
  config = json.loads((folder / 'system' / 'config.json').read_text())
  keys = ('kind', 'stream', 'weights', 'settings')
  named = [
    parts.Part(**{k: row[k] for k in keys}) for row in config['networks']
  ]
  return preparation.Preparation(
    table=stages.PAPER, parts=named, min_seconds=SECONDS
  )


@pytest.fixture(scope='module')
def dataset(manifest, published, tmp_path_factory):
  out = tmp_path_factory.mktemp('data') / 'paper'
  preparation.prepare(str(manifest), str(out), published)
  return out


def _records(dataset):
  """{id: streams of the whole clip, as bytes}."""
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(str(dataset))
  pieces = [
    row
    for split in builder.info.splits
    for row in tfds.as_numpy(builder.as_dataset(split=split))
  ]
  clips = {}
  for row in sorted(pieces, key=lambda row: row['piece']):
    streams = clips.setdefault(row['id'].decode(), {})
    for name in set(row) - {'id', 'seconds', 'piece'}:
      streams[name] = streams.get(name, b'') + row[name]
  return clips


def test_records_hold_what_the_networks_say_of_whole_clips(
  dataset, manifest, published
):
  rows = _records(dataset)
  assert len(rows) == 2
  built = published()
  for line in manifest.read_text().splitlines()[:1]:
    clip = json.loads(line)
    path = manifest.parent / clip['path']
    video = read.read_video(path)
    for name in ('clip', 'flow'):
      whole = built[name](video)
      stored = np.frombuffer(rows[clip['id']][name], np.float16)
      np.testing.assert_array_equal(
        stored.reshape(whole.shape), whole.astype(np.float16)
      )
    codes = np.frombuffer(rows[clip['id']]['acoustic'], np.uint16)
    assert codes.size == SECONDS * 50 * 12
    audio = read.read_audio(path, rate_hz=16_000)
    whole = built['acoustic'](
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
    main.main(['generate', str(clip), '-o', str(out), '--system', system]) == 0
  )
  sound = soundfile.info(out)
  wanted = round(probe.probe_video(clip).seconds * 16_000)
  assert (sound.samplerate, sound.frames) == (16_000, wanted)
  sidecar = json.loads((tmp_path / 'out.wav.json').read_text())
  assert set(sidecar['licences']) == {'weights', 'clip', 'flow', 'acoustic'}
  assert {'code_licence', 'licence'} <= set(sidecar['licences']['clip'])


def test_a_batch_is_no_larger_than_the_frames_of_a_piece(folder):
  extractors = system_lib.load(folder / 'system').extractors
  # Two seconds at a frame a second.
  assert {extractors[n].batch_size for n in ('clip', 'flow')} == {2}


def test_a_frame_does_not_depend_on_how_long_its_video_is(folder):
  system = system_lib.load(folder / 'system')
  rng = np.random.default_rng(0)
  frames = rng.integers(0, 256, (125, 48, 64, 3), np.uint8)
  times = np.arange(125) / 25

  def streams(seconds):
    shown = times < seconds
    video = media.Video(
      frames=frames[shown], times=times[shown], seconds=seconds
    )
    return system.run(video).streams

  # The last piece of three seconds is of one frame, in five it is of two.
  short, long = streams(3.0), streams(5.0)
  for name in ('clip', 'flow'):
    # Flow looks half a second ahead, where the shorter video has ended.
    kept = 3 if name == 'clip' else 2
    np.testing.assert_array_equal(short[name][:kept], long[name][:kept])


def test_a_system_without_a_network_of_text_says_so(folder, tmp_path, capsys):
  clip = tmp_path / 'clip.mp4'
  scene_clips.write(clip, 2.0, seed=7)
  command = ['generate', str(clip), '-o', str(tmp_path / 'out.wav')]
  command += ['--system', str(folder / 'system'), '--prompt', 'calm piano']
  assert main.main(command) == 2
  assert 'no network for a style given as text' in capsys.readouterr().err


def test_other_weights_than_those_of_the_system_are_refused(folder, capsys):
  file = folder / 'flow' / 'flow_imagenet.safetensors'
  before = file.read_bytes()
  file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
  clip = folder / 'clip.mp4'
  scene_clips.write(clip, 2.0, seed=7)
  command = ['generate', str(clip), '-o', str(folder / 'out.wav')]
  try:
    assert main.main([*command, '--system', str(folder / 'system')]) == 2
  finally:
    file.write_bytes(before)
  assert 'flow_imagenet.safetensors is damaged' in capsys.readouterr().err
  assert not (folder / 'out.wav').exists()


def test_clusters_that_data_fit_makes_are_the_tokens_of_the_records(
  tmp_path, capsys, root, monkeypatch
):
  monkeypatch.chdir(root)
  # A thousand clusters want as many frames.
  manifest = world.write(str(tmp_path / 'world'), num=8, seed=6, seconds=10.0)
  sizes = dataclasses.asdict(tiny_networks.MUSICFM)
  weights = torch_musicfm.write(
    tmp_path / 'musicfm', torch_musicfm.musicfm_state(tiny_networks.MUSICFM)
  )
  clusters = tmp_path / 'clusters.safetensors'
  recipe = tmp_path / 'small.gin'
  recipe.write_text(
    'from __gin__ import dynamic_registration\n'
    'from v2meow_jax import parts\n'
    'from v2meow_jax.jobs.prepare import preparation\n'
    'from v2meow_jax import stages\n'
    "include 'prepare/paper.gin'\n"
    'preparation.Preparation.parts = [@semantic/parts.Part()]\n'
    f"semantic/parts.Part.weights = '{weights}'\n"
    'semantic/parts.Part.settings = {'
    f"'layer': 2, 'config': {sizes}, 'clusters': %SEMANTIC_CLUSTERS}}\n"
  )
  common = [f'--gin_file={recipe}', f"--gin.SEMANTIC_CLUSTERS='{clusters}'"]
  out = str(tmp_path / 'out')
  prepare = ['data', 'prepare', str(manifest), out, *common]
  assert main.main(prepare) == 2
  assert 'v2meow data fit MANIFEST' in capsys.readouterr().err
  fit = ['data', 'fit', str(manifest), '-o', str(clusters), *common]
  assert main.main(fit) == 0
  assert 'inertia per row' in capsys.readouterr().out
  assert main.main(prepare) == 0
  found = st.load_file(clusters)
  encoder = musicfm_weights.load(weights, layer=2, config=tiny_networks.MUSICFM)
  for name, record in _records(out).items():
    codes = np.frombuffer(record['semantic'], np.uint16)
    audio = read.read_audio(
      manifest.parent / 'clips' / f'{name}.mp4', rate_hz=24_000
    )
    # Records hold whole frames; what is short by rounding is silent.
    samples = np.zeros(len(codes) * 960, np.float32)
    heard = audio.samples[: len(samples)]
    samples[: len(heard)] = heard
    frames = encoder(dataclasses.replace(audio, samples=samples))
    frames = (frames - found['mean']) / found['std']
    distance = ((frames[:, None] - found['centroids']) ** 2).sum(-1)
    assert (codes == distance.argmin(1)).mean() > 0.99  # Ties may round.


def test_a_codec_of_another_geometry_is_recorded_and_read(
  manifest, tmp_path, capsys, root, monkeypatch
):
  from v2meow_jax.data import batches

  monkeypatch.chdir(root)
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path))
  random_system.dac_model(TINY_DAC_24KHZ).save_pretrained(tmp_path / 'dac')
  recipe = tmp_path / 'small.gin'
  recipe.write_text(
    'from __gin__ import dynamic_registration\n'
    'from v2meow_jax import parts\n'
    'from v2meow_jax.jobs.prepare import preparation\n'
    "include 'prepare/paper.gin'\n"
    "include 'networks/dac_24khz.gin'\n"
    'preparation.Preparation.parts = [@acoustic/parts.Part()]\n'
    f'preparation.Preparation.min_seconds = {SECONDS}\n'
    f"acoustic/parts.Part.settings = {{'config': {TINY_DAC_24KHZ}}}\n"
  )
  weights = f"--gin.CODEC_WEIGHTS='{tmp_path / 'dac'}'"
  out = tmp_path / 'other'
  common = ['data', 'prepare', str(manifest), str(out), f'--gin_file={recipe}']
  assert main.main([*common, weights, '--estimate', '--hours=5']) == 0
  said = capsys.readouterr().out
  assert '5 hours of video' in said
  assert 'extract acoustic' in said
  assert not out.exists()
  assert main.main([*common, weights]) == 0
  assert len(_records(out)) == 2
  table = stages.paper_streams(acoustic_rate_hz=75.0, num_fine_levels=28)
  fine = stages.fine(streams=table, crop_seconds=1.0)
  batch = next(batches.TaskBatches(fine, dataset='other', batch_size=2)())
  assert batch['encoder_inputs_coarse'].shape == (2, 300)
  assert batch['decoder_target_tokens'].shape == (2, 2100)
  assert fine.target == specs.TokenSpec(
    name='fine',
    codebook_size=1024,
    num_codebooks=28,
    first_codebook=4,
    rate_hz=75.0,
    stored_as='acoustic',
  )
