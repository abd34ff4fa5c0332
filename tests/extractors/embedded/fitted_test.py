"""Extractors built from stored arrays equal those that were fitted."""

import jax
import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import stages
from v2meow_jax.extractors.embedded import color_motion
from v2meow_jax.extractors.embedded import fitted
from v2meow_jax.extractors.embedded import joint_embedding
from v2meow_jax.extractors.embedded import semantic_tokens
from v2meow_jax.files import tensors

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def clips():
  rng = np.random.default_rng(0)
  videos = [
    media.Video(
      frames=rng.integers(0, 256, (50, 18, 32, 3), dtype=np.uint8),
      times=np.arange(50) / 25,
      seconds=2.0,
    )
    for _ in range(2)
  ]
  audios = [
    media.Audio(
      samples=rng.normal(0, 0.1, 64_000).astype(np.float32), rate_hz=16_000
    )
    for _ in range(12)
  ]
  return videos, audios


@pytest.fixture(scope='module')
def params(clips):
  return fitted.fit(*clips, stages.TINY, seed=0)


@pytest.fixture
def read(params, tmp_path):
  """A function that gives the parameters of a stream from the file of a fit."""
  path = tmp_path / 'features.safetensors'
  tensors.write(path, tensors.unflatten(params), None)
  return lambda name: fitted.read(name, path)[0]


def test_fitted_streams_are_standardised(read, clips):
  extract = color_motion.Motion(stages.TINY['motion'], read('motion'))
  motion = np.concatenate([extract(v) for v in clips[0]])
  subframes = motion.reshape(-1, 16)
  np.testing.assert_allclose(subframes.mean(0), 0, atol=0.05)
  extract = semantic_tokens.SemanticTokens(
    stages.TINY['semantic'], read('semantic')
  )
  codes = extract(clips[1][0])
  assert codes.shape == (100, 1) and len(np.unique(codes)) > 10


def test_a_stream_that_was_not_fitted_is_named(read):
  with pytest.raises(ValueError, match="'flow'.*appearance.*data fit"):
    read('flow')


def test_style_joins_and_every_stream_keeps_its_spec(params, clips):
  rows = [fitted.clip_features(params, a, 'calm') for a in clips[1]]
  batch = {n: np.stack([r[n] for r in rows]) for n in rows[0]}
  model = joint_embedding.JointEmbeddingModel()
  towers = model.init(jax.random.key(0), batch)['params']
  full = fitted.with_style(params, towers, batch)
  style = {
    name.removeprefix('style/'): x
    for name, x in full.items()
    if name.startswith('style/')
  }
  built = joint_embedding.extractors(stages.TINY['style'], style)
  assert set(built) == {'style', 'style_text'}
  assert built['style'](clips[1][0]).shape == (1, 64)
  assert built['style_text']('calm piano').shape == (1, 64)
  assert built['style'].stream is built['style_text'].stream
  assert all(np.asarray(x).dtype == np.float32 for x in full.values())


def test_progress_counts_clips(clips):
  seen = []
  fitted.fit(
    *clips, stages.TINY, seed=0, progress=lambda part, n: seen.append((part, n))
  )
  assert seen[:3] == [('videos', 1), ('videos', 2), ('audios', 1)]
  assert seen[-1] == ('audios', 12)
