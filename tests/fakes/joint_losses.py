"""Program: trains a tiny stage of delayed levels on each mesh, with the loop.

`python -m tests.fakes.joint_losses OUT MESH...` with a mesh as 'data,fsdp,
tensor'; prints, as json, by mesh the losses, those of the pairs, and whether the
rows of the pairs were split over devices.
"""

import dataclasses
import json
import pathlib
import sys

from tests.fakes import delayed_stage
from tests.fakes import mesh_losses
from v2meow_jax.models.objectives import joint
from v2meow_jax.models.objectives import pair_losses
from v2meow_jax.training import loop
from v2meow_jax.training import schedules

ROWS = 16
# One layer of each kind: eight devices take long to compile for.
SIZES = dataclasses.replace(
  delayed_stage.SIZES, num_layers=2, num_dense_layers=1
)


def batches(start_step, shard=(0, 1)):
  index, count = shard
  mine = slice(index * ROWS // count, (index + 1) * ROWS // count)
  for step in range(start_step, 1000):
    batch = delayed_stage.batch(ROWS, seed=step)
    yield {key: value[mine] for key, value in batch.items()}


def run(out, name):
  folder = pathlib.Path(out) / name.replace(',', 'x')
  splits = []
  row_split = pair_losses.row_split

  def noted(num_rows):
    split = row_split(num_rows)
    splits.append(split.num_parts if split else 1)
    return split

  pair_losses.row_split = noted
  loop.train(
    model_dir=folder,
    model=delayed_stage.make(
      joint.Joint(weight=1.0, ramp_examples=2 * ROWS), SIZES
    ),
    train_batches=batches,
    schedule=schedules.warmup_rsqrt(1e-3, 2),
    train_steps=4,
    log_every=1,
    tensorboard=False,
    mesh=mesh_losses.make_mesh(tuple(map(int, name.split(',')))),
  )
  pair_losses.row_split = row_split
  lines = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
  rows = [m for m in lines if 'train/loss' in m]
  return {
    'parts': max(splits),
    'total': [m['train/total_loss'] for m in rows],
    'pairs': [m['train/pair_loss'] for m in rows],
    'negatives': rows[-1]['train/negatives'],
  }


if __name__ == '__main__':
  print(json.dumps({name: run(sys.argv[1], name) for name in sys.argv[2:]}))
