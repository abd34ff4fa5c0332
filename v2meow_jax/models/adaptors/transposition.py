"""Notes of a target, read and written as steps above the tonic of a plan.

A network that reads notes by their absolute pitch learns harmony 24 times, once
for each key; one that reads them from the tonic learns major and minor. Its
kernels have a row for every place that a note may take above a tonic, so that no
note is lost.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs

_TRIADS = ((0, 4, 7), (0, 3, 7))
_OCTAVE = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transposition:
  """Where the notes of a target are, and where a stream names the key.

  Attributes:
    stream: Input whose frames hold the triad of the key.
    first_column: Column of C, the first of its twelve pitch classes; zeros
      where there is no key.
    num_notes: Numbers of a frame of the target that are notes, the first ones,
      in semitones; others stay where they are.
    lowest_note: Number in MIDI of the first note.
  """

  stream: str
  first_column: int
  num_notes: int
  lowest_note: int

  def check(self, spec: specs.StageSpec) -> None:
    """Raises ValueError unless a stage has such a target and such an input."""
    dims = {s.name: s.dim for s in spec.moving_inputs}
    if dims.get(self.stream, 0) < self.first_column + _OCTAVE:
      raise ValueError(
        f'stage {spec.name!r} reads {dims}; wanted {self.stream!r} with the'
        f' twelve pitch classes of a key from column {self.first_column} on.'
      )
    dim = spec.target.frame_shape[-1]
    if not 0 < self.num_notes <= dim:
      raise ValueError(
        f'{spec.target.name!r} has {dim} numbers a frame; wanted num_notes, here'
        f' {self.num_notes}, between 1 and as many.'
      )

  def num_places(self, dim: int) -> int:
    """Places that `dim` numbers of a frame may take, in any key."""
    return dim + _OCTAVE - 1

  def tonics(self, frames: jax.Array) -> jax.Array:
    """The tonic of each example, a pitch class; C where there is no key.

    Args:
      frames: float[b, frames, dim] of the stream.

    Returns:
      int32[b], of the key that the most frames have.
    """
    classes = self.pitch_classes(frames).sum(1)
    scores = classes @ jnp.asarray(_triads(), classes.dtype).T
    return jnp.argmax(scores, -1).astype(jnp.int32) % _OCTAVE

  def pitch_classes(self, frames: jax.Array) -> jax.Array:
    """float32[b, frames, 12] of the key of each frame."""
    last = self.first_column + _OCTAVE
    return frames[..., self.first_column : last].astype(jnp.float32)

  def relative(self, frames: jax.Array, tonics: jax.Array) -> jax.Array:
    """`pitch_classes` as steps above the tonic of each example."""
    return jax.vmap(lambda x, t: jnp.roll(x, -t, -1))(
      self.pitch_classes(frames), tonics
    )

  def placed(self, frames: jax.Array, tonics: jax.Array) -> jax.Array:
    """Frames of the target, their notes at their steps above the tonic.

    Args:
      frames: float[b, frames, dim].
      tonics: int32[b], pitch classes.

    Returns:
      float[b, frames, places], zeros where an example has no note.
    """
    places = jnp.zeros((*frames.shape[1:-1], self.num_notes + _OCTAVE - 1))
    notes = jax.vmap(
      lambda x, start: jax.lax.dynamic_update_slice_in_dim(
        places.astype(x.dtype), x, start, -1
      )
    )(frames[..., : self.num_notes], self._starts(tonics))
    return jnp.concatenate([notes, frames[..., self.num_notes :]], -1)

  def taken(self, values: jax.Array, tonics: jax.Array) -> jax.Array:
    """Inverts `placed`: float[b, frames, places] -> float[b, frames, dim]."""
    notes = jax.vmap(
      lambda x, start: jax.lax.dynamic_slice_in_dim(
        x, start, self.num_notes, -1
      )
    )(values, self._starts(tonics))
    rest = values[..., self.num_notes + _OCTAVE - 1 :]
    return jnp.concatenate([notes, rest], -1)

  def _starts(self, tonics):
    """Steps from the nearest tonic below the lowest note, int32[b]."""
    return (self.lowest_note - tonics) % _OCTAVE


def _triads() -> np.ndarray:
  """float32[24, 12]: major triads of twelve tonics, then minor ones."""
  triads = np.zeros((2, _OCTAVE, _OCTAVE), np.float32)
  for mode, steps in enumerate(_TRIADS):
    for tonic in range(_OCTAVE):
      triads[mode, tonic, [(tonic + s) % _OCTAVE for s in steps]] = 1
  return triads.reshape(-1, _OCTAVE)
