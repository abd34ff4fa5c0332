"""`gin/prepare/paper.gin` whole: five streams of small networks, to batches.

The networks are random and lie in files of the published layout; streams, rates
and widths are those of the full size.
"""

import json

import numpy as np
import pytest

from tests.fakes import clap_files
from tests.fakes import random_system
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax import tokens
from v2meow_jax.cli import main
from v2meow_jax.pretrained.vision import i3d
from v2meow_jax.synthetic import world

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.data]

SECONDS = 10
TABLE = stages.PAPER
# DAC's geometry at 24 kHz: 75 Hz, 32 levels.
TINY_DAC_24KHZ = random_system.TINY_DAC | {
  'source': 'descript/dac_24khz',
  'sample_rate_hz': 24_000,
  'num_levels': 32,
}


@pytest.fixture(scope='module')
def manifest(tmp_path_factory):
  return world.write(
    str(tmp_path_factory.mktemp('world')), num=3, seed=5, seconds=SECONDS
  )


def _write_clap(folder):
  """A tiny model of the published width, and its processor."""
  import transformers

  sizes = {'projection_dim': 512, 'hidden_size': 16}
  layers = {'num_hidden_layers': 1, 'num_attention_heads': 2}
  text = {'vocab_size': 300, 'intermediate_size': 24, **sizes, **layers}
  audio = {'window_size': 4, 'patch_embeds_hidden_size': 8, **sizes}
  audio |= {'hidden_size': 64, 'depths': [1, 1, 1, 1]}
  audio |= {'num_attention_heads': [1, 1, 2, 2]}
  config = transformers.ClapConfig(
    text_config=text, audio_config=audio, projection_dim=512
  )
  transformers.ClapModel(config).save_pretrained(folder)
  heard = transformers.ClapFeatureExtractor(truncation='rand_trunc')
  heard.save_pretrained(folder)
  clap_files.write_tokenizer(folder)


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
  """`paper.gin` with other sizes and weights, and nothing else changed."""
  folder = tmp_path_factory.mktemp('networks')
  random_system.write_networks(folder, tiny=True)
  _write_clap(folder / 'clap')
  settings = {
    'clip': {'config': random_system.TINY_CLIP, 'batch_size': 64},
    'flow': {
      'config': random_system.TINY_I3D,
      'estimator': 'dis',
      'num_flows': i3d.MIN_FRAMES,
      'batch_size': 8,
    },
    'semantic': random_system.write_musicfm(folder / 'musicfm'),
    'style': {},
    'acoustic': {'config': random_system.TINY_DAC},
  }
  weights = {
    'clip': folder / 'clip',
    'flow': folder / 'flow' / 'flow_imagenet.safetensors',
    'semantic': folder / 'musicfm' / 'pretrained_fma.safetensors',
    'style': folder / 'clap',
    'acoustic': folder / 'dac',
  }
  lines = [
    'from __gin__ import dynamic_registration',
    'from v2meow_jax import parts',
    "include 'prepare/paper.gin'",
  ]
  for name in settings:
    lines.append(f"{name}/parts.Part.weights = '{weights[name]}'")
    lines.append(f'{name}/parts.Part.settings = {settings[name]}')
  path = folder / 'small.gin'
  path.write_text('\n'.join(lines) + '\n')
  return path


def _batch(stage, dataset, **options):
  from v2meow_jax.data import batches

  read = batches.TaskBatches(stage, dataset=dataset, batch_size=2, **options)
  return next(read())


def test_all_five_streams_become_batches_of_every_stage(
  recipe, manifest, tmp_path, root, monkeypatch
):
  monkeypatch.chdir(root)
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path))
  out = tmp_path / 'paper'
  prepare = ['data', 'prepare', str(manifest), str(out)]
  assert main.main([*prepare, f'--gin_file={recipe}']) == 0
  assert (out / 'rejected.jsonl').read_text() == ''
  metadata = json.loads((out / 'metadata.json').read_text())
  recorded = {row['name'] for row in metadata['streams']}
  assert recorded == {'clip', 'flow', 'semantic', 'style', 'acoustic'}
  moments = json.loads((out / 'moments.json').read_text())
  assert set(moments) == {'clip', 'flow'}
  first = stages.semantic(streams=TABLE)
  batch = _batch(first, 'paper')
  shapes = {name: x.shape for name, x in batch.items()}
  assert shapes['encoder_inputs_clip'] == (2, 10, 768)
  assert shapes['encoder_inputs_flow'] == (2, 10, 1024)
  assert shapes['encoder_inputs_style'] == (2, 1, 512)
  assert shapes['decoder_target_tokens'] == (2, 250)
  for name in ('clip', 'flow', 'style'):
    values = batch[f'encoder_inputs_{name}']
    assert np.isfinite(values).all() and values.std() > 0
  prefix = {'layout': 'prefix'}
  for stage, length in (
    (stages.coarse(streams=TABLE), 250 + 2000),
    (stages.fine(streams=TABLE), 600 + 1200),
  ):
    ids = _batch(stage, 'paper', **prefix)['decoder_target_tokens']
    assert ids.shape == (2, length)
    written = ids[:, -stage.target.length(stage.crop_seconds) :]
    low = tokens.IdSpace(stage).offset(stage.target)
    assert written.min() >= low
    assert written.max() < low + stage.target.num_ids


def test_a_codec_of_another_geometry_is_recorded_and_read(
  recipe, manifest, tmp_path, root, monkeypatch
):
  monkeypatch.chdir(root)
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path))
  random_system.dac_model(TINY_DAC_24KHZ).save_pretrained(
    tmp_path / 'dac_24khz'
  )
  other = tmp_path / 'other.gin'
  other.write_text(
    'from __gin__ import dynamic_registration\n'
    'from v2meow_jax import parts\n'
    'from v2meow_jax.jobs.prepare import preparation\n'
    "include 'networks/dac_24khz.gin'\n"
    f"acoustic/parts.Part.weights = '{tmp_path / 'dac_24khz'}'\n"
    'acoustic/parts.Part.settings = {'
    f"'config': {TINY_DAC_24KHZ}}}\n"
    'preparation.Preparation.parts = [@acoustic/parts.Part()]\n'
  )
  prepare = ['data', 'prepare', str(manifest), str(tmp_path / 'other')]
  prepare += [f'--gin_file={recipe}', f'--gin_file={other}']
  assert main.main(prepare) == 0
  table = stages.paper_streams(acoustic_rate_hz=75.0, num_fine_levels=28)
  fine = stages.fine(streams=table, crop_seconds=1.0)
  batch = _batch(fine, 'other')
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
