"""Program: trains a tiny stage for six steps on each mesh, with the loop.

One row of one step is infinite, so that step is to be skipped everywhere.

`python -m tests.fakes.mesh_losses OUT MESH...` with a mesh as 'data,fsdp,
tensor'; prints, as json, losses and how each parameter lies, by mesh. The mesh
'1,1,1' is one of the devices. Several processes join by V2MEOW_COORDINATOR.
"""

import json
import math
import sys

import jax
import numpy as np

from tests.fakes import token_stage
from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import transformer
from v2meow_jax.training import distributed
from v2meow_jax.training import loop
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import schedules

PICTURE = specs.FeatureSpec(name='picture', dim=6, rate_hz=2.0)
MELODY = specs.TokenSpec(name='melody', codebook_size=16, rate_hz=4.0)
STAGE = specs.StageSpec(
  name='tiny', inputs=(PICTURE,), target=MELODY, crop_seconds=2
)
SIZES = transformer.TransformerConfig(
  emb_dim=16,
  num_heads=8,
  head_dim=4,
  mlp_dim=24,
  num_encoder_layers=1,
  num_decoder_layers=1,
  dropout_rate=0.1,
)
MODEL = token_stage.make(STAGE, SIZES)
ROWS = 8
BAD_STEP = 3


def batches(start_step, shard=(0, 1)):
  index, count = shard
  mine = slice(index * ROWS // count, (index + 1) * ROWS // count)
  for step in range(start_step, 1000):
    rng = np.random.default_rng(step)
    batch = MODEL.example_batch(ROWS)
    first = tokens.IdSpace(STAGE).offset(MELODY)
    targets = first + rng.integers(16, size=(ROWS, 8), dtype=np.int32)
    batch['encoder_inputs_picture'][:] = rng.normal(size=(ROWS, 4, 6))
    if step + 1 == BAD_STEP:
      batch['encoder_inputs_picture'][-1, 0] = np.inf
    batch['decoder_target_tokens'][:] = targets
    batch['decoder_input_tokens'][:, 1:] = targets[:, :-1]
    batch['decoder_loss_weights'][:] = 1.0
    yield {key: value[mine] for key, value in batch.items()}


def make_mesh(sizes):
  if sizes == (1, 1, 1):
    one = np.array(jax.devices()[:1]).reshape(sizes)
    return jax.sharding.Mesh(one, mesh_lib.AXES)
  return mesh_lib.make_mesh(*sizes)


def layout(tree):
  """Share of each parameter that a device holds."""
  return {
    jax.tree_util.keystr(path): math.prod(x.addressable_shards[0].data.shape)
    / x.size
    for path, x in jax.tree_util.tree_leaves_with_path(tree)
  }


def run(out, name):
  state = loop.train(
    model_dir=f'{out}/{name.replace(",", "x")}',
    model=MODEL,
    train_batches=batches,
    schedule=schedules.warmup_rsqrt(1e-2, 2),
    train_steps=6,
    log_every=1,
    tensorboard=False,
    mesh=make_mesh(tuple(map(int, name.split(',')))),
    ema_decay=0.9,
  )
  return {
    'params': layout(state.params),
    'moments': layout(state.opt_state[1][0].mu),
    'average': layout(state.extras['ema_params']),
  }


if __name__ == '__main__':
  distributed.initialize()
  print(json.dumps({name: run(sys.argv[1], name) for name in sys.argv[2:]}))
