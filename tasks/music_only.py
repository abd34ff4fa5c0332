"""Music without video: what stage 2 without sight and stage 3 can learn from."""

from tasks import paper_stages
from v2meow_jax.data import task_builder

for stage in paper_stages.MUSIC_ONLY:
  task_builder.add_task('music_only', stage)
