"""The Extractor protocol: one way, from media to a stream."""

from typing import Literal
from typing import Protocol

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs


class Extractor(Protocol):
  """Turns media into one stream; frozen, and the same in training and use.

  One whose features are standardised already has `is_standardised = True`; the
  moments of others are stored with the records.

  Attributes:
    stream: Stream that it emits.
  """

  stream: specs.Stream

  @property
  def reads(self) -> Literal['video', 'audio', 'text', 'plan']:
    """Medium of an item: `media.Video`, `media.Audio`, a string, a `MusicPlan`."""
    ...

  @property
  def sample_rate_hz(self) -> int | None:
    """Samples a second at which audio is best read; None for other media."""
    ...

  def __call__(self, item: media.Video | media.Audio | str) -> np.ndarray:
    """float32[frames, dim] of a feature stream, int32[frames, levels] of tokens.

    The number of frames is `round(item.seconds * stream.rate_hz)`, at least 1;
    frame i stands for the time around `(i + 0.5) / rate_hz` from the start of
    the item. A static stream (rate 0) gives one frame.
    """
    ...


def check_dim(name: str, wanted: int, got: int) -> None:
  """Raises ValueError when an extractor cannot give the stream's width."""
  if wanted != got:
    raise ValueError(
      f'stream {name!r} has dim {wanted}, but its extractor gives {got}; set'
      f' its dim to {got} in the recipe, or use another extractor.'
    )
