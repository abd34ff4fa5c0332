"""Systems of the embedded parts whose stages are random and next to nothing."""

from flax import linen as nn
import jax

from tests.fakes import token_stage
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.files import released
from v2meow_jax.inference import export
from v2meow_jax.inference import loading
from v2meow_jax.inference import restore
from v2meow_jax.inference import system
from v2meow_jax.models import transformer

TINY = stages.TINY
SIZES = transformer.TransformerConfig(
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=8,
  num_encoder_layers=1,
  num_decoder_layers=1,
)


def levels(name, first, count):
  return specs.TokenSpec(
    name=name,
    codebook_size=256,
    rate_hz=25.0,
    num_codebooks=count,
    first_codebook=first,
    stored_as='acoustic',
  )


def stage(target, *inputs):
  return specs.StageSpec(
    name=target.name, inputs=inputs, target=target, crop_seconds=2.0
  )


MOTION, STYLE, SEMANTIC = TINY['motion'], TINY['style'], TINY['semantic']
COARSE, FINE = TINY['coarse'], levels('fine', 2, 1)
FINEST = levels('finest', 3, 1)
CHAINS = {
  'one': [stage(levels('music', 0, 4), MOTION, STYLE)],
  'two': [stage(SEMANTIC, MOTION, STYLE), stage(COARSE, SEMANTIC)],
  'four': [
    stage(SEMANTIC, MOTION),
    stage(COARSE, SEMANTIC, MOTION),
    stage(FINE, COARSE),
    stage(FINEST, FINE),
  ],
}
FINEST_OF_COARSE = stage(FINEST, COARSE)


def random_stage(spec):
  model = token_stage.make(spec, SIZES)
  variables = model.init(jax.random.key(0), model.example_batch(1))
  params = nn.unbox(variables['params'])
  return restore.released(model.describe()), params, 0


def embedded_parts():
  config = loading.upgraded(released.read_config(system.SHIPPED['tiny']))
  return [
    part for part, _ in loading.read_parts(system.SHIPPED['tiny'], config)
  ]


def pack(out, chain):
  return export.pack(
    str(out),
    stages=map(random_stage, chain),
    parts=embedded_parts(),
    name='random',
    weights='float32',
    licence='random numbers',
  )
