"""Floating-point operations of a stage, from its sizes.

Counted as for the utilisation of PaLM (Chowdhery et al. 2022, appendix B,
https://arxiv.org/abs/2204.02311): matrix products only, a multiplication and an
addition are two, attention is over the whole square although a decoder masks
half of it, and training is three times the forward pass. What remat computes
again is not counted: it is work, not progress.
"""

from __future__ import annotations

from v2meow_jax.models import adaptors
from v2meow_jax.models import sequence_model
from v2meow_jax.models import transformer


def encoder_length(model: sequence_model.SequenceModel) -> int:
  """Positions of the encoder in one example; 0 without an encoder."""
  if not model.config.num_encoder_layers:
    return 0
  return len(adaptors.encoder_layout(model.spec).order)


def forward_flops(model: sequence_model.SequenceModel) -> int:
  """Operations of the loss of one example."""
  c, spec = model.config, model.spec
  reads, writes = encoder_length(model), model.decoder_length
  encoder = _attention(c, reads, reads) + _mlp(c, reads)
  decoder = _attention(c, writes, writes) + _mlp(c, writes)
  flops = c.num_decoder_layers * decoder
  if reads:
    frames = spec.feature_lengths()
    flops += c.num_encoder_layers * encoder
    flops += c.num_decoder_layers * _attention(c, writes, reads)
    flops += sum(
      2 * frames[s.name] * s.dim * c.emb_dim for s in spec.feature_inputs
    )
  choices = spec.target.codebook_size if c.legal_loss else spec.vocab_size
  return flops + 2 * model.target_length * c.emb_dim * choices


def train_flops(model: sequence_model.SequenceModel) -> int:
  """Operations of one example in a training step."""
  return 3 * forward_flops(model)


def _attention(
  c: transformer.TransformerConfig, queries: int, keys: int
) -> int:
  """Four projections, the scores, and the sums that they weigh."""
  width = c.num_heads * c.head_dim
  projections = 2 * (queries + keys) * c.emb_dim * width
  return 2 * (projections + 2 * queries * keys * width)


def _mlp(c: transformer.TransformerConfig, length: int) -> int:
  """Gate, linear and out."""
  return 3 * 2 * length * c.emb_dim * c.mlp_dim
