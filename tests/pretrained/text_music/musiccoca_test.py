"""MusicCoCa's files in its layout compute what numpy says they compute."""

import io
import shutil

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import text_music
from v2meow_jax.pretrained.text_music import musiccoca

pytestmark = pytest.mark.data

DIM, NUM_IDS, NUM_FRAMES = 12, 128, 100
STREAM = specs.FeatureSpec(name='style', dim=DIM, rate_hz=0.0)
RNG = np.random.default_rng(0)
MUSIC = RNG.normal(size=(NUM_FRAMES, DIM)).astype(np.float32)
WORDS = RNG.normal(size=(64, DIM)).astype(np.float32)
# Tells order and place.
PLACES = RNG.normal(size=(NUM_IDS, DIM)).astype(np.float32)


def write_graph(file, function, *inputs):
  """A TFLite file of a function of tensors of fixed shapes."""
  import tensorflow as tf

  module = tf.Module()
  module.run = tf.function(
    function, input_signature=[tf.TensorSpec(s, d) for s, d in inputs]
  )
  concrete = module.run.get_concrete_function()
  convert = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
  file.write_bytes(convert.convert())


def write_text_encoder(file, num_outputs=DIM):
  import tensorflow as tf

  def encode(ids, paddings):
    vectors = tf.gather(WORDS, ids) * PLACES
    return tf.reduce_sum(vectors * (1 - paddings)[..., None], 1)[
      :, :num_outputs
    ]

  shape = (1, NUM_IDS)
  write_graph(file, encode, (shape, tf.int32), (shape, tf.float32))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  import sentencepiece
  import tensorflow as tf

  path = tmp_path_factory.mktemp('musiccoca')

  def prepare(waveform):
    return tf.reduce_mean(tf.reshape(waveform, (1, NUM_FRAMES, -1)) ** 2, -1)

  write_graph(
    path / 'audio_preprocessor.tflite', prepare, ((1, 160_000), tf.float32)
  )
  write_graph(
    path / 'music_encoder.tflite',
    lambda spectra: tf.matmul(spectra, MUSIC),
    ((1, NUM_FRAMES), tf.float32),
  )
  write_text_encoder(path / 'text_encoder.tflite')
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(['calm piano', 'loud rock guitar', 'slow techno']),
    model_writer=model,
    vocab_size=24,
    pad_id=0,
    bos_id=1,
    eos_id=2,
    unk_id=3,
    minloglevel=2,
  )
  (path / 'spm.model').write_bytes(model.getvalue())
  return path


@pytest.fixture(scope='module')
def network(folder):
  return musiccoca.MusicCoCa(folder / musiccoca.FILES[1])


def unit(x):
  return x / np.linalg.norm(x)


def music_law(samples):
  return (samples.reshape(NUM_FRAMES, -1) ** 2).mean(1) @ MUSIC


def text_law(folder, text):
  import sentencepiece

  spm = sentencepiece.SentencePieceProcessor(str(folder / 'spm.model'))
  ids = [1, *spm.encode(text)][:NUM_IDS]
  return (WORDS[ids] * PLACES[: len(ids)]).sum(0)


def test_music_is_the_mean_over_segments(network):
  samples = RNG.normal(0, 0.3, 27 * 16_000).astype(np.float32)
  samples *= np.linspace(0, 1, len(samples), dtype=np.float32)
  padded = np.pad(samples, (0, 3 * 16_000))
  rows = [unit(music_law(x)) for x in padded.reshape(3, -1)]
  got = text_music.MusicStyle(STREAM, network)(
    media.Audio(samples=samples, rate_hz=16_000)
  )
  np.testing.assert_allclose(got[0], unit(np.mean(rows, 0)), atol=1e-5)


def test_texts_are_lower_case_pieces_after_a_start(network, folder):
  extract = text_music.TextStyle(STREAM, network)
  for text in ('calm piano', 'slow techno'):
    wanted = unit(text_law(folder, text))
    np.testing.assert_allclose(extract(text)[0], wanted, atol=1e-5)
    np.testing.assert_array_equal(extract(text.upper()), extract(text))
  both = network.embed_texts(['calm piano', 'slow techno'])
  np.testing.assert_allclose(unit(both[0]), extract('calm piano')[0], atol=1e-6)


def test_a_long_text_is_cut_to_the_encoders_length(network, folder):
  text = 'guitar techno ' * 60
  got = network.embed_texts([text])[0]
  np.testing.assert_allclose(got, text_law(folder, text), rtol=1e-4, atol=1e-4)


def test_missing_files_say_what_to_get_and_where_to_put_it(folder, tmp_path):
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  (tmp_path / 'spm.model').unlink()
  (tmp_path / 'text_encoder.tflite').unlink()
  with pytest.raises(FileNotFoundError) as caught:
    musiccoca.MusicCoCa(tmp_path)
  said = str(caught.value)
  assert 'lacks text_encoder.tflite, spm.model' in said
  assert 'resources/musiccoca of https://huggingface.co/google/mag' in said
  assert str(tmp_path) in said


@pytest.mark.parametrize('name', musiccoca.FILES)
def test_a_damaged_file_is_named(folder, tmp_path, name):
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  (tmp_path / name).write_bytes(b'<html>log in</html>')
  with pytest.raises(ValueError, match=f'{name} is damaged'):
    musiccoca.MusicCoCa(tmp_path)


def test_files_that_do_not_fit_each_other_are_refused(folder, tmp_path):
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  music = tmp_path / 'music_encoder.tflite'
  shutil.copy(tmp_path / 'text_encoder.tflite', music)
  with pytest.raises(ValueError, match=r'takes .*128.*wanted one.* 100 float'):
    musiccoca.MusicCoCa(tmp_path)
  shutil.copy(folder / 'music_encoder.tflite', music)
  write_text_encoder(tmp_path / 'text_encoder.tflite', DIM - 1)
  with pytest.raises(ValueError, match='gives 11 numbers.*encoder 12'):
    musiccoca.MusicCoCa(tmp_path)
