"""FLOPs of traced programs against those that sizes give."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from tests.fakes import mesh_losses
from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.training.monitoring import flops

PICTURES = dataclasses.replace(
  tiny_transformer.MIXED,
  inputs=(
    *tiny_transformer.MIXED.inputs,
    specs.TokenSpec(
      name='cells', codebook_size=5, rate_hz=1.0, num_positions=9
    ),
  ),
)
SCANNED = dataclasses.replace(
  tiny_transformer.DECODER_ONLY, scan_layers=True, remat=True
)


def traced(model, differentiate=False) -> float:
  batch = model.example_batch(1)
  params = jax.eval_shape(model.init, jax.random.key(0), batch)['params']

  def loss(p):
    return model.train_loss(p, {}, batch, None)[0]

  fn = jax.grad(loss) if differentiate else loss
  return flops.matmul_flops(fn, params)


def by_hand(model) -> int:
  """Of the loss of one example, from its sizes."""
  c, spec = model.network, model.spec
  reads, writes = model.encoder_length, model.decoder_length

  def attention(queries, keys):
    # Four projections, the scores, and the sums that they weigh.
    width = c.num_heads * c.head_dim
    projections = 2 * (queries + keys) * c.emb_dim * width
    return 2 * (projections + 2 * queries * keys * width)

  def mlp(length):
    # Gate, linear and out.
    return 3 * 2 * length * c.emb_dim * c.mlp_dim

  total = c.num_decoder_layers * (attention(writes, writes) + mlp(writes))
  if reads:
    frames = spec.feature_lengths()
    total += c.num_encoder_layers * (attention(reads, reads) + mlp(reads))
    total += c.num_decoder_layers * attention(writes, reads)
    total += sum(
      2 * frames[s.name] * s.dim * c.emb_dim for s in spec.feature_inputs
    )
  choices = (
    spec.target.codebook_size
    if model.objective.legal
    else tokens.IdSpace(spec).vocab_size
  )
  return total + 2 * model.target_length * c.emb_dim * choices


@pytest.mark.slow
@pytest.mark.parametrize(
  ('spec', 'config', 'legal'),
  [
    (PICTURES, tiny_transformer.EVERYTHING, False),
    (tiny_transformer.MIXED, tiny_transformer.EVERYTHING, True),
    (tiny_transformer.TOKENS, SCANNED, False),
  ],
)
def test_forward_flops_are_those_of_the_program(spec, config, legal):
  model = token_stage.make(spec, config, legal=legal)
  assert by_hand(model) == traced(model)
  assert flops.train_flops(model, model.example_batch(2)) == 6 * by_hand(model)


def test_training_takes_three_times_as_many():
  model = token_stage.make(
    tiny_transformer.TOKENS, tiny_transformer.DECODER_ONLY
  )
  taken = flops.train_flops(model, model.example_batch(1))
  # Sums over the batch that are written as products, one in each layer.
  c = model.network
  sums = 2 * c.num_decoder_layers * c.num_heads * model.decoder_length**2
  assert taken == traced(model, differentiate=True) - sums


def test_products_are_counted_as_often_as_they_run():
  def network(x, w):
    def layer(x, w):
      return jnp.tanh(x @ w), None

    x, _ = jax.lax.scan(layer, x, w)
    return jax.jit(lambda y: y @ y.T)(x).sum()

  x, w = jnp.zeros((5, 8)), jnp.zeros((3, 8, 8))
  wanted = 3 * 2 * 5 * 8 * 8 + 2 * 5 * 5 * 8
  assert flops.matmul_flops(network, x, w) == wanted


def test_a_convolution_is_a_product_per_output():
  def convolve(x, w):
    return jax.lax.conv_general_dilated(
      x, w, (2,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC')
    )

  x, w = jnp.zeros((4, 16, 6)), jnp.zeros((5, 6, 7))
  assert flops.matmul_flops(convolve, x, w) == 2 * 4 * 8 * 7 * 5 * 6


def test_a_transformer_costs_what_its_layers_do():
  model, sizes = mesh_losses.MODEL, mesh_losses.SIZES
  batch = next(mesh_losses.batches(0))
  params = jax.eval_shape(model.init, jax.random.key(0), batch)['params']
  counted = flops.matmul_flops(
    lambda p, b: model.train_loss(p, {}, b, None)[0], params, batch
  )
  rows, reads, writes = mesh_losses.ROWS, 4, 8
  d, heads = sizes.emb_dim, sizes.num_heads * sizes.head_dim
  mlp = 3 * d * sizes.mlp_dim
  encoder = reads * (4 * d * heads + mlp) + 2 * reads**2 * heads
  own = writes * (4 * d * heads + mlp) + 2 * writes**2 * heads
  cross = 2 * d * heads * (reads + writes) + 2 * reads * writes * heads
  ends = (
    reads * 6 * d + writes * d * tokens.IdSpace(mesh_losses.STAGE).vocab_size
  )
  wanted = 2 * rows * (encoder + own + cross + ends)
  assert counted == pytest.approx(wanted, rel=0.02)


def test_an_equation_without_a_result_costs_nothing():
  x = jnp.ones((3, 5))

  def product(x):
    jax.debug.callback(lambda _: None, x)
    return x @ x.T

  assert flops.matmul_flops(product, x) == 2 * 3 * 3 * 5
