"""Turns parsed recordings into features of a stage, in pure TensorFlow.

Their order is `give_seeds`, `random_crop`, `codes_to_ids`, `drop_streams`: see
`task_builder.build_task`. All that is random about an example depends on its own
`seed`, not on its place in the dataset.
"""

from collections.abc import Mapping
import re

import seqio
import tensorflow as tf

from v2meow_jax import specs
from v2meow_jax import tokens

# A message of `tf.debugging.Assert`, with the values that it was given.
_TOO_SHORT = re.compile(r'\[(a recording is short.+?)\] \[(.+?)\] \[(.+?)\]')


def grid_seconds(stage: specs.StageSpec) -> float:
  """Computes the shortest time of whole frames of every stream.

  Crops start on its multiples, so that no stream is shifted against another:
  1 Hz with 25 Hz gives 1 s; 1 Hz with 12.5 Hz gives 2 s.
  """
  return specs.grid_seconds(s.rate_hz for s in stage.streams if s.rate_hz)


# Purposes of draws, so that draws by one seed are independent.
_CROP, _DROP = 0, 1


def give_seeds(ds: tf.data.Dataset) -> tf.data.Dataset:
  """Gives every example an int64[2] `seed`, drawn by SeqIO, if it has none."""
  return ds if 'seed' in ds.element_spec else _give_seed(ds)


@seqio.map_over_dataset(num_seeds=1)
def _give_seed(example, seed):
  return {**example, 'seed': tf.cast(tf.stack(seed), tf.int64)}


def _fold_in(seed: tf.Tensor, purpose: int) -> tf.Tensor:
  data = tf.constant(purpose, tf.int64)
  return tf.random.experimental.stateless_fold_in(seed, data)


@seqio.map_over_dataset
def random_crop(example, *, stage: specs.StageSpec):
  """Cuts the same random crop out of every stream of a stage.

  Crops start on multiples of `grid_seconds`. Reading fails, naming the example,
  if a recording is shorter than the crop.

  Args:
    example: Parsed recording, with a `seed`.
    stage: Stage whose streams to cut to its `crop_seconds`.

  Returns:
    'id', 'seed', and per recorded stream float32[frames, dim] or
    int32[frames, levels].
  """
  start = _draw(example['seed'], _checked_starts(example, stage))
  return _cut(example, start, stage)


def random_start(
  seed: tf.Tensor, seconds: tf.Tensor, stage: specs.StageSpec
) -> tf.Tensor:
  """Draws where `random_crop` begins, float64[] seconds; 0 when too short.

  Args:
    seed: Seed of the example, int64[2].
    seconds: Duration of the recording, float32[].
    stage: Stage of the crop.
  """
  start = _draw(seed, tf.maximum(_num_starts(seconds, stage), 1))
  return tf.cast(start, tf.float64) * grid_seconds(stage)


def _draw(seed: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
  """Draws one of `starts` multiples of the grid, int32[]."""
  seed = _fold_in(seed, _CROP)
  return tf.random.stateless_uniform([], seed, maxval=starts, dtype=tf.int32)


@seqio.map_over_dataset
def first_crop(example, *, stage: specs.StageSpec):
  """Cuts as `random_crop`, but at the start of the recording, to evaluate.

  A recording that ends sooner is mirrored, as inputs are in generation, and
  keeps its 'seconds': `codes_to_ids` leaves out of the target what is beyond.
  """
  return {**_cut(example, 0, stage), 'seconds': example['seconds']}


def _num_starts(seconds: tf.Tensor, stage: specs.StageSpec) -> tf.Tensor:
  spare = seconds - stage.crop_seconds
  return tf.cast(tf.floor(spare / grid_seconds(stage) + 1e-4), tf.int32) + 1


def refuse_too_short(error: Exception) -> None:
  """Raises ValueError where TensorFlow's error is of a recording too short."""
  if found := _TOO_SHORT.search(str(error)):
    raise ValueError(' '.join(found.groups())) from error


def _checked_starts(example, stage: specs.StageSpec) -> tf.Tensor:
  starts = _num_starts(example['seconds'], stage)
  long_enough = tf.debugging.Assert(
    starts > 0,
    [
      f'a recording is shorter than the {stage.crop_seconds:g} s crop of stage'
      f' {stage.name!r}; prepare again with min_seconds, or lower crop_seconds;'
      ' id, seconds:',
      example['id'],
      example['seconds'],
    ],
  )
  # Otherwise the draw of a start may fail first, with a worse message.
  with tf.control_dependencies([long_enough]):
    return tf.identity(starts)


def _cut(example, start, stage: specs.StageSpec) -> dict[str, tf.Tensor]:
  """Cuts the crop at `start`, in units of the grid."""
  cut = _id_and_seed(example)
  for stream in stage.streams:
    length = stream.num_frames(stage.crop_seconds)
    if stream.record_name not in example:
      # Checked before: a stream that is always dropped.
      shape = [length, *stream.frame_shape]
      cut[stream.record_name] = tf.zeros(shape, tf.float32)
      continue
    first = start * round(grid_seconds(stage) * stream.rate_hz)
    recorded = example[stream.record_name]
    # Index -1 is the last frame again, and so on back and forth.
    period = 2 * tf.shape(recorded)[0]
    index = tf.range(first, first + length) % period
    frames = tf.gather(recorded, tf.minimum(index, period - 1 - index))
    frames = tf.ensure_shape(
      frames, [length, *[None] * len(stream.frame_shape)]
    )
    is_tokens = isinstance(stream, specs.TokenSpec)
    cut[stream.record_name] = tf.cast(
      frames, tf.int32 if is_tokens else tf.float32
    )
  return cut


def _id_and_seed(example) -> dict[str, tf.Tensor]:
  return {k: example[k] for k in ('id', 'seed') if k in example}


@seqio.map_over_dataset
def codes_to_ids(example, *, stage: specs.StageSpec):
  """Converts recorded codes to int32 ids of each token stream of the stage.

  As `tokens.IdSpace.codes_to_ids`: takes the levels of the stream, moves each
  into its own range of the stage's ids, and concatenates the frames. Frames of
  the target beyond the `seconds` of an example are of `specs.PAD_ID`, or NaN.
  """
  converted = _id_and_seed(example)
  for stream in stage.feature_streams:
    frames = tf.ensure_shape(example[stream.name], [None, *stream.frame_shape])
    if stream == stage.target:
      frames = _within(example, frames, stream, float('nan'))
    converted[stream.name] = frames
  for stream in stage.token_streams:
    last = stream.first_codebook + stream.codes_per_frame
    codes = example[stream.record_name][:, stream.first_codebook : last]
    ids = codes + tokens.IdSpace(stage).level_offsets(stream)
    if stream == stage.target:
      ids = _within(example, ids, stream, specs.PAD_ID)
    # [frames, levels] -> [frames * levels]
    length = stream.length(stage.crop_seconds)
    converted[stream.name] = tf.ensure_shape(tf.reshape(ids, [-1]), [length])
  return converted


def _within(example, frames, stream: specs.Stream, filler) -> tf.Tensor:
  """[frames, ...] with a filler after the `seconds`, if the example has any."""
  if 'seconds' not in example:
    return frames
  ends = tf.range(1, tf.shape(frames)[0] + 1)
  recorded = example['seconds'] * stream.rate_hz + 1e-3
  is_whole = tf.cast(ends, tf.float32) <= recorded
  is_whole = tf.reshape(is_whole, [-1] + [1] * (len(frames.shape) - 1))
  return tf.where(is_whole, frames, tf.cast(filler, frames.dtype))


def drop_streams(
  ds: tf.data.Dataset, *, rates: Mapping[str, float]
) -> tf.data.Dataset:
  """Zeroes whole continuous streams of an example at random.

  The model learns to do without a stream, and to rely on the others.

  Args:
    ds: Examples with float32[frames, dim] features and a `seed`.
    rates: Independent probabilities of zeroing each stream.
  """
  for rate in rates.values():
    if not 0 <= rate <= 1:
      raise ValueError(f'a drop rate is {rate}; wanted one in [0, 1].')
  return _drop(ds, rates=dict(rates))


@seqio.map_over_dataset
def _drop(example, *, rates):
  seed = _fold_in(example['seed'], _DROP)
  draws = tf.random.stateless_uniform([len(rates)], seed)
  zeroed = {}
  for draw, (name, rate) in zip(
    tf.unstack(draws), sorted(rates.items()), strict=True
  ):
    stream = example[name]
    zeroed[name] = tf.where(draw < rate, tf.zeros_like(stream), stream)
  return {**example, **zeroed}
