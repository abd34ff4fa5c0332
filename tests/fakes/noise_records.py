"""Records of noise in the streams of tiny.gin, without a clip to make them of."""

import pathlib

import numpy as np

from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.data import records
from v2meow_jax.data import shards

ACOUSTIC = specs.TokenSpec(
  name='acoustic', codebook_size=256, rate_hz=25.0, num_codebooks=4
)
NUM_EXAMPLES = {'train': 12, 'validation': 5}


def write(folder: pathlib.Path, seed: int) -> None:
  """Records of noise, in the streams of tiny.gin."""
  import tensorflow_datasets as tfds

  names = ('appearance', 'motion', 'style', 'semantic')
  streams = (*(stages.TINY[name] for name in names), ACOUSTIC)
  folder.mkdir(parents=True)
  rng = np.random.default_rng(seed)
  index, splits = {}, []
  for split, count in NUM_EXAMPLES.items():
    rows = [_recording(f'{split}{i}', streams, rng) for i in range(count)]
    name = f'v2meow-{split}.tfrecord-00000-of-00001'
    index[name] = shards.write(str(folder / name), rows)
    splits.append(
      tfds.core.SplitInfo(
        name=split, shard_lengths=[count], num_bytes=index[name].bytes
      )
    )
  shards.write_index(str(folder), index)
  tfds.folder_dataset.write_metadata(
    data_dir=str(folder),
    features=records.tfds_features(streams),
    split_infos=splits,
    metadata=tfds.core.MetadataDict(streams=records.streams_to_json(streams)),
    check_data=False,
  )


def _recording(name, streams, rng, seconds=6.0) -> shards.Recording:
  values = {}
  for s in streams:
    shape = (records.num_frames(s, seconds), records.width(s))
    is_tokens = isinstance(s, specs.TokenSpec)
    values[s.name] = (
      rng.integers(s.codebook_size, size=shape)
      if is_tokens
      else rng.normal(size=shape)
    )
  pieces = records.serialise(name, seconds, values, streams)
  return shards.Recording(seconds=seconds, pieces=pieces)
