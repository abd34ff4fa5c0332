"""Logits equal those of an independent T5 v1.1 on the same weights."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.fakes import tiny_transformer
from v2meow_jax import tokens
from v2meow_jax.models import position_bias

pytestmark = pytest.mark.torch


def _kernel(module):
  return module.weight.detach().numpy().T


def _attention(t5, num_heads):
  def heads(module):
    kernel = _kernel(module)
    return kernel.reshape(kernel.shape[0], num_heads, -1)

  out = _kernel(t5.o)
  return {
    'query': heads(t5.q),
    'key': heads(t5.k),
    'value': heads(t5.v),
    'out': out.reshape(num_heads, -1, out.shape[-1]),
  }


def _norm(module):
  return {'scale': module.weight.detach().numpy()}


def _mlp(t5):
  names = ('wi_0', 'wi_1', 'wo')
  return {n: _kernel(getattr(t5.DenseReluDense, n)) for n in names}


def _params_of(t5, num_heads):
  """The parameters of a `Transformer` from those of Hugging Face's T5."""

  def relative(stack):
    attention = stack.block[0].layer[0].SelfAttention
    return {'embedding': _kernel(attention.relative_attention_bias)}

  params = {
    'token_embedding': t5.shared.weight.detach().numpy(),
    'logits': t5.lm_head.weight.detach().numpy(),
    'encoder_bias': relative(t5.encoder),
    'decoder_bias': relative(t5.decoder),
    'encoder_norm': _norm(t5.encoder.final_layer_norm),
    'decoder_norm': _norm(t5.decoder.final_layer_norm),
  }
  for name, stack in (('encoder', t5.encoder), ('decoder', t5.decoder)):
    for i, block in enumerate(stack.block):
      attention, *cross, mlp = block.layer
      layer = {
        'attention': _attention(attention.SelfAttention, num_heads),
        'attention_norm': _norm(attention.layer_norm),
        'mlp': _mlp(mlp),
        'mlp_norm': _norm(mlp.layer_norm),
      }
      if cross:
        layer['cross_attention'] = _attention(
          cross[0].EncDecAttention, num_heads
        )
        layer['cross_norm'] = _norm(cross[0].layer_norm)
      params[f'{name}_{i}'] = layer
  return params


def test_logits_equal_those_of_t5():
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  c = dataclasses.replace(tiny_transformer.SIZES, relative_max_distance=20)
  model, ours = tiny_transformer.make(tiny_transformer.TOKENS, c)
  torch.manual_seed(0)
  config = transformers.T5Config(
    vocab_size=tokens.IdSpace(model.spec).vocab_size,
    d_model=c.emb_dim,
    d_kv=c.head_dim,
    d_ff=c.mlp_dim,
    num_heads=c.num_heads,
    num_layers=c.num_encoder_layers,
    num_decoder_layers=c.num_decoder_layers,
    relative_attention_num_buckets=c.relative_num_buckets,
    relative_attention_max_distance=c.relative_max_distance,
    feed_forward_proj='gated-gelu',
    tie_word_embeddings=False,
  )
  t5 = transformers.T5ForConditionalGeneration(config).eval()
  # Norms start at one and biases near zero: make every weight count.
  with torch.no_grad():
    for p in t5.parameters():
      p.add_(0.1 * torch.randn_like(p))
  params = _params_of(t5, c.num_heads)
  assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, ours)
  batch = tiny_transformer.random_batch(model)
  with torch.no_grad():
    theirs = t5(
      input_ids=torch.tensor(batch['encoder_inputs_melody']).long(),
      decoder_input_ids=torch.tensor(batch['decoder_input_tokens']).long(),
    ).logits.numpy()
  logits = tiny_transformer.logits(model, params, batch)
  assert np.abs(theirs).max() > 1
  np.testing.assert_allclose(logits, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('bidirectional', [True, False])
def test_buckets_equal_those_of_t5(bidirectional):
  torch = pytest.importorskip('torch')
  modeling = pytest.importorskip('transformers.models.t5.modeling_t5')
  distance = np.arange(-3000, 3001)
  theirs = modeling.T5Attention._relative_position_bucket(
    torch.tensor(distance), bidirectional, 32, 128
  )
  ours = position_bias.relative_buckets(distance, 32, 128, bidirectional)
  np.testing.assert_array_equal(ours, theirs.numpy())
