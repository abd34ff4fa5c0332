"""Files of MuQ-MuLan in its published layout, of random weights.

The names are those of modules that are nested as the published ones are:
https://github.com/tencent-ailab/MuQ.
"""

import dataclasses
import json

import numpy as np
from safetensors import numpy as st

from tests.fakes import large_noise

RATE = 24_000
MEAN, STD = 6.5, 18.0


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


def tensors(sizes):
  """Random weights by their published names, those of training among them."""
  draw = large_noise.Noise()
  found = {}

  def add(name, *shape, mean=0.0, deviation=None):
    fan = np.prod(shape[1:]) if len(shape) > 1 else 25
    deviation = fan**-0.5 if deviation is None else deviation
    found[f'mulan.{name}'] = draw(shape, mean, deviation)

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
