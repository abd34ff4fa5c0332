"""MusicCaps: 5.5k clips of ten seconds with captions (Agostinelli et al. 2023).

Evaluation only, of video with text: https://arxiv.org/abs/2301.11325.
"""

from tasks import paper_stages
from v2meow_jax.data import records
from v2meow_jax.data import task_builder

SOURCE = records.RecordSource('musiccaps', splits=('validation',))
for stage in paper_stages.WITH_VIDEO:
  task_builder.add_task('musiccaps', stage, SOURCE)
