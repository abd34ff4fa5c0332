"""MV100K: 110k music videos of YouTube-8M (Suris et al. 2022), 4 in 5 to train.

What the paper trains on and, by genre, evaluates on: `v2meow data prepare` with
the ids of https://research.google.com/youtube8m in the manifest.
"""

from tasks import paper_stages
from v2meow_jax.data import task_builder

for stage in paper_stages.WITH_VIDEO:
  task_builder.add_task('mv100k', stage)
