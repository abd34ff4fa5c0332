"""Codes (what a codec speaks) to ids (what a Transformer speaks) and back."""

from __future__ import annotations

from jaxtyping import Int
import numpy as np

from v2meow_jax import specs


def codes_to_ids(
  codes: Int[np.ndarray, '*b frames levels'],
  stage: specs.StageSpec,
  stream: specs.TokenSpec,
) -> Int[np.ndarray, '*b length']:
  """Flattens codes frame by frame, level by level, into the stage's id space.

  >>> from v2meow_jax import stages
  >>> coarse = stages.coarse()
  >>> codes_to_ids(np.array([[7, 0, 0, 5]]), coarse, coarse.target).tolist()
  [1033, 2050, 3074, 4103]

  Args:
    codes: One code per frame and level; of pictures, per frame and cell.
    stage: Whose id space is meant.
    stream: Which of the stage's token streams the codes are.

  Returns:
    int32 ids, in the order of the codes.

  Raises:
    ValueError: Wrong number of levels, or a code outside the codebook.
  """
  codes = np.asarray(codes)
  if codes.ndim < 2 or codes.shape[-1] != stream.codes_per_frame:
    raise ValueError(
      f'codes of stream {stream.name!r} have shape {codes.shape}; wanted'
      f' [..., frames, {stream.codes_per_frame}].'
    )
  if codes.size and (codes.min() < 0 or codes.max() >= stream.codebook_size):
    bad = codes[(codes < 0) | (codes >= stream.codebook_size)][0]
    raise ValueError(
      f'code {bad} of stream {stream.name!r} is outside'
      f' [0, {stream.codebook_size}); the codec and the stage disagree.'
    )
  ids = codes.astype(np.int32) + level_offsets(stage, stream)
  return ids.reshape(*codes.shape[:-2], -1)


def ids_to_codes(
  ids: Int[np.ndarray, '*b length'],
  stage: specs.StageSpec,
  stream: specs.TokenSpec,
) -> Int[np.ndarray, '*b frames levels']:
  """The inverse of `codes_to_ids`; a misplaced id raises ValueError by name."""
  ids = np.asarray(ids)
  if ids.shape[-1] % stream.codes_per_frame:
    raise ValueError(
      f'{ids.shape[-1]} ids of stream {stream.name!r} are not whole frames of'
      f' {stream.codes_per_frame} codes.'
    )
  frames = ids.reshape(*ids.shape[:-1], -1, stream.codes_per_frame)
  codes = frames - level_offsets(stage, stream)
  wrong = (codes < 0) | (codes >= stream.codebook_size)
  if wrong.any():
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    low = int(level_offsets(stage, stream)[where[-1]])
    raise ValueError(
      f'id {int(frames[where])} at frame {where[-2]}, level {where[-1]} of'
      f' stream {stream.name!r} is outside its range'
      f' [{low}, {low + stream.codebook_size}).'
    )
  return codes.astype(np.int32)


def level_offsets(
  stage: specs.StageSpec, stream: specs.TokenSpec
) -> Int[np.ndarray, 'levels']:
  """First id of each level of a stream, in the stage's id space.

  Args:
    stage: Whose id space is meant.
    stream: One of its token streams.

  Returns:
    int32, for each code of a frame; the cells of a picture share theirs.
  """
  level = np.arange(stream.codes_per_frame, dtype=np.int32)
  level = level % stream.num_codebooks
  return stage.id_offset(stream) + level * stream.codebook_size


def level_masks(stage: specs.StageSpec, stream: specs.TokenSpec) -> np.ndarray:
  """bool[levels, vocab_size]: which ids may stand at each level."""
  ids = np.arange(stage.vocab_size)
  low = level_offsets(stage, stream)[:, None]
  return (ids >= low) & (ids < low + stream.codebook_size)
