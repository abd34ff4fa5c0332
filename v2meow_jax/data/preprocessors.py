"""From a parsed recording to the features of a stage; pure TensorFlow.

Each is one job over a dataset. The order is `give_seeds`, `random_crop`,
`codes_to_ids`, `drop_streams`: see `task_builder.build_task`. All that is random
about an example follows from its own `seed`, wherever in a dataset it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
import fractions
import math

import seqio
import tensorflow as tf

from v2meow_jax import specs
from v2meow_jax import tokens


def grid_seconds(stage: specs.StageSpec) -> float:
  """The shortest time that is a whole number of frames of every stream.

  Crops start on its multiples, so that no stream is shifted against another:
  1 Hz with 25 Hz gives 1 s; 1 Hz with 12.5 Hz gives 2 s.
  """
  rates = [s.rate_hz for s in (*stage.inputs, stage.target) if s.rate_hz]
  periods = [1 / fractions.Fraction(r).limit_denominator(10**6) for r in rates]
  grid = fractions.Fraction(
    math.lcm(*(p.numerator for p in periods)),
    math.gcd(*(p.denominator for p in periods)),
  )
  return float(grid)


# What a draw is for, so that draws by one seed are independent.
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
  """Cuts the same random stretch of time out of every stream.

  Args:
    example: A parsed recording, with a `seed`.
    stage: Its streams are kept and its `crop_seconds` cut, starting at a random
      multiple of `grid_seconds(stage)`.

  Returns:
    'id', 'seed', and per recorded stream float32[frames, dim] or int32[frames, levels].
    Reading fails by id when the recording is shorter than the crop.
  """
  starts = _num_starts(example, stage)
  seed = _fold_in(example['seed'], _CROP)
  start = tf.random.stateless_uniform([], seed, maxval=starts, dtype=tf.int32)
  return _cut(example, start, stage)


@seqio.map_over_dataset
def first_crop(example, *, stage: specs.StageSpec):
  """As `random_crop`, but the beginning of the recording, for evaluation."""
  starts = _num_starts(example, stage)
  return _cut(example, tf.minimum(starts - 1, 0), stage)


def _num_starts(example, stage: specs.StageSpec) -> tf.Tensor:
  spare = example['seconds'] - stage.crop_seconds
  starts = tf.cast(tf.floor(spare / grid_seconds(stage) + 1e-4), tf.int32) + 1
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
  # Else the draw of a start may fail first, and not say why.
  with tf.control_dependencies([long_enough]):
    return tf.identity(starts)


def _cut(example, start, stage: specs.StageSpec) -> dict[str, tf.Tensor]:
  """Start: in units of the grid."""
  cut = _carried(example)
  for stream in (*stage.inputs, stage.target):
    is_tokens = isinstance(stream, specs.TokenSpec)
    name = stream.record_name if is_tokens else stream.name
    if is_tokens:
      length = stream.num_frames(stage.crop_seconds)
    else:
      length = stream.length(stage.crop_seconds)
    first = start * round(grid_seconds(stage) * stream.rate_hz)
    frames = example[name][first : first + length]
    frames = tf.ensure_shape(frames, [length, None])
    cut[name] = tf.cast(frames, tf.int32 if is_tokens else tf.float32)
  return cut


def _carried(example) -> dict[str, tf.Tensor]:
  """What is not a stream and stays with the example."""
  return {k: example[k] for k in ('id', 'seed') if k in example}


@seqio.map_over_dataset
def codes_to_ids(example, *, stage: specs.StageSpec):
  """Recorded codes -> int32 ids of each token stream of the stage.

  As `tokens.codes_to_ids`: the levels of the stream are taken, each is moved
  into its own range of the stage's ids, and frames are laid out one after
  another.
  """
  converted = _carried(example)
  for stream in stage.feature_inputs:
    converted[stream.name] = tf.ensure_shape(
      example[stream.name], [None, stream.dim]
    )
  for stream in stage.token_streams:
    last = stream.first_codebook + stream.codes_per_frame
    codes = example[stream.record_name][:, stream.first_codebook : last]
    ids = codes + tokens.level_offsets(stage, stream)
    # [frames, levels] -> [frames * levels]
    length = stream.length(stage.crop_seconds)
    converted[stream.name] = tf.ensure_shape(tf.reshape(ids, [-1]), [length])
  return converted


def drop_streams(
  ds: tf.data.Dataset, *, rates: Mapping[str, float]
) -> tf.data.Dataset:
  """Zeroes whole continuous streams of an example at random.

  A model trained so can do without a stream, and leans on those that are left.

  Args:
    ds: Examples with float32[frames, dim] features and a `seed`.
    rates: Probability for each stream of being zeroed, independently.

  Returns:
    The same examples, some streams zero.
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
