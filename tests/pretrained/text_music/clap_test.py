"""CLAP is what transformers makes of the same files, segment by segment."""

import shutil

import numpy as np
import pytest
from safetensors import numpy as st
import soxr

from tests.fakes import clap_files
from v2meow_jax import specs
from v2meow_jax.extractors import text_music
from v2meow_jax.pretrained.text_music import clap

pytestmark = pytest.mark.torch

STREAM = specs.FeatureSpec(name='style', dim=12, rate_hz=0.0)
RATE = clap_files.RATE
TEXTS = ('calm piano', 'loud rock', 'x')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return clap_files.write(tmp_path_factory.mktemp('clap'))


@pytest.fixture(scope='module')
def network(folder):
  return clap.Clap(folder)


@pytest.fixture(scope='module')
def reference(folder):
  import transformers

  return (
    transformers.ClapModel.from_pretrained(folder).eval(),
    transformers.ClapProcessor.from_pretrained(folder),
  )


def embeddings(reference, segments=(), texts=()):
  """Of the reference's own forward pass, before any averaging."""
  import torch

  model, processor = reference
  rows = []
  with torch.no_grad():
    for samples in segments:
      inputs = processor.feature_extractor(
        samples, sampling_rate=RATE, return_tensors='pt'
      )
      hidden = model.audio_model(**inputs).pooler_output
      rows.append(model.audio_projection(hidden)[0].numpy())
    for text in texts:
      inputs = processor.tokenizer(text, return_tensors='pt')
      hidden = model.text_model(**inputs).pooler_output
      rows.append(model.text_projection(hidden)[0].numpy())
  return [row / np.linalg.norm(row) for row in rows]


def test_music_is_the_mean_of_what_the_model_hears(network, reference):
  rate_hz = 44_100
  item = clap_files.music(27.0, rate_hz)
  samples = soxr.resample(item.samples, rate_hz, RATE, quality='HQ')
  cut = 10 * RATE
  # The processor fills the last 7 s by its own rule.
  rows = embeddings(reference, [samples[i * cut :][:cut] for i in range(3)])
  assert np.abs(rows[0] - rows[1]).max() > 1e-3
  mean = np.mean(rows, axis=0)
  got = text_music.MusicStyle(STREAM, network, batch_size=2)(item)
  np.testing.assert_allclose(got[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_short_clip_is_filled_as_the_processor_fills_it(network, reference):
  item = clap_files.music(3.2)
  [wanted] = embeddings(reference, [item.samples])
  got = text_music.MusicStyle(STREAM, network)(item)
  np.testing.assert_allclose(got[0], wanted, atol=1e-5)


def test_texts_are_the_models_alone_and_together(network, reference):
  wanted = embeddings(reference, texts=TEXTS)
  assert np.abs(wanted[0] - wanted[1]).max() > 1e-2
  np.testing.assert_allclose(network.embed_texts(TEXTS), wanted, atol=1e-5)
  extract = text_music.TextStyle(STREAM, network)
  for text, row in zip(TEXTS, wanted, strict=True):
    np.testing.assert_allclose(extract(text), row[None], atol=1e-5)


def test_the_same_music_gives_the_same_vector(network):
  extract = text_music.MusicStyle(STREAM, network)
  np.testing.assert_array_equal(
    extract(clap_files.music(31.0)), extract(clap_files.music(31.0))
  )


def test_a_text_that_is_too_long_is_cut(network):
  one, two = network.embed_texts(['x' * 36 + 'rock', 'x' * 36 + 'calm piano'])
  np.testing.assert_allclose(one, two, atol=1e-6)


def test_missing_files_say_what_to_get_and_where_to_put_it(tmp_path):
  with pytest.raises(FileNotFoundError) as caught:
    clap.Clap('laion/larger_clap_music')
  assert 'hf download laion/larger_clap_music' in str(caught.value)
  with pytest.raises(FileNotFoundError, match='published files into') as e:
    clap.Clap(tmp_path / 'nowhere')
  assert str(tmp_path / 'nowhere') in str(e.value)


def test_what_was_converted_from_a_pickle_is_read_as_well(
  folder, network, tmp_path
):
  other = clap_files.write(tmp_path)
  (other / 'model.safetensors').rename(other / 'pytorch_model.safetensors')
  found = clap.Clap(other / 'pytorch_model.safetensors').embed_texts(TEXTS)
  np.testing.assert_array_equal(found, network.embed_texts(TEXTS))


KEY = 'text_projection.linear2.weight'


@pytest.mark.parametrize(
  'name', ['model.safetensors', 'pytorch_model.safetensors']
)
@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda s: s.pop(KEY), rf"lacks '{KEY}', wanted as floats .*\[12, 12\]"),
    (
      lambda s: s.update({KEY: np.zeros((5, 12), np.float32)}),
      rf"'{KEY}' as .*float32 of shape \[5, 12\]; wanted .* \[12, 12\]",
    ),
    (
      lambda s: s.update({KEY: np.zeros((12, 12), np.int32)}),
      rf"'{KEY}' as .*int32 .*; wanted floats of shape \[12, 12\]",
    ),
    (
      lambda s: s.update({'text_projection.linear3.bias': np.zeros(3)}),
      r"has 'text_projection.linear3.bias' of shape \[3\], which ClapModel",
    ),
  ],
)
def test_a_weight_that_differs_is_named(folder, tmp_path, name, change, said):
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  state = st.load_file(tmp_path / 'model.safetensors')
  (tmp_path / 'model.safetensors').unlink()
  change(state)
  st.save_file(state, tmp_path / name, {'format': 'pt'})
  with pytest.raises(ValueError, match=said) as caught:
    clap.Clap(tmp_path)
  assert str(tmp_path / name) in str(caught.value)


def test_counts_of_places_are_not_needed(folder, network, tmp_path):
  # Older versions of transformers wrote them, newer ones partly do.
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  state = st.load_file(tmp_path / 'model.safetensors')
  places = 'text_model.embeddings.position_ids'
  index = [k for k in state if k.endswith('relative_position_index')]
  for changed in (
    {k: v for k, v in state.items() if k != places and k not in index},
    state | {places: np.arange(40)[None]},
  ):
    st.save_file(changed, tmp_path / 'model.safetensors', {'format': 'pt'})
    np.testing.assert_array_equal(
      clap.Clap(tmp_path).embed_texts(TEXTS), network.embed_texts(TEXTS)
    )


def test_a_model_that_fuses_random_crops_is_refused(tmp_path):
  fused = clap_files.write(tmp_path, enable_fusion=True)
  with pytest.raises(ValueError, match='another vector every time'):
    clap.Clap(fused)
