"""TRILL is called as it is published: a SavedModel of the same signature."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.evaluation.listening import networks

pytestmark = pytest.mark.data

HOP, WINDOW, DIM = 2_667, 15_360, 512


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A stand-in with the outputs of TRILL, of frames of 0.96 s every 0.167 s."""
  import tensorflow as tf

  class StandIn(tf.Module):
    def __init__(self):
      super().__init__()
      rng = np.random.default_rng(0)
      kernel = rng.normal(size=(WINDOW, DIM)).astype(np.float32) / 100
      self.kernel = tf.Variable(kernel)

    @tf.function(
      input_signature=[
        tf.TensorSpec([None], tf.float32, name='samples'),
        tf.TensorSpec([], tf.int32, name='sample_rate'),
      ]
    )
    def __call__(self, samples, sample_rate):
      tf.debugging.assert_equal(sample_rate, 16_000)
      frames = tf.signal.frame(samples, WINDOW, HOP, pad_end=True)
      embedding = frames @ self.kernel
      return {'embedding': embedding, 'layer19': embedding[:, :64]}

  path = tmp_path_factory.mktemp('published') / 'trill'
  model = StandIn()
  tf.saved_model.save(model, str(path))
  return path, model.kernel.numpy()


def noise(seconds, rate_hz=16_000):
  rng = np.random.default_rng(3)
  samples = rng.uniform(-0.5, 0.5, round(seconds * rate_hz))
  return media.Audio(samples=samples.astype(np.float32), rate_hz=rate_hz)


def wanted_rows(samples, kernel):
  count = -(-len(samples) // HOP)
  padded = np.pad(samples, (0, count * HOP + WINDOW))
  frames = [padded[i * HOP : i * HOP + WINDOW] for i in range(count)]
  return np.stack(frames) @ kernel


def test_rows_are_those_of_the_layer_embedding(folder):
  path, kernel = folder
  heard = networks.load('trill', path)
  audio = noise(4.0)
  rows = heard(audio)
  assert rows.shape == (24, 512) == (24, heard.dim)
  wanted = wanted_rows(audio.samples, kernel)
  np.testing.assert_allclose(rows, wanted, rtol=0, atol=1e-4)


def test_a_minute_is_heard_at_a_time(folder):
  path, kernel = folder
  samples = noise(100.0).samples
  rows = networks.load('trill', path)(
    media.Audio(samples=samples, rate_hz=16_000)
  )
  parts = (samples[: 60 * 16_000], samples[60 * 16_000 :])
  wanted = np.concatenate([wanted_rows(p, kernel) for p in parts])
  np.testing.assert_allclose(rows, wanted, rtol=0, atol=1e-4)


def test_the_digest_is_of_the_folder_and_another_rate_is_resampled(folder):
  path, _ = folder
  first, second = (networks.load('trill', path) for _ in range(2))
  assert first.digest == second.digest and len(first.digest) == 64
  rows = first(noise(2.0, rate_hz=44_100))
  assert rows.shape == (12, 512)


def test_other_folders_are_refused(folder, tmp_path):
  import tensorflow as tf

  with pytest.raises(ValueError, match='is no SavedModel'):
    networks.load('trill', tmp_path)
  other = tf.Module()
  other.variable = tf.Variable(1.0)
  tf.saved_model.save(other, str(tmp_path / 'other'))
  with pytest.raises(ValueError, match='cannot be called'):
    networks.load('trill', tmp_path / 'other')
