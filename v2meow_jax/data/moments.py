"""Stores moments of the streams of a dataset with its records."""

from collections.abc import Iterable
from collections.abc import Mapping
import json
import os
from typing import Any

import numpy as np

from v2meow_jax import specs
from v2meow_jax.clusters import standardize
from v2meow_jax.data import datasets
from v2meow_jax.data import record_source
from v2meow_jax.files import atomic
from v2meow_jax.files import paths

FILE = 'moments.json'


def to_json(moments: Mapping[str, standardize.Moments]) -> dict[str, Any]:
  """Converts moments by stream to JSON data, without loss."""
  return {
    name: {
      'count': m.count,
      'mean': m.mean.tolist(),
      'spread': m.spread.tolist(),
    }
    for name, m in sorted(moments.items())
  }


def from_json(data: Mapping[str, Any]) -> dict[str, standardize.Moments]:
  """Inverts `to_json`."""
  return {
    name: standardize.Moments(
      count=row['count'],
      mean=np.array(row['mean']),
      spread=np.array(row['spread']),
    )
    for name, row in data.items()
  }


def merged(
  several: Iterable[Mapping[str, standardize.Moments]],
) -> dict[str, standardize.Moments]:
  """Merges moments of rows that are apart, by stream."""
  total: dict[str, standardize.Moments] = {}
  for moments in several:
    for name, part in moments.items():
      total[name] = total[name].merged(part) if name in total else part
  return total


def write(directory: str, moments: Mapping[str, standardize.Moments]) -> None:
  """Writes count, mean and deviation of each dimension of some streams."""
  rows = {}
  for name, stream in sorted(moments.items()):
    params = {k: x.tolist() for k, x in stream.params().items()}
    rows[name] = {'count': stream.count, **params}
  text = json.dumps(rows, indent=1) + '\n'
  atomic.write_text(os.path.join(directory, FILE), text)


def read(directory: str) -> dict[str, dict[str, list[float]]]:
  """Reads 'mean' and 'std' of each stream; {} where none are stored.

  Raises:
    ValueError: The file is damaged.
  """
  path = paths.path(directory) / FILE
  if not path.exists():
    return {}
  text = path.read_bytes()
  try:
    return {
      name: {k: [float(x) for x in row[k]] for k in ('mean', 'std')}
      for name, row in json.loads(text).items()
    }
  except (ValueError, TypeError, KeyError, AttributeError) as e:
    raise ValueError(
      f'{path} does not hold moments of streams ({e}); copy it again, or prepare'
      ' the dataset again.'
    ) from e


def of_dataset(
  dataset: str | datasets.Dataset, stage: specs.StageSpec
) -> dict[str, dict[str, list[float]]]:
  """Reads the moments of a stage's continuous streams; {} without records.

  Args:
    dataset: Row of the dataset, or its folder under `$V2MEOW_DATA_DIR`.
    stage: Stage whose inputs, and continuous target, to standardise.
  """
  source = record_source.RecordSource(datasets.named(dataset).name)
  moments = read(source.directory)
  names = [s.name for s in stage.feature_streams if not s.is_static]
  return {name: moments[name] for name in names if name in moments}
