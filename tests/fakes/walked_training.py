"""A dataset of the embedded streams, and one step of training on it."""

from tests.fakes import planted_records
from v2meow_jax import stages

STREAMS = (
  *(stages.TINY[n] for n in ('appearance', 'motion', 'style', 'semantic')),
  stages.acoustic(stages.TINY),
)
BINDINGS = (
  'TRAIN_STEPS = 2',
  'WARMUP_STEPS = 1',
  'TRAIN_BATCHES = @train/batches.TaskBatches()',
  'train/batches.TaskBatches.batch_size = 2',
  *(f'{name} = 1' for name in ('NUM_LAYERS', 'NUM_HEADS')),
  *(f'{name} = 8' for name in ('EMB_DIM', 'HEAD_DIM', 'MLP_DIM')),
)


def make_extractors():
  """A clock for each stream, as `prepare` wants them."""
  video = ('appearance', 'motion')
  return {
    s.name: planted_records.Clock(s, 'video' if s.name in video else 'audio')
    for s in STREAMS
  }


def prepare(folder):
  """Writes the dataset 'synthetic' below a V2MEOW_DATA_DIR."""
  from v2meow_jax.jobs.prepare import prepare as prepare_lib

  clips = {
    f'clip{i}': ('train' if i < 4 else 'validation', {'seconds': 12.0})
    for i in range(6)
  }
  prepare_lib.prepare(
    planted_records.write_manifest(folder / 'clips', clips),
    str(folder / 'synthetic'),
    planted_records.reading(streams=STREAMS, make_extractors=make_extractors),
    progress=False,
  )


def train(folder, root):
  """Runs stage 1 for two steps, as `v2meow train` does."""
  import gin
  from v2meow_jax import gin_config

  files = ('runs/train.gin', 'stages/semantic.gin', 'tiny.gin')
  try:
    gin_config.parse(
      files, (*BINDINGS, f'MODEL_DIR = {str(folder)!r}'), (str(root / 'gin'),)
    )
    gin.get_configurable('loop.train')(config_text=gin.config_str())
  finally:
    gin.clear_config()
