"""What flows between stages: streams, rates and lengths. No arrays here.

Every length in the project is derived from these three types, so a rate is
written once and seconds become lengths in one place.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import fractions
import math
from typing import Any

PAD_ID = 0
MASK_ID = 1  # A code of the target that is not known yet.
NUM_RESERVED_IDS = 2


def whole_frames(name: str, seconds: float, rate_hz: float) -> int:
  """Seconds at a rate as a whole number of frames.

  >>> whole_frames('semantic', 10.0, 25.0)
  250

  Args:
    name: Name of the stream, for the error.
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


def grid_seconds(rates_hz: Iterable[float]) -> float:
  """Computes the shortest time of whole frames at all of some rates.

  >>> grid_seconds([1.0, 25.0])
  1.0
  >>> grid_seconds([1.0, 12.5])
  2.0
  """
  periods = [
    1 / fractions.Fraction(r).limit_denominator(10**6) for r in rates_hz
  ]
  grid = fractions.Fraction(
    math.lcm(*(p.numerator for p in periods)),
    math.gcd(*(p.denominator for p in periods)),
  )
  return float(grid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSpec:
  """A continuous stream: `dim` numbers per frame, or per patch of a frame.

  Attributes:
    name: Name of the stream in records, batches and errors.
    dim: Numbers in one frame, or in each of its patches.
    rate_hz: Frames a second; 0 means one frame per clip.
    num_positions: Patches of a frame, row by row.
  """

  name: str
  dim: int
  rate_hz: float
  num_positions: int = 1

  @property
  def is_static(self) -> bool:
    """Whether one vector stands for the whole clip."""
    return self.rate_hz == 0

  @property
  def frame_shape(self) -> tuple[int, ...]:
    """(dim,), or (num_positions, dim) of a frame of several patches."""
    patches = (self.num_positions,) if self.num_positions > 1 else ()
    return (*patches, self.dim)

  @property
  def record_name(self) -> str:
    """The record field this stream is read from."""
    return self.name

  def num_frames(self, seconds: float) -> int:
    """Frames in `seconds`; raises ValueError unless they are whole."""
    return (
      1 if self.is_static else whole_frames(self.name, seconds, self.rate_hz)
    )

  def length(self, seconds: float) -> int:
    """Positions in `seconds`: frames times patches of a frame."""
    return self.num_frames(seconds) * self.num_positions


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenSpec:
  """A discrete stream: `codes_per_frame` codes per frame.

  Attributes:
    name: Name of the stream in records, batches and errors.
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
  def frame_shape(self) -> tuple[int, ...]:
    """(codes_per_frame,)."""
    return (self.codes_per_frame,)

  @property
  def record_name(self) -> str:
    """The record field this stream is read from."""
    return self.stored_as or self.name


Stream = FeatureSpec | TokenSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSpec:
  """One model: the streams it reads and the stream it writes.

  Attributes:
    name: Name of the stage.
    inputs: Streams it is conditioned on, in the order they are laid out.
    target: Stream it writes.
    crop_seconds: Stretch of time of one training example and of one window.
    guides: Streams that an objective compares with; generation has none.
  """

  name: str
  inputs: tuple[Stream, ...]
  target: Stream
  crop_seconds: float
  guides: tuple[FeatureSpec, ...] = ()

  def __post_init__(self):
    names = [s.name for s in self.streams]
    if len(set(names)) != len(names):
      raise ValueError(
        f'stage {self.name!r} uses a stream twice: {names}; every input and'
        ' the target need different names.'
      )
    if isinstance(self.target, TokenSpec) and self.target.is_picture:
      raise ValueError(
        f'stage {self.name!r} cannot write {self.target.name!r}: a stage reads'
        ' pictures and writes streams of one position a frame.'
      )

  @property
  def streams(self) -> tuple[Stream, ...]:
    """All that training reads: inputs, guides, and the target."""
    return (*self.inputs, *self.guides, self.target)

  @property
  def token_streams(self) -> tuple[TokenSpec, ...]:
    """Token inputs, then a token target: the order of `tokens.IdSpace`."""
    streams = (*self.inputs, self.target)
    return tuple(s for s in streams if isinstance(s, TokenSpec))

  @property
  def feature_inputs(self) -> tuple[FeatureSpec, ...]:
    """The continuous inputs, in order."""
    return tuple(s for s in self.inputs if isinstance(s, FeatureSpec))

  @property
  def moving_inputs(self) -> tuple[FeatureSpec, ...]:
    """The continuous inputs that go along with time."""
    return tuple(s for s in self.feature_inputs if not s.is_static)

  @property
  def feature_streams(self) -> tuple[FeatureSpec, ...]:
    """The continuous inputs, the guides, then a continuous target."""
    return tuple(s for s in self.streams if isinstance(s, FeatureSpec))

  @property
  def token_inputs(self) -> tuple[TokenSpec, ...]:
    """The discrete inputs, in order."""
    return tuple(s for s in self.inputs if isinstance(s, TokenSpec))

  def feature_lengths(self) -> dict[str, int]:
    """Ids or frames of every stream in one crop: SeqIO's task_feature_lengths."""
    return {
      s.name: s.length(self.crop_seconds)
      if isinstance(s, TokenSpec)
      else s.num_frames(self.crop_seconds)
      for s in self.streams
    }


def stream_to_dict(stream: Stream) -> dict[str, Any]:
  """A stream as JSON data; a token stream is told by its codebook_size."""
  return dataclasses.asdict(stream)


def stream_from_dict(data: Mapping[str, Any]) -> Stream:
  """The inverse of `stream_to_dict`; TypeError names a wrong field."""
  kind = TokenSpec if 'codebook_size' in data else FeatureSpec
  return kind(**data)


def stage_to_dict(stage: StageSpec) -> dict[str, Any]:
  """A stage as JSON data, so that a checkpoint describes itself."""
  guides = [stream_to_dict(s) for s in stage.guides]
  return {
    'name': stage.name,
    'inputs': [stream_to_dict(s) for s in stage.inputs],
    'target': stream_to_dict(stage.target),
    'crop_seconds': stage.crop_seconds,
    **({'guides': guides} if guides else {}),
  }


def stage_from_dict(data: Mapping[str, Any]) -> StageSpec:
  """The inverse of `stage_to_dict`."""
  return StageSpec(
    name=data['name'],
    inputs=tuple(stream_from_dict(s) for s in data['inputs']),
    target=stream_from_dict(data['target']),
    crop_seconds=data['crop_seconds'],
    guides=tuple(FeatureSpec(**s) for s in data.get('guides', ())),
  )
