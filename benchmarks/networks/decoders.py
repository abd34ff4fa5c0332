"""Samplers of one encoder-decoder for `benchmarks.decode`: ours and others'.

Each function takes a stage of ours, its parameters and ids to read, and makes a
function that writes the likeliest ids one after the other and waits for them,
int[batch, length]. All have the same weights, in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import training
from v2meow_jax.pretrained import hub

Decode = Callable[[], np.ndarray]
Params = Mapping[str, Any]


def ours(model: Any, params: Params, read: np.ndarray) -> Decode:
  """Our sampler, at temperature 0."""
  import jax

  from v2meow_jax.models.sampling import options

  inputs = {'encoder_inputs_read': jax.device_put(read)}
  params = jax.device_put(params)
  rngs = jax.random.split(jax.random.key(0), len(read))
  coldest = options.Sampling(temperature=0.0)
  return lambda: np.asarray(model.sample_batch(params, inputs, rngs, coldest))


def t5x(model: Any, params: Params, read: np.ndarray) -> Decode:
  """T5X's temperature sampling, at 0; ImportError where it is not installed."""
  # First of all, since reading TensorFlow and SeqIO takes seconds.
  network = training.t5x_network(model)
  import jax
  import jax.numpy as jnp
  import seqio
  from t5x import decoding
  from t5x import models

  from v2meow_jax import tokens

  vocabulary = seqio.PassThroughVocabulary(
    tokens.IdSpace(model.spec).vocab_size
  )
  theirs = models.EncoderDecoderModel(
    network,
    vocabulary,
    vocabulary,
    optimizer_def=None,  # pyright: ignore
    decode_fn=decoding.temperature_sample,
  )
  zeros = np.zeros((len(read), model.target_length), np.int32)
  batch = {'encoder_input_tokens': read, 'decoder_input_tokens': zeros}

  @jax.jit
  def predict(params, batch):
    options = {'temperature': 0.0, 'topk': 0}
    return theirs.predict_batch_with_aux(
      params, batch, rng=jax.random.PRNGKey(0), decoder_params=options
    )[0]

  renamed = jax.tree.map(jnp.asarray, t5x_params(model, params))
  arrays = jax.device_put(batch)
  return lambda: np.asarray(predict(renamed, arrays))


def t5x_params(model: Any, params: Params) -> dict[str, Any]:
  """Names the parameters of a stage as T5X's T5.1.1 network does."""
  c = model.network

  def attention(ours):
    flat = {
      k: ours[k].reshape(c.emb_dim, -1) for k in ('query', 'key', 'value')
    }
    flat['out'] = ours['out'].reshape(-1, c.emb_dim)
    return {name: {'kernel': kernel} for name, kernel in flat.items()}

  def layer(ours, own):
    named = {
      own: attention(ours['attention']),
      f'pre_{own}_layer_norm': ours['attention_norm'],
      'pre_mlp_layer_norm': ours['mlp_norm'],
      'mlp': {name: {'kernel': kernel} for name, kernel in ours['mlp'].items()},
    }
    if 'cross_attention' in ours:
      named['encoder_decoder_attention'] = attention(ours['cross_attention'])
      named['pre_cross_attention_layer_norm'] = ours['cross_norm']
    return named

  sides = {}
  for side, count, own in (
    ('encoder', c.num_encoder_layers, 'attention'),
    ('decoder', c.num_decoder_layers, 'self_attention'),
  ):
    bias = params[f'{side}_bias']['embedding']
    sides[side] = {
      'relpos_bias': {'rel_embedding': bias},
      f'{side}_norm': params[f'{side}_norm'],
      **{
        f'layers_{i}': layer(params[f'{side}_{i}'], own) for i in range(count)
      },
    }
  sides['decoder']['logits_dense'] = {'kernel': params['logits'].T}
  return {
    'token_embedder': {'embedding': params['token_embedding']},
    **sides,
  }


def hf(model: Any, params: Params, read: np.ndarray) -> Decode:
  """`generate` of Hugging Face's T5 in torch, on a GPU where JAX has one."""
  import jax
  import torch

  from v2meow_jax import tokens

  transformers = hub.import_library('transformers')
  c = model.network
  sizes = {
    'vocab_size': tokens.IdSpace(model.spec).vocab_size,
    'd_model': c.emb_dim,
    'd_kv': c.head_dim,
    'd_ff': c.mlp_dim,
    'num_heads': c.num_heads,
    'num_layers': c.num_encoder_layers,
    'num_decoder_layers': c.num_decoder_layers,
    'relative_attention_num_buckets': c.relative_num_buckets,
    'relative_attention_max_distance': c.relative_max_distance,
    'feed_forward_proj': 'gated-gelu',
    'tie_word_embeddings': False,
    'decoder_start_token_id': 0,
    'eos_token_id': None,
  }
  config = transformers.T5Config(**sizes)
  gpu = jax.default_backend() == 'gpu'
  device: Any = torch.device('cuda' if gpu else 'cpu')
  t5 = transformers.T5ForConditionalGeneration(config).eval()
  state = {k: torch.tensor(v) for k, v in hf_state(model, params).items()}
  # This class embeds ids, and makes their logits, with the same weights, whatever
  # its configuration says.
  t5.lm_head.weight = torch.nn.Parameter(state['lm_head.weight'])
  missing, unknown = t5.load_state_dict(state, strict=False)
  if unknown or any('embed_tokens' not in name for name in missing):
    raise ValueError(
      f'this version of transformers names the weights of T5 otherwise: it has'
      f' no {unknown} and wants {missing}; install that of requirements.lock.'
    )
  t5 = t5.to(device)
  ids = torch.tensor(read, device=device).long()
  length = model.target_length

  def run() -> np.ndarray:
    with torch.inference_mode():
      written = t5.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        num_beams=1,
        max_new_tokens=length,
      )
    return written[:, 1:].cpu().numpy()

  return run


def hf_state(model: Any, params: Params) -> dict[str, np.ndarray]:
  """Names the parameters of a stage as Hugging Face's T5 does."""
  c = model.network
  state = {
    'shared.weight': params['token_embedding'],
    'lm_head.weight': params['logits'],
  }

  def add_attention(place, ours, kind):
    for name, matrix in (('q', 'query'), ('k', 'key'), ('v', 'value')):
      state[f'{place}.{kind}.{name}.weight'] = (
        ours[matrix].reshape(c.emb_dim, -1).T
      )
    state[f'{place}.{kind}.o.weight'] = ours['out'].reshape(-1, c.emb_dim).T

  for side, count in (
    ('encoder', c.num_encoder_layers),
    ('decoder', c.num_decoder_layers),
  ):
    first = f'{side}.block.0.layer.0.SelfAttention'
    bias = params[f'{side}_bias']['embedding']
    state[f'{first}.relative_attention_bias.weight'] = bias.T
    state[f'{side}.final_layer_norm.weight'] = params[f'{side}_norm']['scale']
    for i in range(count):
      ours, place = params[f'{side}_{i}'], f'{side}.block.{i}.layer'
      add_attention(f'{place}.0', ours['attention'], 'SelfAttention')
      norms = ['attention_norm', 'mlp_norm']
      if 'cross_attention' in ours:
        add_attention(f'{place}.1', ours['cross_attention'], 'EncDecAttention')
        norms.insert(1, 'cross_norm')
      for j, norm in enumerate(norms):
        state[f'{place}.{j}.layer_norm.weight'] = ours[norm]['scale']
      mlp = f'{place}.{len(norms) - 1}.DenseReluDense'
      for name, kernel in ours['mlp'].items():
        state[f'{mlp}.{name}.weight'] = kernel.T
  return {name: np.ascontiguousarray(x) for name, x in state.items()}
