"""Writes and reads records: clips with their streams as raw bytes.

A record is a tf.Example of `id`, `seconds` and, per stream, little-endian
bytes: uint16[frames, levels] of codes, float16[frames, dim] of features. The
metadata of a dataset hold its streams and their rates.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
import math
import os
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from v2meow_jax import specs
from v2meow_jax.data import seekable
from v2meow_jax.data import shards

DATA_DIR_VARIABLE = 'V2MEOW_DATA_DIR'
_KINDS: dict[str, type] = {
  'features': specs.FeatureSpec,
  'tokens': specs.TokenSpec,
}


def num_frames(stream: specs.Stream, seconds: float) -> int:
  """Counts whole frames of a stream in a recording; 1 for a static stream."""
  if isinstance(stream, specs.FeatureSpec) and stream.is_static:
    return 1
  return math.floor(seconds * stream.rate_hz + 1e-6)


def width(stream: specs.Stream) -> int:
  """Counts numbers per frame: dimensions of features, or codes."""
  return math.prod(stream.frame_shape)


def serialise(
  example_id: str,
  seconds: float,
  values: Mapping[str, np.ndarray],
  streams: Sequence[specs.Stream],
) -> bytes:
  """Serialises a clip to a tf.Example; equal clips give equal bytes.

  Args:
    example_id: Name of the clip, for errors and for people.
    seconds: Duration of every stream.
    values: Features [frames, dim] or codes [frames, levels] by stream,
      `num_frames(stream, seconds)` frames each.
    streams: Streams to record; a codec's stream with all its levels.

  Raises:
    ValueError: A stream is missing, has another shape, a code outside its
      codebook or a number beyond float16; the message names clip and stream.
  """
  feature = {
    'id': _bytes(example_id.encode()),
    'seconds': tf.train.Feature(float_list=tf.train.FloatList(value=[seconds])),
  }
  for stream in streams:
    where = f'stream {stream.name!r} of example {example_id!r}'
    if stream.name not in values:
      raise ValueError(f'{where} is missing; there are {sorted(values)}.')
    array = np.asarray(values[stream.name])
    wanted = (num_frames(stream, seconds), *stream.frame_shape)
    if array.shape != wanted:
      raise ValueError(
        f'{where} has shape {array.shape}; wanted {wanted} for {seconds:g} s'
        f' at {stream.rate_hz:g} Hz.'
      )
    feature[stream.name] = _bytes(_pack(where, array, stream))
  example = tf.train.Example(features=tf.train.Features(feature=feature))
  return example.SerializeToString(deterministic=True)


def _bytes(value: bytes) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _pack(where: str, array: np.ndarray, stream: specs.Stream) -> bytes:
  if isinstance(stream, specs.TokenSpec):
    if not np.issubdtype(array.dtype, np.integer):
      raise ValueError(f'{where} is {array.dtype}; wanted integer codes.')
    wrong = (array < 0) | (array >= stream.codebook_size)
    if wrong.any():
      raise ValueError(
        f'{where} holds the code {array[wrong][0]}; wanted codes in'
        f' [0, {stream.codebook_size}).'
      )
    return array.astype('<u2').tobytes()
  with np.errstate(over='ignore'):
    packed = array.astype('<f2')
  if not np.isfinite(packed).all():
    raise ValueError(
      f'{where} holds {array[~np.isfinite(packed)][0]}; wanted finite numbers'
      ' within float16, +-65504.'
    )
  return packed.tobytes()


def tfds_features(
  streams: Iterable[specs.Stream],
) -> dict[str, tfds.features.FeatureConnector]:
  """Returns features with which TFDS reads a record without this library."""
  return {
    'id': tfds.features.Text(),
    'seconds': tfds.features.Scalar(dtype=np.float32),
    **{s.name: tfds.features.Scalar(dtype=tf.string) for s in streams},
  }


def parse(
  example: Mapping[str, tf.Tensor], streams: Sequence[specs.Stream]
) -> dict[str, tf.Tensor]:
  """Parses the bytes of a record into uint16 and float16 tensors.

  Reading fails, naming the example, if a stream has another length, a code
  outside its codebook or a non-finite number.

  Args:
    example: Scalars 'id' (string), 'seconds' (float32) and a string for each
      stream, from TFDS.
    streams: Streams of the dataset, from its metadata.

  Returns:
    Unchanged 'id' and 'seconds'; per stream uint16[frames, levels] or
    float16[frames, dim].
  """
  parsed = {k: example[k] for k in ('id', 'seconds')}
  for stream in streams:
    is_tokens = isinstance(stream, specs.TokenSpec)
    dtype = tf.uint16 if is_tokens else tf.float16
    flat = tf.io.decode_raw(example[stream.name], dtype, little_endian=True)
    if not is_tokens and stream.is_static:
      frames = tf.constant(1)
    else:
      exact = example['seconds'] * stream.rate_hz + 1e-3
      frames = tf.cast(tf.floor(exact), tf.int32)
    _check(
      tf.equal(tf.size(flat), frames * width(stream)),
      f'does not have {width(stream)} numbers per frame',
      stream,
      example,
    )
    if is_tokens:
      legal = tf.cast(flat, tf.int32) < stream.codebook_size
      trouble = f'holds a code outside [0, {stream.codebook_size})'
    else:
      legal = tf.math.is_finite(flat)
      trouble = 'holds a number that is not finite'
    _check(tf.reduce_all(legal), trouble, stream, example)
    parsed[stream.name] = tf.reshape(flat, [-1, *stream.frame_shape])
  return parsed


def _check(condition, trouble: str, stream: specs.Stream, example) -> None:
  text = f'stream {stream.name!r} {trouble}; prepare the dataset again; id:'
  tf.debugging.Assert(condition, [text, example['id']])


def streams_to_json(streams: Iterable[specs.Stream]) -> list[dict[str, Any]]:
  """Converts streams to JSON data for the metadata of a dataset."""
  kinds = {cls: kind for kind, cls in _KINDS.items()}
  return [{'kind': kinds[type(s)], **dataclasses.asdict(s)} for s in streams]


def streams_from_json(
  rows: Iterable[Mapping[str, Any]],
) -> tuple[specs.Stream, ...]:
  """Inverts `streams_to_json`."""
  return tuple(
    _KINDS[row['kind']](**{k: v for k, v in row.items() if k != 'kind'})
    for row in rows
  )


def check_stage(
  recorded: Sequence[specs.Stream], stage: specs.StageSpec
) -> None:
  """Raises ValueError unless a dataset holds all streams of a stage."""
  by_name = {s.name: s for s in recorded}
  for stream in (*stage.inputs, stage.target):
    name = stream.record_name
    if name not in by_name:
      raise ValueError(
        f'stage {stage.name!r} needs the recorded stream {name!r}; the dataset'
        f' has {sorted(by_name)}. Prepare it with that stream, or change the'
        ' inputs of the stage.'
      )
    if not _serves(by_name[name], stream):
      raise ValueError(
        f'stage {stage.name!r} wants {stream}, but the dataset recorded'
        f' {by_name[name]}; give the stage the --gin_file=networks/... that it'
        ' was prepared with, or prepare it again.'
      )


def _serves(source: specs.Stream, stream: specs.Stream) -> bool:
  if source.rate_hz != stream.rate_hz:
    return False
  if isinstance(stream, specs.FeatureSpec):
    return (
      isinstance(source, specs.FeatureSpec)
      and source.frame_shape == stream.frame_shape
    )
  return (
    isinstance(source, specs.TokenSpec)
    and source.codebook_size == stream.codebook_size
    and source.num_positions == stream.num_positions
    and source.num_codebooks >= stream.first_codebook + stream.num_codebooks
  )


class RecordSource(seqio.DataSource):
  """A prepared dataset in `$V2MEOW_DATA_DIR/<dataset>` (`./data` if unset).

  The first read opens it and compares the size of every shard with the index;
  `full_check` also compares digests, which reads everything once.
  """

  def __init__(
    self,
    dataset: str,
    *,
    splits: Sequence[str] = ('train', 'validation'),
    full_check: bool = False,
  ):
    super().__init__(splits=splits, caching_permitted=True)
    self._dataset = dataset
    self._full_check = full_check
    self._opened: tuple[str, tfds.core.DatasetBuilder] | None = None

  @property
  def directory(self) -> str:
    """Current folder of the dataset."""
    root = os.environ.get(DATA_DIR_VARIABLE, 'data')
    return os.path.join(root, self._dataset)

  @property
  def builder(self) -> tfds.core.DatasetBuilder:
    """The dataset, opened and checked; raises FileNotFoundError if missing."""
    directory = self.directory
    if self._opened is None or self._opened[0] != directory:
      if not tf.io.gfile.exists(os.path.join(directory, shards.INDEX)):
        raise FileNotFoundError(
          f'no dataset {self._dataset!r} at {directory}; make it with'
          f' `v2meow data prepare MANIFEST {directory}`, or set'
          f' {DATA_DIR_VARIABLE} to the folder that holds it.'
        )
      shards.verify(directory, full=self._full_check)
      self._opened = directory, tfds.builder_from_directory(directory)
    return self._opened[1]

  @property
  def streams(self) -> tuple[specs.Stream, ...]:
    """Streams of the dataset."""
    metadata = self.builder.info.metadata or {}
    return streams_from_json(metadata['streams'])

  @property
  def supports_arbitrary_sharding(self) -> bool:
    """Whether the dataset can be split finer than its files: no."""
    return False

  def num_input_examples(self, split: str) -> int:
    """Counts the clips of a split."""
    return self._split(split).num_examples

  def records(self, split: str) -> seekable.SeekableRecords:
    """Returns the records of a split by number, in the order of its files."""
    info = self._split(split)
    return seekable.SeekableRecords(info.filepaths, info.shard_lengths)

  def parse(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses the bytes of a record into an example of `get_dataset`."""
    features: Any = self.builder.info.features
    return parse(features.deserialize_example(record), self.streams)

  def digest(self, split: str) -> str:
    """Hex SHA-256 over the digests of the files of a split, in their order."""
    index = shards.read_index(self.directory)
    names = map(os.path.basename, self._split(split).filepaths)
    digests = ' '.join(index[name].sha256 for name in names)
    return hashlib.sha256(digests.encode()).hexdigest()

  def list_shards(self, split: str) -> Sequence[str]:
    """Lists the files of a split."""
    return [i.filename for i in self._split(split).file_instructions]

  def get_dataset(
    self,
    split: str = 'train',
    shuffle: bool = True,
    seed: int | None = None,
    shard_info: seqio.ShardInfo | None = None,
  ) -> tf.data.Dataset:
    """Reads parsed examples; `shuffle` permutes the order of the shards."""
    self._split(split)
    context = shard_info and tf.distribute.InputContext(
      num_input_pipelines=shard_info.num_shards,
      input_pipeline_id=shard_info.index,
    )
    ds = self.builder.as_dataset(
      split=split,
      shuffle_files=shuffle,
      read_config=tfds.ReadConfig(
        shuffle_seed=seed,
        input_context=context,
        skip_prefetch=True,
        try_autocache=False,
      ),
    )
    streams = self.streams
    return ds.map(
      lambda example: parse(example, streams),
      num_parallel_calls=tf.data.AUTOTUNE,
    )

  def _split(self, split: str) -> tfds.core.SplitInfo:
    if split not in self.builder.info.splits:
      raise ValueError(
        f'dataset {self._dataset!r} at {self.directory} has no split {split!r};'
        f' it has {sorted(self.builder.info.splits)}.'
      )
    return self.builder.info.splits[split]
