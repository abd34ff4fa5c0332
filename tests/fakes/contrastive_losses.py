"""Program: trains tiny towers for four steps on each mesh, with the loop.

`python -m tests.fakes.contrastive_losses OUT MESH...` with a mesh as 'data,
fsdp,tensor'; prints the losses by mesh, as json.
"""

import json
import pathlib
import sys

import numpy as np

from tests.fakes import mesh_losses
from v2meow_jax.models import towers
from v2meow_jax.training import loop
from v2meow_jax.training import schedules

CONFIG = towers.TowerSizes(
  joint_dim=8,
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=24,
  num_layers=1,
  patch_frames=4,
  patch_bands=4,
)
ROWS = 16


def batch(step):
  """Texts and spectrograms that have nothing to do with each other."""
  rng = np.random.default_rng(step)
  ids = rng.integers(2, 258, (ROWS, 12), dtype=np.int32)
  ids[np.arange(12) > rng.integers(3, 12, (ROWS, 1))] = 0
  spectra = rng.normal(size=(ROWS, 16, 8)).astype(np.float32)
  return {'text_ids': ids, 'log_mel': spectra}


def batches(start_step, shard=(0, 1)):
  index, count = shard
  mine = slice(index * ROWS // count, (index + 1) * ROWS // count)
  for step in range(start_step, 1000):
    yield {key: value[mine] for key, value in batch(step).items()}


def run(out, name):
  folder = pathlib.Path(out) / name.replace(',', 'x')
  loop.train(
    model_dir=folder,
    model=towers.ContrastiveModel(CONFIG),
    train_batches=batches,
    schedule=schedules.warmup_rsqrt(1e-3, 2),
    train_steps=4,
    log_every=1,
    tensorboard=False,
    mesh=mesh_losses.make_mesh(tuple(map(int, name.split(',')))),
  )
  lines = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
  return [m['train/loss'] for m in lines if 'train/loss' in m]


if __name__ == '__main__':
  print(json.dumps({name: run(sys.argv[1], name) for name in sys.argv[2:]}))
