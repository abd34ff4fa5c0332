"""The synthetic world: `v2meow data synth`, then `v2meow data prepare`.

In `synthetic` the music is that of the picture; in `contrary`, made with
`--surprise`, pictures look like another genre's.
"""

from v2meow_jax import stages
from v2meow_jax.data import task_builder

STAGES = (
  stages.semantic(
    inputs=('appearance', 'motion', 'style'), streams=stages.TINY
  ),
  stages.coarse(inputs=('semantic',), crop_seconds=4.0, streams=stages.TINY),
  stages.fine(inputs=('coarse',), crop_seconds=2.0, streams=stages.TINY),
)
for dataset in ('synthetic', 'contrary'):
  for stage in STAGES:
    task_builder.add_task(dataset, stage)
