"""w2v-BERT 2.0 is transformers' own, at 25 Hz, from its published files."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.pretrained.audio import semantic_encoder
from v2meow_jax.pretrained.audio import w2v_bert

pytestmark = pytest.mark.torch

SETTINGS = {
  'architectures': ['Wav2Vec2BertModel'],
  'model_type': 'wav2vec2-bert',
  'feature_projection_input_dim': 160,
  'hidden_act': 'swish',
  'hidden_size': 32,
  'intermediate_size': 48,
  'left_max_position_embeddings': 64,
  'mask_time_prob': 0.05,
  'num_attention_heads': 2,
  'num_hidden_layers': 3,
  'position_embeddings_type': 'relative_key',
  'right_max_position_embeddings': 8,
}
AUDIO = {
  'feature_extractor_type': 'SeamlessM4TFeatureExtractor',
  'feature_size': 80,
  'num_mel_bins': 80,
  'padding_side': 'right',
  'padding_value': 1,
  'return_attention_mask': True,
  'sampling_rate': 16_000,
  'stride': 2,
}
WHOLE = semantic_encoder.Stretches(seconds=60.0, context_seconds=0.0)


@pytest.fixture(scope='module')
def network():
  import torch
  import transformers

  torch.manual_seed(0)
  config = transformers.Wav2Vec2BertConfig.from_dict(SETTINGS)
  network = transformers.Wav2Vec2BertModel(config)
  for parameter in network.parameters():
    if parameter.dim() > 1:
      parameter.data *= 10
  return network.eval()


@pytest.fixture(scope='module')
def folder(network, tmp_path_factory):
  from safetensors import torch as st

  path = tmp_path_factory.mktemp('w2v_bert')
  (path / 'config.json').write_text(json.dumps(SETTINGS))
  (path / 'preprocessor_config.json').write_text(json.dumps(AUDIO))
  state = dict(network.state_dict())
  assert 'masked_spec_embed' in state
  st.save_file(state, path / 'model.safetensors')
  return path


def noise(seconds):
  rng = np.random.default_rng(3)
  samples = 0.1 * rng.standard_normal(round(seconds * 16_000), np.float32)
  return media.Audio(samples=samples, rate_hz=16_000)


def test_every_layer_is_that_of_transformers_averaged_to_25_hz(network, folder):
  import torch
  import transformers

  audio = noise(2.0)
  extract = transformers.SeamlessM4TFeatureExtractor(
    feature_size=80, num_mel_bins=80, stride=2, padding_value=1
  )
  # 25 ms of every 10 ms: 120 zeros on either side complete the last frames.
  inputs = extract(
    np.pad(audio.samples, 120), sampling_rate=16_000, return_tensors='pt'
  )
  with torch.inference_mode():
    states = network(**inputs, output_hidden_states=True).hidden_states
  for layer in range(4):
    wanted = states[layer][0].numpy()
    assert wanted.shape == (100, 32) and wanted.std() > 0.1
    encoder = w2v_bert.load(folder, layer=layer, stretches=WHOLE)
    assert (encoder.sample_rate_hz, encoder.rate_hz) == (16_000, 25.0)
    got = encoder(audio)
    assert got.dtype == np.float32
    np.testing.assert_allclose(
      got, (wanted[::2] + wanted[1::2]) / 2, rtol=0, atol=1e-4
    )


def test_frames_do_not_depend_on_later_audio(folder):
  stretches = semantic_encoder.Stretches(seconds=1.0, context_seconds=0.2)
  encoder = w2v_bert.load(
    folder / 'model.safetensors', layer=2, stretches=stretches
  )
  audio = noise(3.0)
  shorter = dataclasses.replace(audio, samples=audio.samples[: 16_000 * 2])
  frames, first = encoder(audio), encoder(shorter)
  assert frames.shape == (75, 32) and first.shape == (50, 32)
  np.testing.assert_array_equal(first[:25], frames[:25])


def test_a_burst_changes_the_frames_of_its_time(folder):
  encoder = w2v_bert.load(folder, layer=0, stretches=WHOLE)
  audio = noise(4.0)
  louder = audio.samples.copy()
  start = round(2.61 * 16_000)
  louder[start : start + 320] *= 8
  frames = encoder(audio)
  change = encoder(dataclasses.replace(audio, samples=louder)) - frames
  assert np.argmax(np.abs(change).sum(1)) == 65


@pytest.mark.parametrize('num_samples', [0, 1, 640, 1000, 16_000])
def test_audio_of_any_length_has_its_frames(folder, num_samples):
  audio = media.Audio(samples=np.zeros(num_samples, np.float32), rate_hz=16_000)
  frames = w2v_bert.load(folder, layer=1)(audio)
  assert frames.shape == (max(1, round(num_samples / 640)), 32)
  assert np.isfinite(frames).all()


KEY = 'encoder.layers.1.self_attn.linear_k.weight'


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda s: s.pop(KEY), rf"lacks '{KEY}', wanted as floats .*\[32, 32\]"),
    (
      lambda s: s.update({KEY: np.zeros((32, 3), np.float32)}),
      rf"'{KEY}' as .*\[32, 3\]; wanted floats of shape \[32, 32\]",
    ),
    (
      lambda s: s.update({'lm_head.bias': np.zeros(3, np.float32)}),
      r"has 'lm_head.bias' of shape \[3\], which Wav2Vec2BertModel",
    ),
  ],
)
def test_a_weight_that_differs_is_named(folder, tmp_path, change, said):
  from safetensors import numpy as st

  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  state = st.load_file(tmp_path / 'model.safetensors')
  change(state)
  st.save_file(state, tmp_path / 'model.safetensors')
  with pytest.raises(ValueError, match=said):
    w2v_bert.load(tmp_path, layer=1)


def test_files_of_another_network_are_refused(folder, tmp_path):
  for name in ('config.json', 'preprocessor_config.json', 'model.safetensors'):
    (tmp_path / name).write_bytes((folder / name).read_bytes())
  deeper = SETTINGS | {'num_hidden_layers': 4}
  (tmp_path / 'config.json').write_text(json.dumps(deeper))
  with pytest.raises(ValueError, match=r'lacks .encoder\.layers\.3\.'):
    w2v_bert.load(tmp_path, layer=1)
  (tmp_path / 'config.json').write_text(
    json.dumps(SETTINGS | {'model_type': 'hubert'})
  )
  with pytest.raises(ValueError, match="'hubert'; wanted 'wav2vec2-bert'"):
    w2v_bert.load(tmp_path, layer=1)
  with pytest.raises(FileNotFoundError, match='facebook/w2v-bert-2.0'):
    w2v_bert.load(tmp_path / 'nowhere', layer=1)
