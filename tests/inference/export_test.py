"""Runs become a system that plays; what is not a run is refused."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from tests.fakes import token_stage
from v2meow_jax import media
from v2meow_jax import parts
from v2meow_jax import stages
from v2meow_jax import tokens
from v2meow_jax.codecs import rvq
from v2meow_jax.codecs import trainable
from v2meow_jax.codecs.embedded import patch
from v2meow_jax.codecs.soundstream import soundstream
from v2meow_jax.extractors.embedded import fitted
from v2meow_jax.extractors.embedded import joint_embedding
from v2meow_jax.files import released as released_lib
from v2meow_jax.files import tensors
from v2meow_jax.inference import export
from v2meow_jax.inference import loading
from v2meow_jax.inference import restore
from v2meow_jax.inference import system
from v2meow_jax.models import transformer
from v2meow_jax.models.sampling import options
from v2meow_jax.synthetic import compose
from v2meow_jax.synthetic import render
from v2meow_jax.synthetic import scene as scene_lib
from v2meow_jax.training import loop
from v2meow_jax.training import schedules
from v2meow_jax.training.checkpoints import checkpoints

pytestmark = pytest.mark.slow


def sizes(**kwargs):
  return transformer.TransformerConfig(
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=16,
    num_decoder_layers=1,
    **kwargs,
  )


def models():
  tiny = stages.TINY
  yield token_stage.make(
    stages.semantic(('appearance', 'motion', 'style', 'plan'), 2.0, tiny),
    sizes(num_encoder_layers=1),
  )
  yield token_stage.make(
    stages.coarse(crop_seconds=4.0, streams=tiny), sizes(num_encoder_layers=0)
  )
  yield token_stage.make(
    stages.fine(crop_seconds=1.0, streams=tiny), sizes(num_encoder_layers=0)
  )


def restored(model_dir):
  description, params, _ = restore.read_stage(model_dir)
  return restore.ModelStage(restore.build_model(description), params)


def run(model_dir, model, batch):
  """One step: what a run leaves behind, not what it learns."""
  loop.train(
    model_dir=model_dir,
    model=model,
    train_batches=lambda step: itertools.repeat(batch),
    schedule=schedules.warmup_rsqrt(1e-3, 1),
    train_steps=1,
    tensorboard=False,
  )
  return str(model_dir)


def random_batch(model):
  """A batch whose targets are ids of the stage."""
  batch = model.example_batch(2)
  first = tokens.IdSpace(model.spec).offset(model.spec.target)
  for name, value in batch.items():
    if value.dtype == np.int32:
      value[:] = first
    elif name == 'decoder_loss_weights':
      value[:] = 1.0
  return batch


def video_of(scene):
  frames = np.stack(list(render.frames(scene)))
  return media.Video(
    frames=frames,
    times=np.arange(len(frames)) / float(scene.rate_hz),
    seconds=scene.seconds,
  )


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """A trained run of every part, with next to no weights."""
  root = tmp_path_factory.mktemp('runs')
  made = {'stages': []}
  for model in models():
    path = root / model.spec.name
    made['stages'].append(run(path, model, random_batch(model)))
  codec = trainable.CodecModel(
    config=soundstream.CodecConfig(
      ends=patch.PatchConfig(frame_dim=16, subframe_dim=16),
      quantizer=rvq.RvqConfig(num_levels=4, codebook_size=256, code_dim=8),
    )
  )
  noise = np.random.default_rng(0).normal(0, 0.1, (1, 6400))
  made['codec'] = run(
    root / 'codec', codec, {'waveform': noise.astype(np.float32)}
  )
  scenes = [scene_lib.sample(0, i, 4.0) for i in range(2)]
  params = fitted.fit(
    map(video_of, scenes), map(compose.music, scenes), stages.TINY, seed=0
  )
  rows = [
    fitted.clip_features(params, compose.music(s), 'rock') for s in scenes
  ]
  batch = {k: np.stack([r[k] for r in rows]) for k in rows[0]}
  made['style'] = run(
    root / 'style', joint_embedding.JointEmbeddingModel(), batch
  )
  examples = {f'example/{k}': v for k, v in batch.items()}
  features = root / 'features.safetensors'
  tensors.write(features, tensors.unflatten({**params, **examples}), None)
  made['features'] = str(features)
  return made


def pack(out, runs, **options):
  """An export of the parts that are trained here."""
  own = {name: runs[name] for name in ('features', 'style', 'codec')}
  return export.export(
    str(out),
    stages=runs['stages'],
    parts=parts.trained_here(**own),
    **options,
  )


def test_a_system_of_fresh_runs_plays(runs, tmp_path):
  out = pack(tmp_path / 'system', runs, name='fresh')
  loaded = system.load(out)
  video = video_of(scene_lib.sample(9, 0, 3.3))
  audio = loaded.generate(video, prompt='anything')
  assert len(audio.samples) == round(3.3 * 16_000)
  result = loaded.run(video, seed=1)
  assert result.settings['system'] == 'fresh'
  assert result.codes.shape == (83, 4)


def test_an_exported_stage_samples_as_its_run_does(runs, tmp_path):
  import jax

  out = pack(tmp_path / 'system', runs, weights='float32')
  trained = restored(runs['stages'][2])
  exported = system.load(out).stages[2]
  inputs = {'coarse': np.zeros((1, 25, 2), np.int32)}
  keys = jax.random.split(jax.random.key(0), 1)
  np.testing.assert_array_equal(
    trained.sample(inputs, keys, options.Sampling()),
    exported.sample(inputs, keys, options.Sampling()),
  )


def test_a_run_of_stacked_layers_exports_layers_apart(runs, tmp_path):
  import jax

  stage = stages.coarse(crop_seconds=2.0, streams=stages.TINY)
  config = sizes(
    num_encoder_layers=0,
    scan_layers=True,
    remat=True,
    fused_attention=True,
    dtype='bfloat16',
  )
  model = token_stage.make(stage, config)
  trained = run(tmp_path / 'run', model, random_batch(model))
  changed = [runs['stages'][0], trained, runs['stages'][2]]
  out = pack(tmp_path / 'system', runs | {'stages': changed}, weights='float32')
  released = tensors.read(out / 'coarse.safetensors')
  stacked = checkpoints.restore_variables(trained)[0]['params']
  np.testing.assert_array_equal(
    released['decoder_0']['mlp']['wo'], stacked['decoder']['mlp']['wo'][0]
  )
  exported = system.load(out).stages[1]
  # The encoder of a long picture needs blocks when it samples, too.
  plain = dataclasses.replace(config, scan_layers=False, dtype='float32')
  assert exported.model.network == dataclasses.replace(plain, remat=False)
  inputs = {'semantic': np.zeros((1, 50, 1), np.int32)}
  keys = jax.random.split(jax.random.key(0), 1)
  np.testing.assert_array_equal(
    restored(trained).sample(inputs, keys, options.Sampling()),
    exported.sample(inputs, keys, options.Sampling()),
  )


def test_an_export_replaces_a_system_but_nothing_else(runs, tmp_path):
  out = tmp_path / 'system'
  pack(out, runs)
  (out / 'MODEL_CARD.md').write_text('kept')
  pack(out, runs, name='second')
  assert system.load(out).config['name'] == 'second'
  assert (out / 'MODEL_CARD.md').read_text() == 'kept'
  other = tmp_path / 'other'
  other.mkdir()
  (other / 'thesis.txt').write_text('precious')
  with pytest.raises(ValueError, match='not a system'):
    pack(other, runs)
  assert [p.name for p in other.iterdir()] == ['thesis.txt']


def test_a_codec_is_not_taken_for_a_stage(runs, tmp_path):
  wrong = {**runs, 'stages': [runs['codec']]}
  with pytest.raises(ValueError, match='CodecModel'):
    pack(tmp_path / 'system', wrong)
  wrong = {**runs, 'codec': runs['stages'][0]}
  with pytest.raises(ValueError, match='StageModel'):
    pack(tmp_path / 'system', wrong)
  assert not any(tmp_path.iterdir())


def test_a_folder_that_is_no_run_is_named(runs, tmp_path):
  wrong = {**runs, 'codec': str(tmp_path)}
  with pytest.raises(ValueError, match='MODEL_DIR'):
    pack(tmp_path / 'system', wrong)


def test_the_licence_is_that_of_who_exports(runs, tmp_path):
  def stated(out):
    return released_lib.read_config(out)['licences']

  out = pack(tmp_path / 'system', runs)
  assert stated(out) == {'weights': 'not stated'}
  again = export.export_again(str(tmp_path / 'again'), out, licence='CC0')
  assert stated(again) == {'weights': 'CC0'}
  third = export.export_again(str(tmp_path / 'third'), again)
  assert stated(third) == {'weights': 'CC0'}


def test_the_config_is_data_that_tells_all(runs, tmp_path):
  out = pack(tmp_path / 'system', runs)
  config = json.loads((out / released_lib.CONFIG_NAME).read_text())
  assert [s['name'] for s in config['stages']] == ['semantic', 'coarse', 'fine']
  assert config['visual'] == ['appearance', 'motion', 'plan']
  assert len(config['files']) == 5


@pytest.mark.parametrize('temperatures', [[0.5], [0.5, 0.0, 2.0]])
def test_temperatures_are_of_the_stages_unless_others_are_given(
  temperatures, runs, tmp_path
):
  def exported(**options):
    loaded = system.load(pack(tmp_path / 'system', runs, **options))
    return [sampling.temperature for sampling in loaded.samplings]

  assert exported() == [1.0, 1.0, 1.0]
  given = exported(temperatures=temperatures)
  assert given == (temperatures * 3 if len(temperatures) == 1 else temperatures)


def test_other_numbers_of_temperatures_are_refused(runs, tmp_path):
  with pytest.raises(ValueError, match='2 temperatures for 3 stages'):
    pack(tmp_path / 'system', runs, temperatures=[1.0, 0.5])


def test_a_config_of_before_keeps_its_temperatures_and_windows():
  config = dict(system.load('tiny').config)
  config['stages'] = [
    {**row, 'temperature': 0.7, 'windows': {'prefix_seconds': 0.4, 'rows': 3}}
    for row in config['stages']
  ]
  for row in loading.upgraded(config)['stages']:
    sampler = restore.build_model(row['model']).sampler
    assert sampler.sampling == options.Sampling(temperature=0.7)
    assert sampler.windows == options.Windows(prefix_seconds=0.4, rows=3)
    assert set(row) == {'name', 'model', 'trained_steps'}
