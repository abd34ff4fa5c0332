"""Importing this registers `<dataset>_<stage>`, and `_eval`, with SeqIO."""

from tasks import datasets
from v2meow_jax.data import task_builder

for _dataset in datasets.DATASETS:
  for _stage in _dataset.stages:
    task_builder.add_task(_dataset, _stage)
