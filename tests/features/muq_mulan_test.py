"""MuQ-MuLan's published layout gives what a forward pass written here gives.

The parameters are named by modules that are nested as the published ones are;
mel bands are those of transformers' numpy functions.
"""

import json

import numpy as np
import pytest
from safetensors import numpy as st

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.features import muq_mulan
from v2meow_jax.features import text_music

pytestmark = pytest.mark.torch

RATE = 24_000
BANDS, CHANNELS, WIDTH, DEPTH, DIM, JOINT = 16, 6, 16, 3, 12, 10
HEADS, HEAD_DIM = 2, 4
MEAN, STD = 6.5, 18.0
STREAM = specs.FeatureSpec(name='style', dim=JOINT, rate_hz=0.0)
TEXTS = ('calm piano', 'loud rock guitar and drums')
HEAD = {'dim': DIM, 'heads': HEADS, 'dim_head': HEAD_DIM, 'ff_mult': 4}
CONFIG = {
  'mulan': {'sr': RATE, 'clip_secs': 10, 'dim_latent': JOINT},
  'audio_model': {'name': 'a/muq', 'model_dim': WIDTH, 'use_layer_idx': -1},
  'text_model': {'name': 'a/roberta', 'model_dim': DIM, 'use_layer_idx': -1},
  'audio_transformer': {**HEAD, 'tf_depth': 2},
  'text_transformer': {**HEAD, 'tf_depth': 1, 'max_seq_len': 1024},
}
MUQ = {
  'label_rate': 25,
  'n_mels': BANDS,
  'conv_dim': CHANNELS,
  'encoder_dim': WIDTH,
  'encoder_depth': DEPTH,
  'stat': {'melspec_2048_mean': MEAN, 'melspec_2048_std': STD},
  'w2v2_config': {
    'num_attention_heads': 2,
    'intermediate_size': 20,
    'position_embeddings_type': 'rotary',
    'hidden_act': 'swish',
    'num_conv_pos_embeddings': 16,
    'num_conv_pos_embedding_groups': 4,
    'conv_depthwise_kernel_size': 5,
  },
}


def tensors():
  """Random weights by their published names, those of training among them."""
  rng = np.random.default_rng(0)
  found = {}

  def add(name, *shape, mean=0.0, deviation=None):
    fan = np.prod(shape[1:]) if len(shape) > 1 else 25
    deviation = fan**-0.5 if deviation is None else deviation
    values = mean + deviation * rng.standard_normal(shape)
    found[f'mulan.{name}'] = values.astype(np.float32)

  def dense(name, outputs, inputs):
    add(f'{name}.weight', outputs, inputs)
    add(f'{name}.bias', outputs)

  def norm(name, width):
    add(f'{name}.weight', width, mean=1.0)
    add(f'{name}.bias', width)

  muq = 'audio.model.model'
  for i, inputs in enumerate((1, CHANNELS)):
    for j, wide in ((1, inputs), (2, CHANNELS), (3, inputs)):
      block = f'{muq}.conv.conv.{i}'
      add(f'{block}.conv{j}.weight', CHANNELS, wide, 3, 3)
      add(f'{block}.conv{j}.bias', CHANNELS)
      norm(f'{block}.bn{j}', CHANNELS)
      add(f'{block}.bn{j}.running_mean', CHANNELS)
      add(f'{block}.bn{j}.running_var', CHANNELS, mean=1.0, deviation=0.05)
      found[f'mulan.{block}.bn{j}.num_batches_tracked'] = np.array(7)
  dense(f'{muq}.conv.linear', WIDTH, CHANNELS * BANDS // 4)
  for i in range(DEPTH):
    layer = f'{muq}.conformer.layers.{i}'
    for name in ('ffn1', 'ffn2'):
      norm(f'{layer}.{name}_layer_norm', WIDTH)
      dense(f'{layer}.{name}.intermediate_dense', 20, WIDTH)
      dense(f'{layer}.{name}.output_dense', WIDTH, 20)
    norm(f'{layer}.self_attn_layer_norm', WIDTH)
    for name in ('q', 'k', 'v', 'out'):
      dense(f'{layer}.self_attn.linear_{name}', WIDTH, WIDTH)
    conv = f'{layer}.conv_module'
    norm(f'{conv}.layer_norm', WIDTH)
    add(f'{conv}.pointwise_conv1.weight', 2 * WIDTH, WIDTH, 1)
    add(f'{conv}.depthwise_conv.weight', WIDTH, 1, 5)
    norm(f'{conv}.batch_norm', WIDTH)
    add(f'{conv}.batch_norm.running_mean', WIDTH)
    add(f'{conv}.batch_norm.running_var', WIDTH, mean=1.0, deviation=0.05)
    add(f'{conv}.pointwise_conv2.weight', WIDTH, WIDTH, 1)
    norm(f'{layer}.final_layer_norm', WIDTH)
  norm(f'{muq}.conformer.layer_norm', WIDTH)
  add(f'{muq}.conformer.embed_positions.inv_freq', 4)
  add(f'{muq}.conformer.pos_conv_embed.conv.weight_g', 1, 1, 16)
  dense(f'{muq}.linear', 32, WIDTH)
  add(f'{muq}.cls_token', WIDTH)
  dense('audio.aggregator', 1, 25)
  dense('audio.proj', DIM, WIDTH)
  add('contrast.temperature', 1)

  roberta = 'text.model'
  add(f'{roberta}.embeddings.word_embeddings.weight', 40, DIM)
  add(f'{roberta}.embeddings.position_embeddings.weight', 24, DIM)
  add(f'{roberta}.embeddings.token_type_embeddings.weight', 1, DIM)
  norm(f'{roberta}.embeddings.LayerNorm', DIM)
  for i in range(2):
    layer = f'{roberta}.encoder.layer.{i}'
    for name in ('query', 'key', 'value'):
      dense(f'{layer}.attention.self.{name}', DIM, DIM)
    dense(f'{layer}.attention.output.dense', DIM, DIM)
    norm(f'{layer}.attention.output.LayerNorm', DIM)
    dense(f'{layer}.intermediate.dense', 18, DIM)
    dense(f'{layer}.output.dense', DIM, 18)
    norm(f'{layer}.output.LayerNorm', DIM)
  dense(f'{roberta}.pooler.dense', DIM, DIM)

  for kind, depth in (('audio', 2), ('text', 1)):
    for i in range(depth):
      layer = f'{kind}.transformer.layers.{i}'
      add(f'{layer}.0.norm.learned_gamma', DIM, mean=1.0)
      add(f'{layer}.0.q_scale', HEAD_DIM, mean=1.0)
      add(f'{layer}.0.k_scale', HEAD_DIM, mean=1.0)
      add(f'{layer}.0.to_q.weight', HEADS * HEAD_DIM, DIM)
      add(f'{layer}.0.to_kv.weight', 2 * HEADS * HEAD_DIM, DIM)
      add(f'{layer}.0.to_out.0.weight', DIM, HEADS * HEAD_DIM)
      add(f'{layer}.1.0.learned_gamma', DIM, mean=1.0)
      add(f'{layer}.1.1.weight', 64, DIM)  # 2 x int(12 x 4 x 2 / 3)
      add(f'{layer}.1.4.weight', DIM, 32)
    dense(f'{kind}_to_latents', JOINT, DIM)
  return found


def write(folder, state, config=CONFIG):
  """The three folders of a download, as its keyword arguments."""
  import tokenizers
  import transformers

  for name in ('mulan', 'muq', 'roberta'):
    (folder / name).mkdir(exist_ok=True)
  st.save_file(state, folder / 'mulan' / 'pytorch_model.safetensors')
  (folder / 'mulan' / 'config.json').write_text(json.dumps(config))
  (folder / 'muq' / 'config.json').write_text(json.dumps(MUQ))
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
    hidden_size=DIM,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=18,
    max_position_embeddings=24,
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
  return tensors()


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


def head(state, kind, x):
  """The Transformer, mean and projection in numpy, head by head."""
  from scipy import special

  for i in range(CONFIG[f'{kind}_transformer']['tf_depth']):
    p = {
      k.removeprefix(f'mulan.{kind}.transformer.layers.{i}.'): v
      for k, v in state.items()
    }
    y = normalise(x) * p['0.norm.learned_gamma']
    q = y @ p['0.to_q.weight'].T
    k, v = np.split(y @ p['0.to_kv.weight'].T, 2, -1)
    outputs = []
    for h in range(HEADS):
      own = slice(h * HEAD_DIM, (h + 1) * HEAD_DIM)
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


def music_law(state, samples, layer):
  """One segment through MuQ, after so many layers, and the head."""
  import torch
  from torch.nn import functional
  from transformers import audio_utils
  from transformers.models.wav2vec2_conformer import (
    modeling_wav2vec2_conformer as modeling,
  )

  filters = audio_utils.mel_filter_bank(
    1025, BANDS, 0.0, RATE / 2, RATE, norm=None, mel_scale='htk'
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
      **MUQ['w2v2_config'], hidden_size=WIDTH, num_hidden_layers=DEPTH
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
    x = encoder.layer_norm(x) if layer == DEPTH else x
  x = x[0].numpy() @ state['mulan.audio.proj.weight'].T
  return head(state, 'audio', x + state['mulan.audio.proj.bias'])


def text_law(state, folder, text):
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
  return head(state, 'text', hidden)


def music(seconds):
  rng = np.random.default_rng(1)
  samples = rng.normal(0, 0.1, round(seconds * RATE)).cumsum() * 0.01
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE)


def test_music_is_the_mean_over_segments(network, state):
  item = music(17.0)
  padded = np.pad(item.samples, (0, 3 * RATE)).reshape(2, -1)
  rows = [music_law(state, x, DEPTH) for x in padded]
  assert np.abs(rows[0] - rows[1]).max() > 1e-3
  got = text_music.MusicEmbedding(STREAM, network)(item)
  np.testing.assert_allclose(got[0], unit(np.mean(rows, 0)), atol=1e-4)


def test_a_layer_in_the_middle_is_not_normalised_again(state, tmp_path):
  middle = {**CONFIG['audio_model'], 'use_layer_idx': 2}
  files = write(tmp_path, state, {**CONFIG, 'audio_model': middle})
  item = music(10.0)
  got = muq_mulan.MuQMuLan(**files).embed_music(item.samples[None])[0]
  np.testing.assert_allclose(got, music_law(state, item.samples, 2), atol=1e-4)


def test_a_text_is_the_same_alone_and_beside_a_longer_one(
  network, state, files
):
  rows = network.embed_texts(TEXTS)
  extract = text_music.TextEmbedding(STREAM, network)
  for text, row in zip(TEXTS, rows, strict=True):
    wanted = text_law(state, files['text'], text)
    np.testing.assert_allclose(row, wanted, atol=1e-5)
    np.testing.assert_allclose(extract(text)[0], wanted, atol=1e-5)
  assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_a_text_that_is_too_long_is_cut(network):
  assert network.embed_texts(['rock ' * 100]).shape == (1, JOINT)


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
