"""MuQ-MuLan's published layout gives what a forward pass written here gives.

The parameters are named by modules that are nested as the published ones are;
mel bands are those of transformers' numpy functions.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors import numpy as st

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.features import muq_mulan
from v2meow_jax.features import text_music

pytestmark = pytest.mark.torch

RATE = 24_000
MEAN, STD = 6.5, 18.0
TEXTS = ('calm piano', 'loud rock guitar and drums')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """Of MuQ: its bands, convolutions and Conformer; of XLM-RoBERTa; of heads."""

  bands: int
  channels: int
  width: int
  depth: int
  muq_heads: int
  muq_wide: int
  kernel_size: int
  roberta_dim: int
  roberta_depth: int
  roberta_heads: int
  roberta_wide: int
  places: int
  dim: int
  depths: dict[str, int]
  heads: int
  head_dim: int
  joint: int

  @property
  def head_wide(self):
    """Hidden width of a head's feed-forward, a third less than four times."""
    return int(self.dim * 4 * 2 / 3)

  def config(self, layer=-1):
    """config.json of MuQ-MuLan."""
    head = {
      'dim': self.dim,
      'heads': self.heads,
      'dim_head': self.head_dim,
      'ff_mult': 4,
    }
    return {
      'mulan': {'sr': RATE, 'clip_secs': 10, 'dim_latent': self.joint},
      'audio_model': {
        'name': 'a/muq',
        'model_dim': self.width,
        'use_layer_idx': layer,
      },
      'text_model': {
        'name': 'a/roberta',
        'model_dim': self.roberta_dim,
        'use_layer_idx': -1,
      },
      'audio_transformer': {**head, 'tf_depth': self.depths['audio']},
      'text_transformer': {
        **head,
        'tf_depth': self.depths['text'],
        'max_seq_len': 1024,
      },
    }

  def muq(self):
    """config.json of MuQ."""
    return {
      'label_rate': 25,
      'n_mels': self.bands,
      'conv_dim': self.channels,
      'encoder_dim': self.width,
      'encoder_depth': self.depth,
      'stat': {'melspec_2048_mean': MEAN, 'melspec_2048_std': STD},
      'w2v2_config': {
        'num_attention_heads': self.muq_heads,
        'intermediate_size': self.muq_wide,
        'position_embeddings_type': 'rotary',
        'hidden_act': 'swish',
        'num_conv_pos_embeddings': 16,
        'num_conv_pos_embedding_groups': 4,
        'conv_depthwise_kernel_size': self.kernel_size,
      },
    }


TINY = Sizes(
  bands=16,
  channels=6,
  width=16,
  depth=3,
  muq_heads=2,
  muq_wide=20,
  kernel_size=5,
  roberta_dim=12,
  roberta_depth=2,
  roberta_heads=2,
  roberta_wide=18,
  places=24,
  dim=12,
  depths={'audio': 2, 'text': 1},
  heads=2,
  head_dim=4,
  joint=10,
)
# The defaults of `muq/muq_mulan/muq_mulan.py`; MuQ's Conformer, of which it has
# facebook/wav2vec2-conformer-rope-large-960h-ft's sizes; xlm-roberta-base.
FULL = Sizes(
  bands=128,
  channels=512,
  width=1024,
  depth=12,
  muq_heads=16,
  muq_wide=4096,
  kernel_size=31,
  roberta_dim=768,
  roberta_depth=12,
  roberta_heads=12,
  roberta_wide=3072,
  places=514,
  dim=768,
  depths={'audio': 8, 'text': 8},
  heads=8,
  head_dim=64,
  joint=512,
)
STREAM = specs.FeatureSpec(name='style', dim=TINY.joint, rate_hz=0.0)


def tensors(sizes):
  """Random weights by their published names, those of training among them."""
  rng = np.random.default_rng(0)
  found = {}

  def add(name, *shape, mean=0.0, deviation=None):
    fan = np.prod(shape[1:]) if len(shape) > 1 else 25
    deviation = fan**-0.5 if deviation is None else deviation
    values = np.float32(deviation) * rng.standard_normal(shape, np.float32)
    found[f'mulan.{name}'] = values + np.float32(mean)

  def dense(name, outputs, inputs):
    add(f'{name}.weight', outputs, inputs)
    add(f'{name}.bias', outputs)

  def norm(name, width):
    add(f'{name}.weight', width, mean=1.0)
    add(f'{name}.bias', width)

  muq = 'audio.model.model'
  for i, inputs in enumerate((1, sizes.channels)):
    for j, wide in ((1, inputs), (2, sizes.channels), (3, inputs)):
      block = f'{muq}.conv.conv.{i}'
      add(f'{block}.conv{j}.weight', sizes.channels, wide, 3, 3)
      add(f'{block}.conv{j}.bias', sizes.channels)
      norm(f'{block}.bn{j}', sizes.channels)
      add(f'{block}.bn{j}.running_mean', sizes.channels)
      add(
        f'{block}.bn{j}.running_var', sizes.channels, mean=1.0, deviation=0.05
      )
      found[f'mulan.{block}.bn{j}.num_batches_tracked'] = np.array(7)
  dense(f'{muq}.conv.linear', sizes.width, sizes.channels * sizes.bands // 4)
  for i in range(sizes.depth):
    layer = f'{muq}.conformer.layers.{i}'
    for name in ('ffn1', 'ffn2'):
      norm(f'{layer}.{name}_layer_norm', sizes.width)
      dense(f'{layer}.{name}.intermediate_dense', sizes.muq_wide, sizes.width)
      dense(f'{layer}.{name}.output_dense', sizes.width, sizes.muq_wide)
    norm(f'{layer}.self_attn_layer_norm', sizes.width)
    for name in ('q', 'k', 'v', 'out'):
      dense(f'{layer}.self_attn.linear_{name}', sizes.width, sizes.width)
    conv = f'{layer}.conv_module'
    norm(f'{conv}.layer_norm', sizes.width)
    add(f'{conv}.pointwise_conv1.weight', 2 * sizes.width, sizes.width, 1)
    add(f'{conv}.depthwise_conv.weight', sizes.width, 1, sizes.kernel_size)
    norm(f'{conv}.batch_norm', sizes.width)
    add(f'{conv}.batch_norm.running_mean', sizes.width)
    add(f'{conv}.batch_norm.running_var', sizes.width, mean=1.0, deviation=0.05)
    add(f'{conv}.pointwise_conv2.weight', sizes.width, sizes.width, 1)
    norm(f'{layer}.final_layer_norm', sizes.width)
  norm(f'{muq}.conformer.layer_norm', sizes.width)
  add(f'{muq}.conformer.embed_positions.inv_freq', 4)
  add(f'{muq}.conformer.pos_conv_embed.conv.weight_g', 1, 1, 16)
  dense(f'{muq}.linear', 32, sizes.width)
  add(f'{muq}.cls_token', sizes.width)
  dense('audio.aggregator', 1, 25)
  dense('audio.proj', sizes.dim, sizes.width)
  add('contrast.temperature', 1)

  roberta = 'text.model'
  add(f'{roberta}.embeddings.word_embeddings.weight', 40, sizes.roberta_dim)
  add(
    f'{roberta}.embeddings.position_embeddings.weight',
    sizes.places,
    sizes.roberta_dim,
  )
  add(
    f'{roberta}.embeddings.token_type_embeddings.weight', 1, sizes.roberta_dim
  )
  norm(f'{roberta}.embeddings.LayerNorm', sizes.roberta_dim)
  for i in range(sizes.roberta_depth):
    layer = f'{roberta}.encoder.layer.{i}'
    for name in ('query', 'key', 'value'):
      dense(
        f'{layer}.attention.self.{name}', sizes.roberta_dim, sizes.roberta_dim
      )
    dense(
      f'{layer}.attention.output.dense', sizes.roberta_dim, sizes.roberta_dim
    )
    norm(f'{layer}.attention.output.LayerNorm', sizes.roberta_dim)
    dense(f'{layer}.intermediate.dense', sizes.roberta_wide, sizes.roberta_dim)
    dense(f'{layer}.output.dense', sizes.roberta_dim, sizes.roberta_wide)
    norm(f'{layer}.output.LayerNorm', sizes.roberta_dim)
  dense(f'{roberta}.pooler.dense', sizes.roberta_dim, sizes.roberta_dim)

  for kind, depth in sizes.depths.items():
    for i in range(depth):
      layer = f'{kind}.transformer.layers.{i}'
      add(f'{layer}.0.norm.learned_gamma', sizes.dim, mean=1.0)
      add(f'{layer}.0.q_scale', sizes.head_dim, mean=1.0)
      add(f'{layer}.0.k_scale', sizes.head_dim, mean=1.0)
      add(f'{layer}.0.to_q.weight', sizes.heads * sizes.head_dim, sizes.dim)
      add(
        f'{layer}.0.to_kv.weight', 2 * sizes.heads * sizes.head_dim, sizes.dim
      )
      add(f'{layer}.0.to_out.0.weight', sizes.dim, sizes.heads * sizes.head_dim)
      add(f'{layer}.1.0.learned_gamma', sizes.dim, mean=1.0)
      add(f'{layer}.1.1.weight', 2 * sizes.head_wide, sizes.dim)
      add(f'{layer}.1.4.weight', sizes.dim, sizes.head_wide)
    dense(f'{kind}_to_latents', sizes.joint, sizes.dim)
  return found


def write(folder, state, sizes=TINY, layer=-1):
  """The three folders of a download, as its keyword arguments."""
  import tokenizers
  import transformers

  for name in ('mulan', 'muq', 'roberta'):
    (folder / name).mkdir(exist_ok=True)
  st.save_file(state, folder / 'mulan' / 'pytorch_model.safetensors')
  (folder / 'mulan' / 'config.json').write_text(json.dumps(sizes.config(layer)))
  (folder / 'muq' / 'config.json').write_text(json.dumps(sizes.muq()))
  words = 'calm piano loud rock guitar and drums'.split()
  vocabulary = ['<s>', '<pad>', '</s>', '<unk>', *words]
  tokenizer = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(
      {w: i for i, w in enumerate(vocabulary)}, unk_token='<unk>'
    )
  )
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  tokenizer.post_processor = tokenizers.processors.RobertaProcessing(
    ('</s>', 2), ('<s>', 0)
  )
  transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, pad_token='<pad>', unk_token='<unk>'
  ).save_pretrained(folder / 'roberta')
  transformers.XLMRobertaConfig(
    vocab_size=40,
    hidden_size=sizes.roberta_dim,
    num_hidden_layers=sizes.roberta_depth,
    num_attention_heads=sizes.roberta_heads,
    intermediate_size=sizes.roberta_wide,
    max_position_embeddings=sizes.places,
    type_vocab_size=1,
    pad_token_id=1,
  ).save_pretrained(folder / 'roberta')
  return {
    'source': folder / 'mulan',
    'muq': folder / 'muq',
    'text': folder / 'roberta',
  }


@pytest.fixture(scope='module')
def state():
  return tensors(TINY)


@pytest.fixture(scope='module')
def files(state, tmp_path_factory):
  return write(tmp_path_factory.mktemp('muq_mulan'), state)


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
  bands = (decibels[:, :-1] - MEAN) / STD
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

  config = transformers.XLMRobertaConfig.from_pretrained(folder)
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
  got = text_music.MusicEmbedding(STREAM, network)(item)
  np.testing.assert_allclose(got[0], unit(np.mean(rows, 0)), atol=1e-4)


def test_a_layer_in_the_middle_is_not_normalised_again(state, tmp_path):
  files = write(tmp_path, state, layer=2)
  item = music(10.0)
  got = muq_mulan.MuQMuLan(**files).embed_music(item.samples[None])[0]
  np.testing.assert_allclose(
    got, music_law(state, TINY, item.samples, 2), atol=1e-4
  )


def test_a_text_is_the_same_alone_and_beside_a_longer_one(
  network, state, files
):
  rows = network.embed_texts(TEXTS)
  extract = text_music.TextEmbedding(STREAM, network)
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
  state = tensors(FULL)
  files = write(tmp_path, state, FULL)
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
    muq_mulan.MuQMuLan(**write(tmp_path, other))


def test_missing_files_say_what_to_get(files, tmp_path):
  with pytest.raises(FileNotFoundError) as caught:
    muq_mulan.MuQMuLan(tmp_path)
  assert 'huggingface.co/OpenMuQ/MuQ-MuLan-large' in str(caught.value)
  assert str(tmp_path) in str(caught.value)
  with pytest.raises(FileNotFoundError, match='hf download a/muq'):
    muq_mulan.MuQMuLan(files['source'])
