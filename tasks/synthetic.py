"""The synthetic world: `v2meow data synth`, then `v2meow data prepare`."""

from v2meow_jax import stages
from v2meow_jax.data import task_builder

for stage in (
  stages.semantic(
    inputs=('appearance', 'motion', 'style'), streams=stages.TINY
  ),
  stages.coarse(inputs=('semantic',), crop_seconds=4.0, streams=stages.TINY),
  stages.fine(inputs=('coarse',), crop_seconds=2.0, streams=stages.TINY),
):
  task_builder.add_task('synthetic', stage)
