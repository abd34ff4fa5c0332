"""What flows between stages: rates, lengths and id ranges. No arrays here.

Every length in the project is derived from these three types, so a rate is
written once and seconds become lengths in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

PAD_ID = 0
EOS_ID = 1
NUM_RESERVED_IDS = 2
# Vocabulary sizes are rounded up to this, so that they divide any sane mesh.
VOCAB_MULTIPLE = 128


def whole_frames(name: str, seconds: float, rate_hz: float) -> int:
  """Seconds at a rate as a whole number of frames.

  >>> whole_frames('semantic', 10.0, 25.0)
  250

  Args:
    name: Of the stream, for the error.
    seconds: Duration, > 0.
    rate_hz: Frames a second, > 0.

  Returns:
    The number of frames.

  Raises:
    ValueError: The duration is not a positive whole number of frames.
  """
  frames = seconds * rate_hz
  if frames < 1 or abs(frames - round(frames)) > 1e-6:
    raise ValueError(
      f'{seconds} s of stream {name!r} at {rate_hz} Hz is {frames:g} frames,'
      ' not a positive whole number; change crop_seconds in the stage or'
      ' rate_hz in the stream.'
    )
  return round(frames)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSpec:
  """A continuous stream: `dim` numbers per frame.

  Attributes:
    name: Of the stream, in records, batches and errors.
    dim: Numbers in one frame.
    rate_hz: Frames a second; 0 means one vector per clip.
  """

  name: str
  dim: int
  rate_hz: float

  @property
  def is_static(self) -> bool:
    """Whether one vector stands for the whole clip."""
    return self.rate_hz == 0

  def length(self, seconds: float) -> int:
    """Frames in `seconds`; raises ValueError unless they are whole."""
    return (
      1 if self.is_static else whole_frames(self.name, seconds, self.rate_hz)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenSpec:
  """A discrete stream: `codes_per_frame` codes per frame.

  Attributes:
    name: Of the stream, in records, batches and errors.
    codebook_size: Codes are in [0, codebook_size).
    num_codebooks: Levels of a frame, coarsest first.
    num_positions: Codes of a frame that share a codebook, and so a range of
      ids: the cells of a picture, row by row. A picture has one level.
    first_codebook: Level of the stored codes at which this stream begins.
    rate_hz: Frames a second.
    stored_as: Name of the recorded stream whose levels these are; None: its
      own name. COARSE and FINE are both slices of one recorded 'acoustic'.
  """

  name: str
  codebook_size: int
  rate_hz: float
  num_codebooks: int = 1
  num_positions: int = 1
  first_codebook: int = 0
  stored_as: str | None = None

  def __post_init__(self):
    if self.is_picture and self.num_codebooks > 1:
      raise ValueError(
        f'stream {self.name!r} has {self.num_positions} positions and'
        f' {self.num_codebooks} codebooks a frame; one of the two must be 1.'
      )

  @property
  def is_picture(self) -> bool:
    """Whether a frame is a grid of codes, as of a picture."""
    return self.num_positions > 1

  @property
  def codes_per_frame(self) -> int:
    """Codes, and so ids, of one frame."""
    return self.num_codebooks * self.num_positions

  def num_frames(self, seconds: float) -> int:
    """Frames in `seconds`; raises ValueError unless they are whole."""
    return whole_frames(self.name, seconds, self.rate_hz)

  def length(self, seconds: float) -> int:
    """Ids in `seconds`: frames times codes of a frame."""
    return self.num_frames(seconds) * self.codes_per_frame

  @property
  def num_ids(self) -> int:
    """Ids the stream needs: one range per level."""
    return self.codebook_size * self.num_codebooks

  @property
  def record_name(self) -> str:
    """The record field this stream is read from."""
    return self.stored_as or self.name


Stream = FeatureSpec | TokenSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSpec:
  """One sequence model: the streams it reads and the stream it writes.

  One id space: reserved ids, then each level of each token input in its own
  range, then each level of the target. An id says which stream and which level
  it is.

  Attributes:
    name: Of the stage.
    inputs: Streams it is conditioned on, in the order they are laid out.
    target: The token stream it writes.
    crop_seconds: Stretch of time of one training example and of one window.
  """

  name: str
  inputs: tuple[Stream, ...]
  target: TokenSpec
  crop_seconds: float

  def __post_init__(self):
    names = [s.name for s in (*self.inputs, self.target)]
    if len(set(names)) != len(names):
      raise ValueError(
        f'stage {self.name!r} uses a stream twice: {names}; every input and'
        ' the target need different names.'
      )
    if self.target.is_picture:
      raise ValueError(
        f'stage {self.name!r} cannot write {self.target.name!r}: a stage reads'
        ' pictures and writes streams of one position a frame.'
      )

  @property
  def token_streams(self) -> tuple[TokenSpec, ...]:
    """Token inputs, then the target: the order of the id space."""
    inputs = [s for s in self.inputs if isinstance(s, TokenSpec)]
    return (*inputs, self.target)

  @property
  def feature_inputs(self) -> tuple[FeatureSpec, ...]:
    """The continuous inputs, in order."""
    return tuple(s for s in self.inputs if isinstance(s, FeatureSpec))

  @property
  def token_inputs(self) -> tuple[TokenSpec, ...]:
    """The discrete inputs, in order."""
    return self.token_streams[:-1]

  def feature_lengths(self) -> dict[str, int]:
    """Length of every stream in one crop: SeqIO's task_feature_lengths."""
    return {
      s.name: s.length(self.crop_seconds) for s in (*self.inputs, self.target)
    }

  def id_offset(self, stream: TokenSpec) -> int:
    """First id of a stream of this stage; KeyError when it has no ids here."""
    offset = NUM_RESERVED_IDS
    for s in self.token_streams:
      if s.name == stream.name:
        return offset
      offset += s.num_ids
    raise KeyError(
      f'stream {stream.name!r} has no ids in stage {self.name!r}; it has'
      f' {[s.name for s in self.token_streams]}.'
    )

  @property
  def num_ids(self) -> int:
    """Ids in use, reserved ones included."""
    return NUM_RESERVED_IDS + sum(s.num_ids for s in self.token_streams)

  @property
  def vocab_size(self) -> int:
    """`num_ids` rounded up to a multiple of 128."""
    return -(-self.num_ids // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def stream_to_dict(stream: Stream) -> dict[str, Any]:
  """A stream as JSON data; a token stream is told by its codebook_size."""
  return dataclasses.asdict(stream)


def stream_from_dict(data: Mapping[str, Any]) -> Stream:
  """The inverse of `stream_to_dict`; TypeError names a wrong field."""
  kind = TokenSpec if 'codebook_size' in data else FeatureSpec
  return kind(**data)


def stage_to_dict(stage: StageSpec) -> dict[str, Any]:
  """A stage as JSON data, so that a checkpoint describes itself."""
  return {
    'name': stage.name,
    'inputs': [stream_to_dict(s) for s in stage.inputs],
    'target': stream_to_dict(stage.target),
    'crop_seconds': stage.crop_seconds,
  }


def stage_from_dict(data: Mapping[str, Any]) -> StageSpec:
  """The inverse of `stage_to_dict`."""
  target = stream_from_dict(data['target'])
  if not isinstance(target, TokenSpec):
    raise ValueError(
      f'the target of stage {data["name"]!r} is a continuous stream; wanted'
      ' a token stream.'
    )
  return StageSpec(
    name=data['name'],
    inputs=tuple(stream_from_dict(s) for s in data['inputs']),
    target=target,
    crop_seconds=data['crop_seconds'],
  )
