"""Writes and reads records: pieces of clips, their streams as raw bytes.

A record is a tf.Example of `id`, the `seconds` of the whole clip, the number of
this `piece` of it and, per stream, little-endian bytes: uint16[frames, levels]
of codes, float16[frames, dim] of features. Piece k holds the frames from k to
k + 1 times `piece_seconds`. The metadata of a dataset hold this length and the
streams with their rates.
"""

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from v2meow_jax import specs

# A crop of c seconds reads c + PIECE_SECONDS of its recording on average.
PIECE_SECONDS = 10.0
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
  piece_seconds: float = math.inf,
) -> list[bytes]:
  """Serialises a clip to tf.Examples, one a piece; equal clips, equal bytes.

  Args:
    example_id: Name of the clip, for errors and for people.
    seconds: Duration of every stream.
    values: Features [frames, dim] or codes [frames, levels] by stream,
      `num_frames(stream, seconds)` frames each.
    streams: Streams to record; a codec's stream with all its levels.
    piece_seconds: Duration of each piece but the last.

  Raises:
    ValueError: A stream is missing, has another shape, a code outside its
      codebook or a number beyond float16; the message names clip and stream.
  """
  packed = {}
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
    packed[stream] = _pack(where, array, stream)
  pieces = []
  for piece in range(max(1, math.ceil(seconds / piece_seconds - 1e-6))):
    feature = {
      'id': _bytes(example_id.encode()),
      'seconds': tf.train.Feature(
        float_list=tf.train.FloatList(value=[seconds])
      ),
      'piece': tf.train.Feature(int64_list=tf.train.Int64List(value=[piece])),
      **{
        stream.name: _bytes(_piece(array, stream, piece, piece_seconds))
        for stream, array in packed.items()
      },
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    pieces.append(example.SerializeToString(deterministic=True))
  return pieces


def _piece(
  array: np.ndarray, stream: specs.Stream, piece: int, piece_seconds: float
) -> bytes:
  """Returns the bytes of one piece; a static stream is whole in each."""
  if math.isfinite(piece_seconds) and stream.rate_hz:
    first, last = (
      num_frames(stream, k * piece_seconds) for k in (piece, piece + 1)
    )
    array = array[first:last]
  return array.tobytes()


def _bytes(value: bytes) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _pack(where: str, array: np.ndarray, stream: specs.Stream) -> np.ndarray:
  if isinstance(stream, specs.TokenSpec):
    if not np.issubdtype(array.dtype, np.integer):
      raise ValueError(f'{where} is {array.dtype}; wanted integer codes.')
    wrong = (array < 0) | (array >= stream.codebook_size)
    if wrong.any():
      raise ValueError(
        f'{where} holds the code {array[wrong][0]}; wanted codes in'
        f' [0, {stream.codebook_size}).'
      )
    return array.astype('<u2')
  with np.errstate(over='ignore'):
    packed = array.astype('<f2')
  if not np.isfinite(packed).all():
    raise ValueError(
      f'{where} holds {array[~np.isfinite(packed)][0]}; wanted finite numbers'
      ' within float16, +-65504.'
    )
  return packed


def tfds_features(
  streams: Iterable[specs.Stream],
) -> dict[str, tfds.features.FeatureConnector]:
  """Returns features with which TFDS reads a record without this library."""
  return {
    'id': tfds.features.Text(),
    'seconds': tfds.features.Scalar(dtype=np.float32),
    'piece': tfds.features.Scalar(dtype=np.int64),
    **{s.name: tfds.features.Scalar(dtype=tf.string) for s in streams},
  }


def columns(
  records: tf.Tensor, streams: Iterable[specs.Stream]
) -> dict[str, tf.Tensor]:
  """Splits serialised records, string[n], into the columns for `parse`."""
  text = tf.io.FixedLenFeature([], tf.string)
  fields = {
    'id': text,
    'seconds': tf.io.FixedLenFeature([], tf.float32),
    # Whole recordings of earlier versions had none.
    'piece': tf.io.FixedLenFeature([], tf.int64, default_value=0),
    **{stream.name: text for stream in streams},
  }
  return tf.io.parse_example(records, fields)


def parse(
  example: Mapping[str, tf.Tensor],
  streams: Iterable[specs.Stream],
  piece_seconds: float = math.inf,
  stretch: tuple[tf.Tensor | float, float] | None = None,
) -> dict[str, tf.Tensor]:
  """Parses the bytes of a recording, or of a stretch of it.

  Reading fails, naming the example, if a stream has another length, or in the
  stretch a code outside its codebook or a non-finite number.

  Args:
    example: Consecutive records of one recording: 'id' (string), 'seconds'
      (float32), 'piece' (int64; without it the record is whole) and a string
      for each stream, all of shape [] or [n].
    streams: Streams to parse.
    piece_seconds: Duration of the pieces, from the metadata of the dataset.
    stretch: Start in seconds, in whole frames of every stream, and duration;
      None: all that these records hold.

  Returns:
    'id' and 'seconds', of the recording or of its stretch; per stream
    uint16[frames, levels] or float16[frames, dim].
  """
  rows = {k: tf.reshape(x, [-1]) for k, x in example.items()}
  total = rows['seconds'][0]
  seconds = total if stretch is None else tf.minimum(total, stretch[1])
  parsed = {'id': rows['id'][0], 'seconds': seconds}
  for stream in streams:
    frame_bytes = 2 * width(stream)
    data = rows[stream.name]
    if not stream.rate_hz:
      data = data[0]
      held = from_frame, frames = 0, 1
    else:
      data = data[0] if data.shape[0] == 1 else tf.strings.reduce_join(data)
      held = _frames_held(rows, stream, piece_seconds)
      from_frame, frames = held[0], held[1] - held[0]
      if stretch is not None:
        from_frame = _whole_frames(stretch[0], stream.rate_hz)
        frames = _whole_frames(seconds, stream.rate_hz)
    _check(
      tf.equal(tf.strings.length(data), (held[1] - held[0]) * frame_bytes),
      f'does not have {width(stream)} numbers per frame',
      stream,
      parsed,
    )
    data = tf.strings.substr(
      data, (from_frame - held[0]) * frame_bytes, frames * frame_bytes
    )
    is_tokens = isinstance(stream, specs.TokenSpec)
    dtype = tf.uint16 if is_tokens else tf.float16
    flat = tf.io.decode_raw(data, dtype, little_endian=True)
    if is_tokens:
      legal = tf.cast(flat, tf.int32) < stream.codebook_size
      trouble = f'holds a code outside [0, {stream.codebook_size})'
    else:
      legal = tf.math.is_finite(flat)
      trouble = 'holds a number that is not finite'
    _check(tf.reduce_all(legal), trouble, stream, parsed)
    parsed[stream.name] = tf.reshape(flat, [-1, *stream.frame_shape])
  return parsed


def _whole_frames(seconds: tf.Tensor | float, rate_hz: float) -> tf.Tensor:
  # As float32 a duration is a little off.
  exact = tf.cast(seconds, tf.float64) * rate_hz + 1e-3
  return tf.cast(tf.floor(exact), tf.int32)


def _frames_held(
  rows: Mapping[str, tf.Tensor], stream: specs.Stream, piece_seconds: float
) -> tuple[tf.Tensor | int, tf.Tensor]:
  """Numbers of the first frame in some pieces, and of the one after them."""
  total = _whole_frames(rows['seconds'][0], stream.rate_hz)
  if 'piece' not in rows or not math.isfinite(piece_seconds):
    return 0, total
  pieces = tf.stack([rows['piece'][0], rows['piece'][-1] + 1])
  edges = tf.cast(pieces, tf.float64) * piece_seconds * stream.rate_hz
  edges = tf.cast(tf.floor(edges + 1e-6), tf.int32)
  first, last = tf.unstack(tf.minimum(edges, total))
  return first, last


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
  recorded: Sequence[specs.Stream],
  stage: specs.StageSpec,
  left_out: Collection[str] = (),
) -> None:
  """Raises ValueError unless a dataset holds all streams of a stage.

  Those whose names are `left_out` need not be there.
  """
  by_name = {s.name: s for s in recorded}
  for stream in stage.streams:
    name = stream.record_name
    if name in left_out:
      continue
    if name not in by_name:
      raise ValueError(
        f'stage {stage.name!r} needs the recorded stream {name!r}; the dataset'
        f' has {sorted(by_name)}. Prepare it with that stream, by the'
        ' --gin_file of the recipe, or change the inputs of the stage.'
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
