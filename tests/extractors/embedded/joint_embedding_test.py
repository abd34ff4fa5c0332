"""InfoNCE by hand, and a tiny planted world whose captions are learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors.embedded import joint_embedding
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.pretrained.text_music import segments

pytestmark = pytest.mark.slow

STYLE = specs.FeatureSpec(name='style', dim=16, rate_hz=0.0)
WORDS = ('calm piano', 'loud rock', 'fast techno', 'slow jazz')


def batch(seed, size=32):
  """Captions of four kinds, and music statistics that tell the kind."""
  rng = np.random.default_rng(seed)
  kinds = rng.integers(0, 4, size)
  music = rng.normal(size=(size, style_features.MUSIC_DIM))
  music[np.arange(size), kinds] += 6.0
  text = [style_features.text_features(WORDS[k]) for k in kinds]
  return kinds, {
    'text_features': np.stack(text),
    'music_features': music.astype(np.float32),
  }


@pytest.fixture(scope='module')
def trained():
  model = joint_embedding.JointEmbeddingModel(
    joint_embedding.StyleTowers(emb_dim=16, hidden_dim=32)
  )
  params = model.init(jax.random.key(0), batch(0)[1])['params']
  optimizer = optax.adam(3e-3)
  state = optimizer.init(params)

  @jax.jit
  def step(params, state, data, rng):
    grads = jax.grad(lambda p: model.train_loss(p, {}, data, rng)[0])(params)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(params, updates), state

  for i in range(120):
    rng = jax.random.fold_in(jax.random.key(1), i)
    params, state = step(params, state, batch(i)[1], rng)
  data = batch(1000, 128)[1]
  scaling = {'mean': np.zeros(233), 'std': np.ones(233)}
  frozen = joint_embedding.freeze(
    params, scaling, data['text_features'], data['music_features']
  )
  return model, params, frozen


def test_info_nce_without_information_is_log_batch():
  same = jnp.ones((32, 8)) / np.sqrt(8)
  loss = joint_embedding.info_nce(same, same, jnp.log(10.0))
  assert float(loss) == pytest.approx(np.log(32), rel=1e-5)


def test_info_nce_by_hand():
  eye = jnp.eye(3)
  loss = joint_embedding.info_nce(eye, eye, jnp.log(2.0))
  assert float(loss) == pytest.approx(np.log(np.exp(2) + 2) - 2, rel=1e-5)


def test_untrained_model_is_about_at_chance():
  model = joint_embedding.JointEmbeddingModel()
  data = batch(0, 64)[1]
  params = model.init(jax.random.key(0), data)['params']
  zeroed = {**params, 'log_scale': jnp.float32(-9.0)}
  loss, (metrics, extras) = model.train_loss(zeroed, {}, data, None)
  assert float(loss) == pytest.approx(np.log(64), rel=1e-3)
  assert extras == {} and set(metrics) == {'loss', 'text_to_music', 'scale'}


def test_no_key_means_no_dropout(trained):
  model, params, _ = trained
  data = batch(3)[1]
  losses = [model.train_loss(params, {}, data, None)[0] for _ in range(2)]
  assert losses[0] == losses[1]
  random = model.train_loss(params, {}, data, jax.random.key(0))[0]
  assert random != losses[0]


def test_captions_find_their_music(trained):
  _, _, frozen = trained
  kinds, data = batch(77)
  music = joint_embedding._embed(frozen, data['music_features'], 'music')
  extract = joint_embedding.HashedText(STYLE, frozen)
  for kind, words in enumerate(WORDS):
    text = extract(words)
    assert text.shape == (1, 16)
    assert np.linalg.norm(text) == pytest.approx(1, abs=1e-4)
    assert kinds[(music @ text[0]).argmax()] == kind


def test_embeddings_are_those_of_the_trained_towers(trained):
  model, params, frozen = trained
  data = batch(5)[1]
  outputs = model.towers.apply(
    {'params': params}, data['text_features'], data['music_features']
  )
  for kind, wanted in zip(('text', 'music'), outputs, strict=False):
    rows = joint_embedding._embed(frozen, data[f'{kind}_features'], kind)
    assert rows.dtype == np.float32
    centred = wanted - frozen[f'{kind}_center']
    centred /= np.linalg.norm(centred, axis=-1, keepdims=True)
    np.testing.assert_allclose(rows, centred, atol=2e-6)


def test_the_two_modalities_share_a_centre(trained):
  _, _, frozen = trained
  data = batch(1000, 128)[1]
  for kind in ('text', 'music'):
    rows = joint_embedding._embed(frozen, data[f'{kind}_features'], kind)
    # Unit vectors of four balanced kinds: their mean nearly vanishes.
    assert np.linalg.norm(rows.mean(0)) < 0.25


def test_long_music_is_the_mean_of_its_segments(trained):
  _, _, frozen = trained
  rng = np.random.default_rng(0)
  samples = rng.normal(0, 0.1, 20 * 16_000).astype(np.float32)
  samples[: 10 * 16_000 : 8000] += 0.9
  extract = joint_embedding.HashedMusic(STYLE, frozen)
  whole = media.Audio(samples=samples, rate_hz=16_000)
  halves = np.concatenate([extract(s) for s in segments.of_audio(whole)])
  mean = halves.mean(0) / np.linalg.norm(halves.mean(0))
  np.testing.assert_allclose(extract(whole)[0], mean, atol=1e-4)


def test_stream_must_fit(trained):
  _, _, frozen = trained
  with pytest.raises(ValueError, match="'style' has dim 8.*gives 16"):
    joint_embedding.HashedText(
      specs.FeatureSpec(name='style', dim=8, rate_hz=0.0), frozen
    )
  with pytest.raises(ValueError, match='one vector per clip'):
    joint_embedding.HashedMusic(
      specs.FeatureSpec(name='style', dim=16, rate_hz=1.0), frozen
    )
