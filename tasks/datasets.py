"""The table of datasets, which the trainer, SeqIO and T5X read.

A new one is a row. `tasks/seqio_tasks.py` registers all rows with SeqIO.
"""

import dataclasses
from typing import Any

from v2meow_jax import stages
from v2meow_jax.data import datasets

# Stage 2 with sight is a coarse stage too; its tasks need a name of their own.
_VISUAL = dataclasses.replace(
  stages.coarse(inputs=('semantic', 'clip', 'flow')), name='coarse_visual'
)
_PAPER = (stages.semantic(), stages.coarse(), _VISUAL, stages.fine())
_WORLD = (
  stages.semantic(
    inputs=('appearance', 'motion', 'style'), streams=stages.TINY
  ),
  stages.coarse(inputs=('semantic',), crop_seconds=4.0, streams=stages.TINY),
  stages.fine(inputs=('coarse',), crop_seconds=2.0, streams=stages.TINY),
)
_FLOW = stages.flow_music(
  inputs=('patches',), crop_seconds=4.0, streams=stages.TINY
)
# Music without a picture.
_PLANNED = stages.semantic(inputs=('style', 'plan'), streams=stages.TINY)
_PLANNED_FLOW = stages.flow_music(
  inputs=('plan', 'style'),
  crop_seconds=8.0,
  streams=stages.tiny_streams(latent_dim=112),
)
_OF_THE_OWNERS = 'clips: those of their owners on YouTube'


def _made_here(more_terms: str = '', **fields: Any) -> datasets.Dataset:
  """A row of what `v2meow data synth` makes."""
  return datasets.Dataset(
    licence='made here, free of rights',
    terms=f'v2meow_jax/synthetic, LICENSE{more_terms}',
    **fields,
  )


DATASETS = (
  datasets.Dataset(
    name='mv100k',
    about='110k music videos of YouTube-8M (Suris et al. 2022), 4 in 5 train',
    page='https://research.google.com/youtube8m',
    licence=f'{_OF_THE_OWNERS}; labels: CC BY 4.0',
    terms='https://research.google.com/youtube8m/download.html; which 110k'
    ' videos they are was found nowhere',
    stages=_PAPER,
  ),
  datasets.Dataset(
    name='disco_mv',
    about='2.2M music videos (Lin et al. 2024); the list is not public, so yours',
    page='https://arxiv.org/abs/2409.07450',
    licence=_OF_THE_OWNERS,
    terms='https://huggingface.co/DISCOX has DISCO-10M, from which it was drawn',
    stages=(stages.music(),),
  ),
  datasets.Dataset(
    name='music_only',
    about='music without video, such as stages 2 without sight and 3 read',
    page='the manifest that it was prepared from',
    licence='that of the recordings',
    terms='the manifest that it was prepared from',
    stages=(stages.coarse(), stages.fine()),
  ),
  datasets.Dataset(
    name='musiccaps',
    about='5.5k clips of 10 s with captions (Agostinelli et al. 2023)',
    page='https://arxiv.org/abs/2301.11325',
    licence=f'{_OF_THE_OWNERS}; captions: CC BY-SA 4.0',
    terms='https://huggingface.co/datasets/google/MusicCaps',
    splits=('validation',),
    stages=(*_PAPER, stages.music()),
    evaluation_only='the paper evaluates video with text on all of it',
  ),
  datasets.Dataset(
    name='aistpp',
    about='dances to music (Li et al. 2021), the 20 videos held out by others',
    page='https://google.github.io/aistplusplus_dataset',
    licence='videos: academic research only; annotations: CC BY 4.0',
    terms='https://google.github.io/aistplusplus_dataset/factsfigures.html;'
    ' https://aistdancedb.ongaaccel.jp/terms_of_use/ was read in citations only',
    splits=('validation',),
    stages=_PAPER,
    evaluation_only='its rhythm is judged without training on dances',
  ),
  _made_here(
    name='synthetic',
    about='the synthetic world: music that goes with its picture',
    page='v2meow data synth',
    stages=_WORLD,
  ),
  _made_here(
    name='contrary',
    about='the synthetic world with --surprise: pictures of another genre',
    page='v2meow data synth --surprise',
    stages=_WORLD,
  ),
  _made_here(
    name='muvi_world',
    about='the synthetic world as patches and latents: prepare/muvi_tiny.gin',
    page='v2meow data synth',
    stages=(_FLOW,),
  ),
  _made_here(
    name='muvi_contrary',
    about='the same with --surprise: pictures of another genre',
    page='v2meow data synth --surprise',
    stages=(_FLOW,),
  ),
  _made_here(
    name='free',
    about='music of the synthetic world, of any tempo, with its plan',
    page='v2meow data synth --freedom --sound_only',
    stages=(_PLANNED,),
  ),
  _made_here(
    name='vmas',
    about='the synthetic world with patches of its pictures ten times a second',
    page='v2meow data synth',
    stages=(stages.music(streams=stages.TINY),),
  ),
  _made_here(
    name='songs',
    about='pieces of nineteen styles with their plans, by sampled instruments',
    page='v2meow data synth --world songs',
    more_terms='; docs/songs.md on the instruments',
    stages=(_PLANNED, *_WORLD[1:]),
  ),
  _made_here(
    name='muvi_songs',
    about='the same songs as plans, styles and latents: prepare/muvi_songs.gin',
    page='v2meow data synth --world songs',
    more_terms='; docs/songs.md on the instruments',
    stages=(_PLANNED_FLOW,),
  ),
)


def get(name: str) -> datasets.Dataset:
  """The row of a dataset; of one without a row, only its name is known."""
  return {row.name: row for row in DATASETS}.get(name) or datasets.named(name)
