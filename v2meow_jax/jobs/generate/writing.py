"""Writes the result of an item in a worker: the film is as untrusted as before."""

from collections.abc import Callable
import dataclasses
import pathlib
from typing import Any

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.files.films import remux
from v2meow_jax.inference import soundtrack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
  """A result that is whole, and not yet in place.

  Attributes:
    film: Report on the film; None for sound alone.
    sha256: Digest of the file.
    num_bytes: Size of the file.
  """

  film: remux.Remuxed | None
  sha256: str
  num_bytes: int


class Writing:
  """Makes the function that writes results, in a process of its own."""

  def __call__(self) -> Callable[..., Any]:
    """The function."""
    return write


def write(video: str, path: str, audio: media.Audio) -> Written:
  """Writes a sound, or a film with it.

  Args:
    video: Path of the film.
    path: Path of the result.
    audio: Sound of the film.
  """
  target = pathlib.Path(path)
  film = soundtrack.write_sound(video, target, audio)
  return Written(
    film=film,
    sha256=atomic.sha256(target),
    num_bytes=target.stat().st_size,
  )
