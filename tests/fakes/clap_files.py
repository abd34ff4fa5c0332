"""Files of CLAP in its published layout, of random weights."""

import numpy as np

from v2meow_jax import media

RATE = 48_000


def write_tokenizer(folder):
  """vocab.json and merges.txt, which have learnt a few words."""
  import tokenizers

  bpe = tokenizers.ByteLevelBPETokenizer()
  bpe.train_from_iterator(
    ['calm piano', 'loud rock guitar', 'slow techno'],
    vocab_size=290,
    special_tokens=['<s>', '<pad>', '</s>', '<unk>', '<mask>'],
  )
  bpe.save_model(str(folder))


def write(folder, **audio_config):
  """A tiny model with random weights, and its processor, as published."""
  import torch
  import transformers

  torch.manual_seed(0)
  text = {
    'vocab_size': 300,
    'hidden_size': 16,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'intermediate_size': 24,
    'max_position_embeddings': 40,
    'projection_dim': 12,
    'initializer_range': 0.3,
  }
  audio = {
    'window_size': 4,
    'patch_embeds_hidden_size': 8,
    'hidden_size': 64,
    'depths': [1, 1, 1, 1],
    'num_attention_heads': [1, 1, 2, 2],
    'projection_dim': 12,
    'initializer_range': 0.3,
    **audio_config,
  }
  config = transformers.ClapConfig(
    text_config=text, audio_config=audio, projection_dim=12
  )
  transformers.ClapModel(config).save_pretrained(folder)
  heard = transformers.ClapFeatureExtractor(truncation='rand_trunc')
  heard.save_pretrained(folder)
  write_tokenizer(folder)
  return folder


def music(seconds, rate_hz=RATE):
  """Tones that change from second to second."""
  time = np.arange(round(seconds * rate_hz)) / rate_hz
  rising = 0.3 * np.sin(2 * np.pi * (200 + 90 * np.floor(time)) * time)
  return media.Audio(samples=rising.astype(np.float32), rate_hz=rate_hz)
