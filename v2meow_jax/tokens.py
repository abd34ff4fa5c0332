"""Codes (what a codec speaks) to ids (what a Transformer speaks) and back."""

import dataclasses

from jaxtyping import Int
import numpy as np

from v2meow_jax import specs

# Vocabulary sizes are rounded up to this, so that they divide any sane mesh.
VOCAB_MULTIPLE = 128


@dataclasses.dataclass(frozen=True)
class IdSpace:
  """Ids of the token streams of a stage, each level in a range of its own.

  Reserved ids come first, then each level of each token input, then each level
  of the target where it is tokens. An id says which stream and level it is.

  Attributes:
    stage: Streams of the stage.
  """

  stage: specs.StageSpec

  @property
  def num_ids(self) -> int:
    """Ids in use, reserved ones included."""
    streams = self.stage.token_streams
    return specs.NUM_RESERVED_IDS + sum(s.num_ids for s in streams)

  @property
  def vocab_size(self) -> int:
    """`num_ids` rounded up to a multiple of 128."""
    return -(-self.num_ids // VOCAB_MULTIPLE) * VOCAB_MULTIPLE

  def offset(self, stream: specs.TokenSpec) -> int:
    """First id of a stream; KeyError when the stage gives it no ids."""
    offset = specs.NUM_RESERVED_IDS
    for s in self.stage.token_streams:
      if s.name == stream.name:
        return offset
      offset += s.num_ids
    raise KeyError(
      f'stream {stream.name!r} has no ids in stage {self.stage.name!r}; it has'
      f' {[s.name for s in self.stage.token_streams]}.'
    )

  def level_offsets(
    self, stream: specs.TokenSpec
  ) -> Int[np.ndarray, 'codes_per_frame']:
    """First id of each code of a frame; the cells of a picture share theirs."""
    level = np.arange(stream.codes_per_frame, dtype=np.int32)
    level = level % stream.num_codebooks
    return self.offset(stream) + level * stream.codebook_size

  def codes_to_ids(
    self, codes: Int[np.ndarray, '*b frames levels'], stream: specs.TokenSpec
  ) -> Int[np.ndarray, '*b length']:
    """Flattens codes frame by frame, level by level, into ids.

    >>> from v2meow_jax import stages
    >>> coarse = stages.coarse()
    >>> codes = np.array([[7, 0, 0, 5]])
    >>> IdSpace(coarse).codes_to_ids(codes, coarse.target).tolist()
    [1033, 2050, 3074, 4103]

    Args:
      codes: One code per frame and level; of pictures, per frame and cell.
      stream: Token stream of the stage that the codes belong to.

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
    ids = codes.astype(np.int32) + self.level_offsets(stream)
    return ids.reshape(*codes.shape[:-2], -1)

  def ids_to_codes(
    self, ids: Int[np.ndarray, '*b length'], stream: specs.TokenSpec
  ) -> Int[np.ndarray, '*b frames levels']:
    """Inverts `codes_to_ids`; a misplaced id raises ValueError by name."""
    ids = np.asarray(ids)
    if ids.shape[-1] % stream.codes_per_frame:
      raise ValueError(
        f'{ids.shape[-1]} ids of stream {stream.name!r} are not whole frames of'
        f' {stream.codes_per_frame} codes.'
      )
    frames = ids.reshape(*ids.shape[:-1], -1, stream.codes_per_frame)
    offsets = self.level_offsets(stream)
    codes = frames - offsets
    wrong = (codes < 0) | (codes >= stream.codebook_size)
    if wrong.any():
      where = tuple(int(i) for i in np.argwhere(wrong)[0])
      low = int(offsets[where[-1]])
      raise ValueError(
        f'id {int(frames[where])} at frame {where[-2]}, level {where[-1]} of'
        f' stream {stream.name!r} is outside its range'
        f' [{low}, {low + stream.codebook_size}).'
      )
    return codes.astype(np.int32)
