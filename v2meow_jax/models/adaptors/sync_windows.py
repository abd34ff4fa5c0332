"""Cuts windows of a picture, of its music, and of music that is not its own."""

from collections.abc import Mapping
import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs


class SyncWindows(NamedTuple):
  """Windows of a batch, one of each kind for each row.

  Attributes:
    inputs: 'encoder_inputs_<stream>' of each input that goes along with time.
    music: float32[b, frames, dim], of the same time.
    shifted: Music of the same clip at another time; None: switched off.
    replaced: Music of the same time, of which a part is that of the next clip
      of the batch; None: switched off.
  """

  inputs: dict[str, jax.Array]
  music: jax.Array
  shifted: jax.Array | None
  replaced: jax.Array | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Negatives:
  """Which music does not belong to a picture.

  Attributes:
    window_seconds: Length of a window.
    temporal_shift: Whether music of the same clip at another time is one.
    shift_seconds: Least time between a window and its shifted one.
    random_replacement: Whether music of which a part is another's is one.
    replaced_shares: Least and greatest part of a window that is replaced.
  """

  window_seconds: float = 4.0
  temporal_shift: bool = True
  shift_seconds: float = 2.0
  random_replacement: bool = True
  replaced_shares: tuple[float, float] = (0.25, 0.5)

  def __post_init__(self):
    object.__setattr__(self, 'replaced_shares', tuple(self.replaced_shares))
    least, most = self.replaced_shares
    if not 0 < least <= most < 1:
      raise ValueError(
        f'replaced_shares are {self.replaced_shares}; wanted two shares between'
        ' 0 and 1, the lesser first.'
      )

  def starts(self, spec: specs.StageSpec) -> np.ndarray:
    """Pairs of starts in a crop, float64[pairs, 2]: of a window and its shift.

    Starts lie on whole frames of every stream. A crop without a shift has pairs
    of equal starts.

    Raises:
      ValueError: A crop is too short for two windows that far apart.
    """
    streams = (*spec.feature_inputs, spec.target)
    step = specs.grid_seconds(s.rate_hz for s in streams if s.rate_hz)
    last = math.floor((spec.crop_seconds - self.window_seconds) / step + 1e-6)
    every = np.arange(last + 1) * step
    if not self.temporal_shift:
      pairs = np.stack([every, every], 1)
    else:
      a, b = np.meshgrid(every, every, indexing='ij')
      apart = np.abs(a - b) >= self.shift_seconds - 1e-6
      pairs = np.stack([a[apart], b[apart]], 1)
    if not len(pairs):
      raise ValueError(
        f'a crop of {spec.crop_seconds:g} s of stage {spec.name!r} has no two'
        f' windows of {self.window_seconds:g} s that are {self.shift_seconds:g}'
        ' s apart; lengthen crop_seconds, or shorten window_seconds.'
      )
    return pairs

  def cut(
    self, spec: specs.StageSpec, batch: Mapping[str, jax.Array], rng: jax.Array
  ) -> SyncWindows:
    """Cuts the windows of a batch.

    Args:
      spec: Streams of the crops.
      batch: Batch of the layout 'frames'.
      rng: Key of all draws.

    Returns:
      Windows of every row.
    """
    pairs = self.starts(spec)
    music = batch['decoder_target_frames']
    rows = len(music)
    places, replacing = jax.random.split(rng)
    chosen = jnp.asarray(pairs)[
      jax.random.randint(places, (rows,), 0, len(pairs))
    ]
    inputs = {}
    for s in spec.moving_inputs:
      key = f'encoder_inputs_{s.name}'
      inputs[key] = self._window(batch[key], s, chosen[:, 0])
    own = self._window(music, spec.target, chosen[:, 0])
    shifted = replaced = None
    if self.temporal_shift:
      shifted = self._window(music, spec.target, chosen[:, 1])
    if self.random_replacement:
      replaced = self._replaced(own, replacing)
    return SyncWindows(inputs, own, shifted, replaced)

  def _window(self, x, stream: specs.Stream, starts: jax.Array) -> jax.Array:
    """The window of each row that begins at its start, in seconds."""
    length = specs.whole_frames(
      stream.name, self.window_seconds, stream.rate_hz
    )
    first = jnp.round(starts * stream.rate_hz).astype(jnp.int32)
    return jax.vmap(
      lambda row, i: jax.lax.dynamic_slice_in_dim(row, i, length)
    )(x, first)

  def _replaced(self, music: jax.Array, rng: jax.Array) -> jax.Array:
    """Windows, a part of each taken from the next row, at the same place."""
    rows, frames = music.shape[:2]
    share, place = jax.random.uniform(rng, (2, rows))
    least, most = self.replaced_shares
    length = jnp.round((least + share * (most - least)) * frames)
    first = jnp.floor(place * (frames - length + 1))
    index = jnp.arange(frames)
    inside = (index >= first[:, None]) & (index < (first + length)[:, None])
    return jnp.where(inside[..., None], jnp.roll(music, 1, 0), music)
