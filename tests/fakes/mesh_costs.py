"""Program: what XLA plans for a training step on each of several meshes.

`python -m tests.fakes.mesh_costs KIND:MESH...`, with a mesh as 'data,fsdp,
tensor' or 'data,fsdp,tensor/microbatches', prints as json for each the bytes of
temporaries and the FLOPs of one device.
"""

import dataclasses
import json
import sys

import jax
import numpy as np

from tests.fakes import contrastive_losses
from tests.fakes import mesh_losses
from tests.fakes import token_stage
from v2meow_jax import specs
from v2meow_jax.models import towers
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import plan
from v2meow_jax.training import schedules

ROWS = 32
# Long enough that attention is most of the memory, as at full size.
STAGE = dataclasses.replace(
  mesh_losses.STAGE,
  inputs=(specs.FeatureSpec(name='picture', dim=16, rate_hz=8.0),),
  target=specs.TokenSpec(name='melody', codebook_size=128, rate_hz=32.0),
  crop_seconds=4.0,
)
NOTES = specs.TokenSpec(name='notes', codebook_size=64, rate_hz=16.0)
SIZES = dataclasses.replace(
  mesh_losses.SIZES, emb_dim=64, head_dim=8, mlp_dim=128, time_bias=True
)
DECODER = dataclasses.replace(SIZES, num_encoder_layers=0, time_bias=False)
# As at full size; of twice the length, so that there are several blocks.
BLOCKWISE = dataclasses.replace(
  SIZES, scan_layers=True, remat=True, fused_attention=True
)
MODELS = {
  'encoder': token_stage.make(STAGE, SIZES),
  'decoder': token_stage.make(
    dataclasses.replace(STAGE, inputs=(NOTES,)), DECODER
  ),
  'blockwise': token_stage.make(
    dataclasses.replace(STAGE, crop_seconds=8.0), BLOCKWISE
  ),
  'towers': towers.ContrastiveModel(
    dataclasses.replace(
      contrastive_losses.CONFIG, emb_dim=64, num_heads=8, mlp_dim=128
    )
  ),
}


def example(kind):
  if kind == 'towers':
    return {
      'text_ids': np.zeros((ROWS, 128), np.int32),
      'log_mel': np.zeros((ROWS, 64, 32), np.float32),
    }
  return MODELS[kind].example_batch(ROWS)


def costs(kind, name):
  sizes, _, microbatches = name.partition('/')
  mesh = mesh_lib.make_mesh(*map(int, sizes.split(',')))
  split = mesh_lib.batch_sharding(mesh, mesh_lib.DEFAULT_RULES)

  def placed(x, sharding):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  batch = {name: placed(x, split) for name, x in example(kind).items()}
  planned = plan.plan(
    MODELS[kind],
    batch,
    schedule=schedules.warmup_rsqrt(1e-2, 2),
    mesh=mesh,
    num_microbatches=int(microbatches or 1),
  )
  state = jax.tree.map(placed, planned.shapes, planned.shardings)
  key = jax.eval_shape(lambda: jax.random.key(0))
  key = placed(key, mesh_lib.replicated(mesh))
  program = planned.train_step.lower(state, batch, key).compile()
  return {
    'bytes': program.memory_analysis().temp_size_in_bytes,
    'flops': program.cost_analysis()['flops'],
  }


if __name__ == '__main__':
  print(json.dumps({arg: costs(*arg.split(':')) for arg in sys.argv[1:]}))
