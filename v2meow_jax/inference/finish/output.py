"""Writes the finished sound of a clip: alone, or under the pictures of a film."""

import dataclasses
import os
import pathlib
from typing import Any

from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import write as media_write
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import film_part
from v2meow_jax.files.films import remux
from v2meow_jax.files.films import scratch
from v2meow_jax.inference.finish import finished as finished_lib
from v2meow_jax.inference.finish import options as options_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
  """What was written.

  Attributes:
    film: Report on the film; None for sound alone.
    seconds: Length of the sound, in seconds.
    rate_hz: Sample rate of the sound, in Hz.
    finish: Facts on what was done to the music, for a sidecar; None: nothing.
    span: Start and end of the music in the film, in seconds; None: all of it.
  """

  film: remux.Remuxed | None
  seconds: float
  rate_hz: int
  finish: dict[str, Any] | None
  span: tuple[float, float] | None = None

  def describe(self) -> dict[str, Any]:
    """What a sidecar says of it."""
    facts: dict[str, Any] = {}
    if self.film is not None:
      facts = {
        'picture': self.film.picture,
        'left_out': list(self.film.left_out),
      }
    facts |= {'seconds': self.seconds, 'sample_rate_hz': self.rate_hz}
    if self.span is not None:
      facts['music_from'], facts['music_to'] = self.span
    if self.finish is not None:
      facts['finish'] = self.finish
    return facts


def write(
  video: str | os.PathLike[str],
  path: pathlib.Path,
  music: media.Audio,
  finish: options_lib.Finish,
  *,
  has_ending: bool,
) -> Output:
  """Finishes music and writes it, as a sound or as a film with it.

  Music alone of which nothing is asked is written as it is.

  Args:
    video: Path or description of the film, or `film_part.cut` of it.
    path: Path of the file to write.
    music: Music of the film or its part.
    finish: Options of the finish.
    has_ending: Whether the music comes to an end by itself.

  Returns:
    What was written.
  """
  if path.suffix.lower() in containers.SUFFIXES:
    video = probe.probe_video(video)  # Once for both.
  sound = finished(video, path, music, finish, has_ending=has_ending)
  return write_sound(video, path, sound or music, sound)


def finished(
  video: str | os.PathLike[str],
  path: pathlib.Path,
  music: media.Sound,
  finish: options_lib.Finish,
  *,
  has_ending: bool,
  gains_db: finished_lib.Gains = finished_lib.OWN_GAINS,
) -> finished_lib.Finished | None:
  """The finished sound for a file; None where the music is written as it is.

  Arguments are those of `write`, and `gains_db` of `finished.finished`.
  """
  is_film = path.suffix.lower() in containers.SUFFIXES
  is_part = isinstance(video, film_part.FilmPart)
  if not (is_film or is_part) and finish.is_nothing and has_ending:
    return None
  info = None
  if is_film or is_part or finish.keep_audio:
    info = probe.probe_video(video)
  return finished_lib.finished(
    music,
    info,
    finish.of(path, music.rate_hz),
    has_ending=has_ending,
    folder=scratch.folder(path),
    gains_db=gains_db,
  )


def write_sound(
  video: str | os.PathLike[str],
  path: pathlib.Path,
  sound: media.Sound,
  said: finished_lib.Finished | None,
) -> Output:
  """Writes a sound that is finished, as a sound or as a film with it.

  Args:
    video: Path or description of the film, or `film_part.cut` of it.
    path: Path of the file to write.
    sound: Sound to write.
    said: Sound whose facts are told once `sound` has passed; None: there are
      none.
  """
  span = film = None
  if isinstance(video, film_part.FilmPart):
    span = video.offset_seconds, video.offset_seconds + video.seconds
  if path.suffix.lower() in containers.SUFFIXES:
    info = probe.probe_video(video)
    whole = info.whole if isinstance(info, film_part.FilmPart) else info
    film = remux.replace_sound(whole, sound, path)
  else:
    media_write.write_audio(path, sound)
  return Output(
    film=film,
    seconds=sound.num_samples / sound.rate_hz,
    rate_hz=sound.rate_hz,
    finish=None if said is None else said.facts(),
    span=span,
  )
