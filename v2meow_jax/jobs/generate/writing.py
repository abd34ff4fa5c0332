"""Writes the result of an item in a worker: the film is as untrusted as before."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.files.films import film_part
from v2meow_jax.inference.finish import options as finish_options
from v2meow_jax.inference.finish import output as output_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
  """A result that is whole, and not yet in place.

  Attributes:
    output: Report on what was written.
    sha256: Digest of the file.
    num_bytes: Size of the file.
  """

  output: output_lib.Output
  sha256: str
  num_bytes: int


class Writing:
  """Makes the function that writes results, in a process of its own."""

  def __call__(self) -> Callable[..., Any]:
    """The function."""
    return write


def write(
  video: str,
  path: str,
  audio: media.Audio,
  options: Mapping[str, Any],
  has_ending: bool,
) -> Written:
  """Finishes the sound of an item and writes it, or a film with it.

  Args:
    video: Path of the film.
    path: Path of the result.
    audio: Sound of the film, or of the part that the item is about.
    options: Options of the item.
    has_ending: Whether the music comes to an end by itself.
  """
  target = pathlib.Path(path)
  output = output_lib.write(
    film_part.cut(video, options.get('start'), options.get('end')),
    target,
    audio,
    finish_options.of_options(options),
    has_ending=has_ending,
  )
  return Written(
    output=output,
    sha256=atomic.sha256(target),
    num_bytes=target.stat().st_size,
  )
