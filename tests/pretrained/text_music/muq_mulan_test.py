"""MuQ-MuLan's published layout gives what a forward pass written here gives.

Mel bands are those of transformers' numpy functions.
"""

import shutil

import numpy as np
import pytest

from tests.fakes import muq_mulan_files as files_lib
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import text_music
from v2meow_jax.pretrained.text_music import muq_mulan

pytestmark = pytest.mark.torch

RATE = files_lib.RATE
TINY, FULL = files_lib.TINY, files_lib.FULL
TEXTS = ('calm piano', 'loud rock guitar and drums')
STREAM = specs.FeatureSpec(name='style', dim=TINY.joint, rate_hz=0.0)


@pytest.fixture(scope='module')
def state():
  return files_lib.tensors(TINY)


@pytest.fixture(scope='module')
def files(state, tmp_path_factory):
  return files_lib.write(tmp_path_factory.mktemp('muq_mulan'), state)


@pytest.fixture(scope='module')
def network(files):
  return muq_mulan.MuQMuLan(**files)


def normalise(x):
  return (x - x.mean(-1, keepdims=True)) / np.sqrt(
    x.var(-1, keepdims=True) + 1e-5
  )


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def head(state, sizes, kind, x):
  """The Transformer, mean and projection in numpy, head by head."""
  from scipy import special

  for i in range(sizes.depths[kind]):
    p = {
      k.removeprefix(f'mulan.{kind}.transformer.layers.{i}.'): v
      for k, v in state.items()
    }
    y = normalise(x) * p['0.norm.learned_gamma']
    q = y @ p['0.to_q.weight'].T
    k, v = np.split(y @ p['0.to_kv.weight'].T, 2, -1)
    outputs = []
    for h in range(sizes.heads):
      own = slice(h * sizes.head_dim, (h + 1) * sizes.head_dim)
      query = unit(q[:, own]) * p['0.q_scale']
      key = unit(k[:, own]) * p['0.k_scale']
      outputs.append(special.softmax(8 * query @ key.T, -1) @ v[:, own])
    x = x + np.concatenate(outputs, -1) @ p['0.to_out.0.weight'].T
    y = normalise(x) * p['1.0.learned_gamma']
    hidden, gate = np.split(y @ p['1.1.weight'].T, 2, -1)
    gate = gate * special.ndtr(gate)
    x = x + (gate * hidden) @ p['1.4.weight'].T
  weight = state[f'mulan.{kind}_to_latents.weight']
  return unit(x.mean(0) @ weight.T + state[f'mulan.{kind}_to_latents.bias'])


def music_law(state, sizes, samples, layer):
  """One segment through MuQ, after so many layers, and the head."""
  import torch
  from torch.nn import functional
  from transformers import audio_utils
  from transformers import initialization
  from transformers.models.wav2vec2_conformer import (
    modeling_wav2vec2_conformer as modeling,
  )

  filters = audio_utils.mel_filter_bank(
    1025, sizes.bands, 0.0, RATE / 2, RATE, norm=None, mel_scale='htk'
  )
  decibels = audio_utils.spectrogram(
    samples.astype(np.float64),
    audio_utils.window_function(2048, 'hann'),
    frame_length=2048,
    hop_length=240,
    power=2.0,
    mel_filters=filters,
    log_mel='dB',
    mel_floor=1e-10,
  )
  bands = (decibels[:, :-1] - files_lib.MEAN) / files_lib.STD
  prefix = 'mulan.audio.model.model.'
  p = {
    k.removeprefix(prefix): torch.from_numpy(v)
    for k, v in state.items()
    if k.startswith(prefix) and v.dtype == np.float32
  }

  def conv(x, name, number, stride):
    key = f'conv.conv.{name}.conv{number}'
    x = functional.conv2d(
      x, p[f'{key}.weight'], p[f'{key}.bias'], stride, padding=1
    )
    key = f'conv.conv.{name}.bn{number}'
    return functional.batch_norm(
      x,
      p[f'{key}.running_mean'],
      p[f'{key}.running_var'],
      p[f'{key}.weight'],
      p[f'{key}.bias'],
    )

  with torch.no_grad():
    x = torch.from_numpy(bands.astype(np.float32))[None, None]
    for block in range(2):
      y = conv(torch.relu(conv(x, block, 1, 2)), block, 2, 1)
      x = torch.relu(y + conv(x, block, 3, 2))
    # Channels of a frame one after the other, each with all its bands.
    x = torch.stack([x[0, :, :, t].reshape(-1) for t in range(x.shape[-1])])
    x = functional.linear(x, p['conv.linear.weight'], p['conv.linear.bias'])
    import transformers

    config = transformers.Wav2Vec2ConformerConfig(
      **sizes.muq()['w2v2_config'],
      hidden_size=sizes.width,
      num_hidden_layers=sizes.depth,
    )
    with initialization.no_init_weights():
      encoder = modeling.Wav2Vec2ConformerEncoder(config).eval()
    own = {
      k.removeprefix('conformer.'): v
      for k, v in p.items()
      if k.startswith('conformer.layer')
    }
    told = encoder.load_state_dict(own, strict=False)
    assert not told.unexpected_keys
    assert all('embed' in k or 'num_batches' in k for k in told.missing_keys)
    x = x[None]
    positions = encoder.embed_positions(x)
    for one in encoder.layers[:layer]:
      x = one(x, relative_position_embeddings=positions)
      x = x[0] if isinstance(x, tuple) else x
    x = encoder.layer_norm(x) if layer == sizes.depth else x
  x = x[0].numpy() @ state['mulan.audio.proj.weight'].T
  return head(state, sizes, 'audio', x + state['mulan.audio.proj.bias'])


def text_law(state, sizes, folder, text):
  import torch
  import transformers
  from transformers import initialization

  config = transformers.XLMRobertaConfig.from_pretrained(folder)
  with initialization.no_init_weights():
    model = transformers.XLMRobertaModel(config).eval()
  prefix = 'mulan.text.model.'
  own = {
    k.removeprefix(prefix): torch.from_numpy(v)
    for k, v in state.items()
    if k.startswith(prefix)
  }
  model.load_state_dict(own, strict=True)
  words = '<s> <pad> </s> <unk> calm piano loud rock guitar and drums'.split()
  ids = [words.index(w) for w in ['<s>', *text.split(), '</s>']]
  with torch.no_grad():
    hidden = model(torch.tensor([ids])).last_hidden_state[0].numpy()
  return head(state, sizes, 'text', hidden)


def music(seconds):
  rng = np.random.default_rng(1)
  samples = rng.normal(0, 0.1, round(seconds * RATE)).cumsum() * 0.01
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE)


def test_music_is_the_mean_over_segments(network, state):
  item = music(17.0)
  padded = np.pad(item.samples, (0, 3 * RATE)).reshape(2, -1)
  rows = [music_law(state, TINY, x, TINY.depth) for x in padded]
  assert np.abs(rows[0] - rows[1]).max() > 1e-3
  got = text_music.MusicStyle(STREAM, network)(item)
  np.testing.assert_allclose(got[0], unit(np.mean(rows, 0)), atol=1e-4)


def test_a_layer_in_the_middle_is_not_normalised_again(state, tmp_path):
  files = files_lib.write(tmp_path, state, layer=2)
  item = music(10.0)
  got = muq_mulan.MuQMuLan(**files).embed_music(item.samples[None])[0]
  np.testing.assert_allclose(
    got, music_law(state, TINY, item.samples, 2), atol=1e-4
  )


def test_a_text_is_the_same_alone_and_beside_a_longer_one(
  network, state, files
):
  rows = network.embed_texts(TEXTS)
  extract = text_music.TextStyle(STREAM, network)
  for text, row in zip(TEXTS, rows, strict=True):
    wanted = text_law(state, TINY, files['text'], text)
    np.testing.assert_allclose(row, wanted, atol=1e-5)
    np.testing.assert_allclose(extract(text)[0], wanted, atol=1e-5)
  assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_a_text_that_is_too_long_is_cut(network):
  assert network.embed_texts(['rock ' * 100]).shape == (1, TINY.joint)


@pytest.mark.slow
def test_the_published_size_gives_what_is_written_here(tmp_path):
  # All but the vocabulary, which is looked up and no more.
  state = files_lib.tensors(FULL)
  files = files_lib.write(tmp_path, state, FULL)
  samples = music(2.0).samples  # Of the ten that are heard: less to compute.
  wanted = music_law(state, FULL, samples, FULL.depth)
  text = text_law(state, FULL, files['text'], TEXTS[0])
  del state
  network = muq_mulan.MuQMuLan(**files)
  shutil.rmtree(tmp_path / 'mulan')  # 2 GB, which pytest would keep.
  assert wanted.shape == text.shape == (512,)
  (row,) = network.embed_music(samples[None])
  np.testing.assert_allclose(row, wanted, rtol=0, atol=1e-4)
  (row,) = network.embed_texts(TEXTS[:1])
  np.testing.assert_allclose(row, text, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (
      lambda s: s.pop('mulan.audio.proj.weight'),
      r'has no .mulan.audio.proj.*\[12, 16\]',
    ),
    (
      lambda s: s.update({'mulan.text_to_latents.bias': np.zeros(3)}),
      r'float64 \[3\] as .mulan.text_to_latents.bias.*shape \[10\]',
    ),
    (
      lambda s: s.update({'mulan.text_to_latents.bias': np.zeros(10, int)}),
      r'int64 \[10\] as .mulan.text_to_latents.bias.*wanted floats',
    ),
    (
      lambda s: s.update({'mulan.text.more': np.zeros(3)}),
      'mulan.text.more.*config.json has not',
    ),
  ],
)
def test_a_wrong_tensor_is_named(state, tmp_path, change, said):
  other = dict(state)
  change(other)
  with pytest.raises(ValueError, match=said):
    muq_mulan.MuQMuLan(**files_lib.write(tmp_path, other))


def test_missing_files_say_what_to_get(files, tmp_path):
  with pytest.raises(FileNotFoundError) as caught:
    muq_mulan.MuQMuLan(tmp_path)
  assert 'huggingface.co/OpenMuQ/MuQ-MuLan-large' in str(caught.value)
  assert str(tmp_path) in str(caught.value)
  with pytest.raises(FileNotFoundError, match='hf download a/muq'):
    muq_mulan.MuQMuLan(files['source'])
