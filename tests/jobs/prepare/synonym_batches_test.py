"""A style network learns other words, and forgets neither music nor captions."""

import jax
import numpy as np
import optax
import pytest

from v2meow_jax import specs
from v2meow_jax.extractors.embedded import fitted
from v2meow_jax.extractors.embedded import joint_embedding
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.extractors.embedded import synonyms
from v2meow_jax.files import tensors
from v2meow_jax.jobs.prepare import synonym_batches
from v2meow_jax.synthetic.songs import song as song_lib
from v2meow_jax.synthetic.songs.words import song_captions
from v2meow_jax.synthetic.songs.words import song_prompts
from v2meow_jax.training import loop
from v2meow_jax.training import mesh
from v2meow_jax.training import schedules

pytestmark = [pytest.mark.slow, pytest.mark.data]

TOWERS = joint_embedding.StyleTowers(
  emb_dim=16, hidden_dim=32, dropout_rate=0.2
)
STYLES = list(song_lib.STYLES)


def of_captions(start_step=0, shard=(0, 1)):
  """Captions of drawn songs, and statistics that tell their style."""
  while True:
    songs = [song_lib.sample(9, 128 * start_step + i, 60.0) for i in range(128)]
    rng = np.random.default_rng(start_step)
    music = rng.normal(size=(len(songs), style_features.MUSIC_DIM))
    kinds = [STYLES.index(song.style) for song in songs]
    music[np.arange(len(songs)), kinds] += 6.0
    texts = [song_captions.caption(song) for song in songs]
    yield {
      'text_features': np.stack([*map(style_features.text_features, texts)]),
      'music_features': music.astype(np.float32),
    }
    start_step += 1


def train(folder, model, batches, steps, warm_start=None):
  def optimizer(schedule):
    return schedules.adamw(schedule, weight_decay=0.0)

  loop.train(
    model_dir=folder,
    model=model,
    train_batches=batches,
    eval_batches=None,
    train_steps=steps,
    seed=0,
    schedule=optax.constant_schedule(3e-3),
    make_optimizer=optimizer,
    mesh=mesh.make_mesh(data=1),
    rules=(),
    tensorboard=False,
    warm_start=warm_start,
  )
  return folder


@pytest.fixture(scope='module')
def style(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs') / 'style'
  model = joint_embedding.JointEmbeddingModel(TOWERS)
  return train(folder, model, of_captions, 80)


def batches_of(style, split='train', **settings):
  return synonym_batches.SynonymBatches(
    style, **{'num': 600, 'batch_size': 128, 'seed': 4, **settings}, split=split
  )


def test_prompts_come_nearer_to_captions_and_music_stays(style, tmp_path):
  batches = batches_of(style)
  model = synonyms.SynonymModel(TOWERS)
  run = train(tmp_path / 'synonyms', model, batches, 150, warm_start=style)
  held_out = batches_of(style, 'validation', num=100)._arrays

  def params_of(folder, **options):
    features = tmp_path / 'features.safetensors'
    scaling = {'mean': np.zeros(233), 'std': np.ones(233)}
    example = {k: x[:64] for k, x in next(of_captions(50)).items()}
    flat = {f'style/{k}': x for k, x in scaling.items()}
    flat |= {f'example/{k}': x for k, x in example.items()}
    flat['style/vocabulary'] = np.array([1], np.uint32)
    tensors.write(features, tensors.unflatten(flat))
    return fitted.read_style('style', folder, features=features, **options)[0]

  before, after = params_of(style), params_of(run, synonyms=True)
  for name in before:
    if 'music' in name:
      np.testing.assert_array_equal(before[name], after[name])

  def cosines(params):
    texts = joint_embedding._embed(params, held_out['text_features'], 'text')
    wanted = joint_embedding._embed(before, held_out['text_features'], 'text')
    captions, prompts = np.split(texts, 2)
    wanted = wanted[: len(captions)]
    return [float((x * wanted).sum(-1).mean()) for x in (captions, prompts)]

  (_, old), (kept, new) = cosines(before), cosines(after)
  assert new > old + 0.1
  assert kept > 0.9
  stream = specs.FeatureSpec(name='style', dim=16, rate_hz=0.0)
  knows = joint_embedding.HashedText(stream, after).knows
  assert knows('rhodes') and not knows('zxqv')
  assert not joint_embedding.HashedText(stream, before).knows('rhodes')


def test_batches_depend_on_seed_and_step_alone(style):
  batches = batches_of(style, num=20)
  first, second = (next(batches(3)) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, first, second)
  halves = [next(batches(3, (i, 2)))['wanted'] for i in range(2)]
  together = np.sort(np.concatenate(halves), 0)
  np.testing.assert_array_equal(together, np.sort(first['wanted'], 0))
  prompts = [
    song_prompts.prompt(song_lib.sample(4, i, 60.0)) for i in range(20)
  ]
  features = np.stack([*map(style_features.text_features, prompts)])
  np.testing.assert_array_equal(batches._arrays['text_features'][20:], features)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [({'num': 0}, 'num is 0'), ({'split': 'test'}, "split is 'test'")],
)
def test_wrong_settings_are_named(style, settings, message):
  with pytest.raises(ValueError, match=message):
    batches_of(style, **settings)
