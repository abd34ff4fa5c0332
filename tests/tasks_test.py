"""Every dataset has the tasks of the stages that it can train or judge."""

import importlib

import pytest

pytestmark = pytest.mark.data

WITH_VIDEO = {'semantic', 'coarse', 'coarse_visual', 'fine'}
WORLD = {'semantic', 'coarse', 'fine'}


@pytest.mark.parametrize(
  ('module', 'stages'),
  [
    ('mv100k', {'mv100k': WITH_VIDEO}),
    ('musiccaps', {'musiccaps': WITH_VIDEO}),
    ('aistpp', {'aistpp': WITH_VIDEO}),
    ('music_only', {'music_only': {'coarse', 'fine'}}),
    ('synthetic', {'synthetic': WORLD, 'contrary': WORLD}),
  ],
)
def test_a_dataset_registers_its_stages_and_no_others(module, stages):
  import seqio

  importlib.import_module(f'tasks.{module}')
  for dataset, names in stages.items():
    registered = {
      name.removeprefix(f'{dataset}_')
      for name in seqio.TaskRegistry.names()
      if name.startswith(f'{dataset}_')
    }
    assert registered == names | {f'{name}_eval' for name in names}


def test_music_without_video_is_asked_for_no_video():
  import seqio

  importlib.import_module('tasks.music_only')
  for stage in ('coarse', 'fine'):
    task = seqio.get_mixture_or_task(f'music_only_{stage}')
    assert set(task.output_features) <= {'semantic', 'coarse', 'fine'}


def test_what_is_only_judged_has_no_split_to_train_on():
  import seqio

  for name in ('musiccaps', 'aistpp'):
    importlib.import_module(f'tasks.{name}')
    task = seqio.get_mixture_or_task(f'{name}_semantic_eval')
    assert list(task.splits) == ['validation']
