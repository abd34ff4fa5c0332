"""MERT is HuBERT on a file of its own layout, and runs no code of others."""

import dataclasses
import json

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import store
from v2meow_jax.pretrained.audio import mert
from v2meow_jax.pretrained.audio import semantic_encoder

pytestmark = pytest.mark.torch

# As config.json of m-a-p/MERT-v1-95M names its settings; sizes of the test.
SETTINGS = {
  'architectures': ['MERTModel'],
  'auto_map': {
    'AutoConfig': 'configuration_MERT.MERTConfig',
    'AutoModel': 'modeling_MERT.MERTModel',
  },
  'model_type': 'mert_model',
  'attention_relax': -1.0,
  'conv_bias': False,
  'conv_dim': [24] * 7,
  'conv_kernel': [10, 3, 3, 3, 3, 2, 2],
  'conv_stride': [5, 2, 2, 2, 2, 2, 2],
  'deepnorm': False,
  'do_stable_layer_norm': False,
  'feat_extract_norm': 'group',
  'feat_proj_layer_norm': True,
  'feature_extractor_cqt': False,
  'feature_extractor_cqt_bins': 336,
  'hidden_size': 32,
  'intermediate_size': 48,
  'mask_time_prob': 0.05,
  'num_attention_heads': 2,
  'num_conv_pos_embedding_groups': 4,
  'num_conv_pos_embeddings': 16,
  'num_hidden_layers': 3,
  'sample_rate': 24_000,
  'transformers_version': '4.24.0',
}
LARGE = SETTINGS | {'do_stable_layer_norm': True, 'attention_relax': 32.0}
AUDIO = {
  'do_normalize': True,
  'feature_extractor_type': 'Wav2Vec2FeatureExtractor',
  'feature_size': 1,
  'padding_side': 'right',
  'padding_value': 0,
  'return_attention_mask': True,
  'sampling_rate': 24_000,
}
KEY = 'encoder.layers.1.attention.k_proj.weight'
WHOLE = semantic_encoder.Stretches(seconds=60.0, context_seconds=0.0)


def hubert(settings):
  """transformers' network with random weights of about unit gain."""
  import torch
  import transformers

  names = set(transformers.HubertConfig().to_dict()) - {'model_type'}
  network = transformers.HubertModel(
    transformers.HubertConfig(
      **{k: v for k, v in settings.items() if k in names}
    )
  )
  generator = torch.Generator().manual_seed(0)
  for parameter in network.parameters():
    if parameter.dim() > 1:
      fan_in = parameter[0].numel()
      noise = torch.randn(parameter.shape, generator=generator)
      parameter.data = noise * (2 / fan_in) ** 0.5
  return network.eval()


def write(folder, network, settings):
  """The three files of a repository."""
  from safetensors import torch as st

  folder.mkdir(exist_ok=True)
  (folder / 'config.json').write_text(json.dumps(settings))
  (folder / 'preprocessor_config.json').write_text(json.dumps(AUDIO))
  state = {published(k): x.clone() for k, x in network.state_dict().items()}
  st.save_file(state, folder / 'model.safetensors')
  return state


def published(name):
  """As PyTorch named the factors of weight normalisation at the time."""
  name = name.replace('parametrizations.weight.original0', 'weight_g')
  return name.replace('parametrizations.weight.original1', 'weight_v')


@pytest.fixture(scope='module')
def network():
  return hubert(SETTINGS)


@pytest.fixture(scope='module')
def folder(network, tmp_path_factory):
  path = tmp_path_factory.mktemp('mert')
  write(path, network, SETTINGS)
  return path


def noise(seconds, rate_hz=24_000):
  rng = np.random.default_rng(3)
  samples = 0.1 * rng.standard_normal(round(seconds * rate_hz), np.float32)
  return media.Audio(samples=samples, rate_hz=rate_hz)


def wanted(network, samples, layer, pool):
  """Of the whole clip with 40 zeros on either side, scaled by hand."""
  import torch

  padded = np.pad(samples, 40)
  padded = (padded - padded.mean()) / np.sqrt(padded.var() + 1e-7)
  with torch.inference_mode():
    states = network(
      torch.from_numpy(padded)[None], output_hidden_states=True
    ).hidden_states
  frames = states[layer][0].numpy()
  return np.stack(
    [frames[i : i + pool].mean(0) for i in range(0, len(frames), pool)]
  )


@pytest.mark.parametrize('settings', [SETTINGS, LARGE], ids=['95m', '330m'])
def test_every_layer_is_that_of_hubert_averaged_to_25_hz(settings, tmp_path):
  network = hubert(settings)
  write(tmp_path, network, settings)
  audio = noise(1.4)
  for layer in range(4):
    encoder = mert.load(tmp_path, layer=layer, stretches=WHOLE)
    assert (encoder.sample_rate_hz, encoder.rate_hz) == (24_000, 25.0)
    frames = encoder(audio)
    states = wanted(network, audio.samples, layer, 3)
    assert frames.shape == states.shape == (35, 32) and states.std() > 0.1
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, states, rtol=0, atol=1e-4)
  every = mert.load(tmp_path, layer=2, pool=1, stretches=WHOLE)
  states = wanted(network, audio.samples, 2, 1)
  assert every.rate_hz == 75.0 and states.shape == (105, 32)
  np.testing.assert_allclose(every(audio), states, rtol=0, atol=1e-4)


def test_long_audio_is_the_same_each_time_and_does_not_depend_on_later_audio(
  folder,
):
  stretches = semantic_encoder.Stretches(seconds=1.0, context_seconds=0.2)
  encoder = mert.load(folder, layer=2, stretches=stretches)
  audio = noise(3.0)
  shorter = dataclasses.replace(audio, samples=audio.samples[: 24_000 * 2])
  frames, first = encoder(audio), encoder(shorter)
  assert frames.shape == (75, 32) and first.shape == (50, 32)
  np.testing.assert_array_equal(encoder(audio), frames)
  np.testing.assert_array_equal(first[:25], frames[:25])
  alone = dataclasses.replace(audio, samples=audio.samples[:24_000])
  np.testing.assert_array_equal(encoder(alone)[:20], frames[:20])


def test_a_burst_changes_the_frames_of_its_time(folder):
  encoder = mert.load(folder, layer=1, stretches=WHOLE)
  audio = noise(4.0)
  louder = audio.samples.copy()
  start = round(2.61 * 24_000)
  louder[start : start + 480] *= 8
  frames = encoder(audio)
  change = encoder(dataclasses.replace(audio, samples=louder)) - frames
  assert abs(np.argmax(np.abs(change).sum(1)) - 65) <= 1


@pytest.mark.parametrize('num_samples', [0, 1, 960, 1500, 44_100])
def test_audio_of_any_length_and_rate_has_its_frames(folder, num_samples):
  audio = media.Audio(samples=np.zeros(num_samples, np.float32), rate_hz=44_100)
  frames = mert.load(folder, layer=1)(audio)
  assert frames.shape == (max(1, round(num_samples / 44_100 * 25)), 32)
  assert np.isfinite(frames).all()


@pytest.mark.parametrize(
  'name', ['model.safetensors', 'config.json', 'preprocessor_config.json']
)
def test_a_missing_file_says_what_to_download_and_where_to_put_it(
  network, tmp_path, name
):
  write(tmp_path, network, SETTINGS)
  (tmp_path / name).unlink()
  with pytest.raises(FileNotFoundError) as e:
    mert.load(tmp_path)
  assert f'no {tmp_path / name};' in str(e.value)
  assert f'https://huggingface.co/m-a-p/MERT-v1-95M/resolve/main/{name}' in str(
    e.value
  )


def test_tensors_that_differ_are_named(network, tmp_path):
  import torch

  state = write(tmp_path, network, SETTINGS)
  zeros = torch.zeros(3)
  for changed, said in (
    ({KEY: None}, rf'lacks .{KEY}.*\[32, 32\]'),
    ({KEY: zeros}, rf'{KEY}.*\[3\].*wanted floats of shape \[32, 32\]'),
    ({KEY: state[KEY].int()}, rf'{KEY}.*int32.*wanted floats'),
    ({'lm_head.weight': zeros}, r'has .lm_head.weight. of shape \[3\]'),
  ):
    from safetensors import torch as st

    other = {k: x for k, x in (state | changed).items() if x is not None}
    st.save_file(other, tmp_path / 'model.safetensors')
    with pytest.raises(ValueError, match=said):
      mert.load(tmp_path, layer=1)


@pytest.mark.parametrize(
  'changed, said',
  [
    (
      {'feature_extractor_cqt': True},
      'feature_extractor_cqt True; wanted False',
    ),
    ({'deepnorm': True}, 'deepnorm True; wanted False'),
    ({'model_type': 'clap'}, "model_type 'clap'; wanted 'mert_model'"),
  ],
)
def test_settings_of_another_network_are_refused(
  network, tmp_path, changed, said
):
  write(tmp_path, network, SETTINGS | changed)
  with pytest.raises(ValueError, match=f'config.json has {said}'):
    mert.load(tmp_path, layer=1)


def test_damaged_files_are_refused(network, tmp_path):
  write(tmp_path, network, SETTINGS)
  content = (tmp_path / 'model.safetensors').read_bytes()
  for name, broken in (
    ('model.safetensors', content[:-9]),
    ('preprocessor_config.json', b'[1]'),
    ('config.json', b'{'),
  ):
    (tmp_path / name).write_bytes(broken)
    with pytest.raises(ValueError, match=name):
      mert.load(tmp_path, layer=1)


def test_layers_and_averages_that_are_not_there_are_refused(folder):
  with pytest.raises(ValueError, match='layer is 4; the network has 0 to 3'):
    mert.load(folder, layer=4)
  with pytest.raises(ValueError, match='pool is 0'):
    mert.load(folder, layer=1, pool=0)


def test_files_are_found_in_the_cache_of_the_hub(
  network, tmp_path, monkeypatch
):
  monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path))
  artefact = ledger.find('mert-v1-95m')
  here = store.Store(path=tmp_path / 'store')
  model = tmp_path / 'models--m-a-p--MERT-v1-95M'
  (model / 'refs').mkdir(parents=True)
  (model / 'refs' / 'main').write_text('abc')
  (model / 'snapshots').mkdir()
  write(model / 'snapshots' / 'abc', network, SETTINGS)
  encoder = mert.load(here.locate(artefact), layer=1)
  assert encoder(noise(1.0)).shape == (25, 32)
