"""What an editor asks of a finished soundtrack."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math
import os
import pathlib
from typing import Any
from typing import Literal

from v2meow_jax import media
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import encode

# Raised when equal options give other samples.
VERSION = 3
# A loudness that leaves music as loud as the system made it.
AS_IS: Literal['as_is'] = 'as_is'
# ours: a little below the -14 to -16 of services that play music, as drums without
# a compressor have peaks far above their loudness.
MUSIC_LUFS = -18.0
# ours: beside the sound of a film, before it goes down under speech, which films
# for the web have at -14 to -20.
BESIDE_SOUND_LUFS = -20.0
NO_PLAN = (
  'best_of compares takes by the beats of their plan, and there is none; leave'
  ' out --no_plan, choose a system that follows plans, such as songs, or give'
  ' --takes and choose yourself.'
)
MOST_TAKES = 100
FILM_RATE_HZ = 48_000
FILM_CHANNELS = 2
_RATES_HZ = (8_000, 192_000)
_LOUDNESS_LUFS = (-50.0, -5.0)
_LEVEL_DB = (-60.0, 20.0)
_MOST_DUCK_DB = 60.0


def _check(
  name: str, value: float | None, low: float, high: float, unit: str
) -> None:
  if value is not None and not (math.isfinite(value) and low <= value <= high):
    limits = f'{low:g} to {high:g}' if high < math.inf else f'{low:g} or more'
    raise ValueError(f'{name} is {value:g} {unit}; wanted {limits}.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finish:
  """What becomes of the music of a clip before it is written.

  Attributes:
    keep_audio: Whether the clip's own sound stays, mixed with the music.
    audio_level_db: Gain of the clip's own sound in the mix, in decibels.
    duck_db: Decibels by which the music goes down where the clip's own sound is
      speech; None: it does not.
    loudness_lufs: Integrated loudness of the result, in LUFS; None: music alone
      has `MUSIC_LUFS`, and in a mix with the clip's own sound the music has
      `BESIDE_SOUND_LUFS`, where that can be reached; `AS_IS`: music is as loud as
      the system made it.
    fade_in_seconds: Time in which the music fades in, in seconds.
    fade_out_seconds: Time in which the music fades out, in seconds; None: a
      second where no plan ends the music.
    rate_hz: Sample rate of the result, in Hz; None: 48,000 in films, and in
      sound alone that of the system.
    num_channels: Number of channels of the result, 1 or 2; None: 2 in films, and
      1 in sound alone.
  """

  keep_audio: bool = False
  audio_level_db: float = 0.0
  duck_db: float | None = None
  loudness_lufs: float | Literal['as_is'] | None = None
  fade_in_seconds: float = 0.0
  fade_out_seconds: float | None = None
  rate_hz: int | None = None
  num_channels: int | None = None

  def __post_init__(self):
    own = {'duck': self.duck_db is not None, 'audio_level': self.audio_level_db}
    given = [name for name, is_given in own.items() if is_given]
    if given and not self.keep_audio:
      raise ValueError(
        f'{" and ".join(given)} {"is" if len(given) == 1 else "are"} about the'
        ' sound of the clip, which is not kept; give --keep_audio, too.'
      )
    _check('audio_level', self.audio_level_db, *_LEVEL_DB, 'dB')
    _check('duck', self.duck_db, 0.0, _MOST_DUCK_DB, 'dB')
    if isinstance(self.loudness_lufs, int | float):
      _check('loudness', self.loudness_lufs, *_LOUDNESS_LUFS, 'LUFS')
    elif self.loudness_lufs not in (None, AS_IS):
      raise ValueError(
        f"loudness is {self.loudness_lufs!r}; wanted LUFS, or '{AS_IS}'."
      )
    _check('fade_in', self.fade_in_seconds, 0.0, math.inf, 's')
    _check('fade_out', self.fade_out_seconds, 0.0, math.inf, 's')
    _check('rate', self.rate_hz, *_RATES_HZ, 'Hz')
    if self.num_channels not in (None, 1, 2):
      raise ValueError(
        f'channels is {self.num_channels}; wanted 1, or 2 for left and right.'
      )

  @property
  def is_nothing(self) -> bool:
    """Whether music alone is left as it is."""
    return self == NOTHING

  @property
  def target_lufs(self) -> float | None:
    """Integrated loudness of the result, in LUFS; None: that of its parts."""
    if self.loudness_lufs is None and not self.keep_audio:
      return MUSIC_LUFS
    return None if self.loudness_lufs == AS_IS else self.loudness_lufs

  @property
  def music_lufs(self) -> float | None:
    """Loudness of the music that enters a mix, in LUFS; None: as it is."""
    is_mixed = self.keep_audio and self.loudness_lufs != AS_IS
    return BESIDE_SOUND_LUFS if is_mixed else None

  def without_own_sound(self) -> Finish:
    """The same for a clip whose own sound does not stay."""
    return dataclasses.replace(
      self, keep_audio=False, audio_level_db=0.0, duck_db=None
    )

  def of(self, path: str | os.PathLike[str], rate_hz: int) -> Finish:
    """What is left open is filled as the kind of the file that is written wants.

    Args:
      path: Path of the file.
      rate_hz: Sample rate of the music, in Hz.

    Raises:
      ValueError: Such a file holds no sound of this rate.
    """
    suffix = pathlib.Path(path).suffix.lower()
    is_film = suffix in containers.SUFFIXES
    filled = dataclasses.replace(
      self,
      rate_hz=self.rate_hz or (FILM_RATE_HZ if is_film else rate_hz),
      num_channels=self.num_channels or (FILM_CHANNELS if is_film else 1),
    )
    if is_film:
      allowed = _rates_of(containers.of(path))
      if allowed and filled.rate_hz not in allowed:
        raise ValueError(
          f'the rate is {filled.rate_hz} Hz; sound in {suffix} has one of'
          f' {", ".join(map(str, allowed))}; leave --rate out, or write .mkv,'
          f' {" or ".join(media.WRITTEN_AUDIO_SUFFIXES)}.'
        )
    return filled


USUAL = Finish()
NOTHING = Finish(loudness_lufs=AS_IS)
# Names of the options of a command line, and of the columns of a manifest.
FIELDS = {
  'keep_audio': 'keep_audio',
  'audio_level': 'audio_level_db',
  'duck': 'duck_db',
  'loudness': 'loudness_lufs',
  'fade_in': 'fade_in_seconds',
  'fade_out': 'fade_out_seconds',
  'rate': 'rate_hz',
  'channels': 'num_channels',
}


def of_options(options: Mapping[str, Any]) -> Finish:
  """The finish that options of a command line or of a row ask for.

  Args:
    options: Values by the names of `FIELDS`, and others; None or no value says
      nothing.

  Raises:
    ValueError: A value is out of range, or they do not go together.
  """
  return Finish(
    **{
      field: options[name]
      for name, field in FIELDS.items()
      if options.get(name) is not None
    }
  )


def record(finish: Finish) -> dict[str, Any]:
  """A finish as json, with what its numbers mean."""
  return {**dataclasses.asdict(finish), 'version': VERSION}


def of_record(recorded: Mapping[str, Any]) -> Finish:
  """The finish that `record` has written down, now or in earlier versions.

  Raises:
    TypeError: It has other fields.
    ValueError: A value is out of range, or it is not done in that way any more.
  """
  fields = dict(recorded)
  if (
    fields.pop('version', 2) < 3
  ):  # Nothing was levelled that was not asked for.
    if fields.get('loudness_lufs') is None:
      fields['loudness_lufs'] = AS_IS
    elif fields.get('keep_audio'):
      raise ValueError(
        'an older version mixed it, in which music beside the sound of a film had'
        ' no loudness of its own; generate the whole again.'
      )
  return Finish(**fields)


def _rates_of(container: containers.Container) -> tuple[int, ...]:
  """Sample rates of the sound of a container; none: any."""
  if container.sound_codec == 'aac':
    return encode.AAC_RATES_HZ
  return (encode.OPUS_RATE_HZ,) if container.sound_codec == 'libopus' else ()


def check_best_of(count: int, *, has_plan: bool) -> None:
  """Raises ValueError unless so many takes can be made and compared."""
  if not 1 <= count <= MOST_TAKES:
    raise ValueError(f'best_of is {count}; wanted 1 to {MOST_TAKES}.')
  if count > 1 and not has_plan:
    raise ValueError(NO_PLAN)
