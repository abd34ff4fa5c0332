"""The stages of the paper, each with the name of its tasks."""

import dataclasses

from v2meow_jax import stages

# Stage 2 with sight is a coarse stage too; its tasks need a name of their own.
VISUAL = dataclasses.replace(
  stages.coarse(inputs=('semantic', 'clip', 'flow')), name='coarse_visual'
)
WITH_VIDEO = (stages.semantic(), stages.coarse(), VISUAL, stages.fine())
MUSIC_ONLY = (stages.coarse(), stages.fine())
