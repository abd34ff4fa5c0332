"""AIST++: dances to music (Li et al. 2021), the 20 videos held out by others.

Evaluation only, of rhythm and without training on dances: clips of ten seconds
of https://google.github.io/aistplusplus_dataset.
"""

from tasks import paper_stages
from v2meow_jax.data import records
from v2meow_jax.data import task_builder

SOURCE = records.RecordSource('aistpp', splits=('validation',))
for stage in paper_stages.WITH_VIDEO:
  task_builder.add_task('aistpp', stage, SOURCE)
