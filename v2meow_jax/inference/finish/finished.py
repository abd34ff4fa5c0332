"""Finishes the music of a clip as an editor would: READ THIS FIRST.

Music fades, is resampled, takes its place in the film, goes down under speech
and is mixed with the film's own sound. The mix is measured, which gives it a
gain and a limiter (`mastering`), and is measured once more while it is written.
All of it works on pieces: no step holds more of a sound than a second, and a number
for each tenth of one. The few for each 5 ms that the limiter needs of a film lie on
a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import os
from typing import Any

import numpy as np

from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files.films import film_part
from v2meow_jax.files.films import own_sound
from v2meow_jax.files.films import sounds
from v2meow_jax.inference.finish import ducking
from v2meow_jax.inference.finish import levels as levels_lib
from v2meow_jax.inference.finish import mastering
from v2meow_jax.inference.finish import mixing
from v2meow_jax.inference.finish import options as options_lib
from v2meow_jax.inference.finish import speech

# ours: fade of music that no plan ends, in seconds.
ENDING_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gains:
  """Gains of a mastering, in decibels; None: there is none yet."""

  music: float | None = None
  whole: float | None = None


OWN_GAINS = Gains()


class Finished:
  """A finished sound, as long as its film, and what was done to it.

  One channel goes to both sides as it is, so that the mean of left and right is
  the channel to the bit, and nothing cancels where they are added.
  """

  def __init__(
    self,
    sound: media.Sound,
    num_channels: int,
    facts: dict[str, Any],
    folder: str | os.PathLike[str] | None,
    gains_db: Gains = OWN_GAINS,
  ):
    """See `finished`."""
    self._sound = sound
    self._gains_db = gains_db
    self._folder = folder
    self._num_channels = num_channels
    self._facts = facts
    self._is_of_loudness = facts['loudness_lufs'] is not None
    self._levels: levels_lib.Levels | None = None

  @property
  def rate_hz(self) -> int:
    """Sample rate, in Hz."""
    return self._sound.rate_hz

  @property
  def num_channels(self) -> int:
    """Number of channels."""
    return self._num_channels

  @property
  def has_equal_channels(self) -> bool:
    """Whether every channel is known to be the same."""
    return self._sound.has_equal_channels

  @property
  def num_samples(self) -> int:
    """Number of samples of each channel."""
    return self._sound.num_samples

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`; measures what passes."""
    copies = self.num_channels // self._sound.num_channels
    meter = levels_lib.Meter(
      self._sound,
      copies,
      with_loudness=self._is_of_loudness,
      folder=self._folder,
    )
    left = self.num_samples
    for piece in sounds.rebuffered(self._sound.pieces()):
      meter.add(piece)
      left -= piece.shape[1]
      if not left:  # Whoever has the last piece asks for no more.
        self._levels = meter.levels()
      yield np.broadcast_to(piece, (self.num_channels, piece.shape[1]))

  @property
  def gains_db(self) -> Gains:
    """Gains that it got."""
    return self._gains_db

  @property
  def mastered(self) -> media.Sound:
    """The sound as it is before it is measured, on the channels that differ."""
    return self._sound

  def joined(self, sound: media.Sound, parts: Sequence[Finished]) -> Finished:
    """The same, with parts of others that were finished alike.

    Args:
      sound: Mastered sound of this, with the parts in it.
      parts: Sounds that the parts are of.
    """
    limited = [s.facts()['limited_db'] for s in (self, *parts)]
    facts = {**self._facts, 'limited_db': max(limited)}
    return Finished(
      sound, self.num_channels, facts, self._folder, self._gains_db
    )

  def samples(self) -> np.ndarray:
    """All of it: float32[num_samples, num_channels]."""
    return np.concatenate(list(self.pieces()), axis=1).T

  def facts(self) -> dict[str, Any]:
    """What a sidecar says of it: options, and levels once it has passed."""
    facts = {**self._facts}
    if self._levels is not None:
      if self._is_of_loudness:
        loudness = self._levels.loudness()
        facts['reached_lufs'] = loudness and round(loudness, 2)
      facts['true_peak_dbtp'] = round(self._levels.true_peak_db, 2)
    return facts


def finished(
  music: media.Sound,
  film: probe.MediaInfo | None,
  finish: options_lib.Finish,
  *,
  has_ending: bool = True,
  folder: str | os.PathLike[str] | None = None,
  gains_db: Gains = OWN_GAINS,
) -> Finished:
  """Finishes the music of a film, or of a part of one.

  Args:
    music: Music as long as the film, or as its part; one channel.
    film: Description of the film, or a `film_part.FilmPart` of it; None: nothing
      but the music is known.
    finish: Options; rate and channels that are open are those of the music.
    has_ending: Whether the music comes to an end by itself; if not, and unless
      the options say otherwise, it fades out.
    folder: Folder of this machine, on whose disk numbers about a film lie; None:
      in memory, some 10 MB an hour.
    gains_db: Gains to take in place of those for a loudness, where there are
      any: of other music for the same film, that parts of both fit.

  Returns:
    Sound of the whole film, silent where there is neither music nor own sound.

  Raises:
    ValueError: Sound is to be kept, and no film is given.
    probe.UnsupportedMedia: The sound of the film cannot be read.
  """
  facts = {**dataclasses.asdict(finish), 'version': options_lib.VERSION}
  rate_hz = finish.rate_hz or music.rate_hz
  fade_out = finish.fade_out_seconds
  if fade_out is None:
    fade_out = 0.0 if has_ending else ENDING_SECONDS
  facts |= {'rate_hz': rate_hz, 'fade_out_seconds': fade_out}
  sound: media.Sound = music
  if finish.fade_in_seconds or fade_out:
    sound = mixing.Faded(music, finish.fade_in_seconds, fade_out)
  sound = sounds.Resampled(sound, rate_hz)
  whole = film
  if isinstance(film, film_part.FilmPart):
    whole = film.whole
    first = round(film.offset_seconds * rate_hz)
    sound = mixing.Placed(sound, first, round(whole.seconds * rate_hz))
  num_channels = finish.num_channels or 1
  was_asked = finish.loudness_lufs is not None
  most_db = (
    mastering.MOST_REDUCTION_DB if was_asked else mastering.GENTLE_REDUCTION_DB
  )
  if finish.keep_audio and whole is not None and not whole.has_audio:
    facts['not_used'] = {'keep_audio': 'the film has no sound'}
    finish = finish.without_own_sound()
  elif finish.keep_audio:
    if finish.music_lufs is not None:
      level = _planned(
        sound,
        finish.music_lufs,
        mastering.GENTLE_REDUCTION_DB,
        gains_db.music,
        num_channels,
        folder,
      )
      gains_db = dataclasses.replace(gains_db, music=level.gain_db)
      facts['music_gain_db'] = round(level.gain_db, 2)
      sound = mastering.Mastered(sound, level)
    sound, said = _mix(sound, whole, finish, num_channels)
    facts |= said
  chosen = _planned(
    sound, finish.target_lufs, most_db, gains_db.whole, num_channels, folder
  )
  gains_db = dataclasses.replace(gains_db, whole=chosen.gain_db)
  facts |= {
    'loudness_lufs': finish.target_lufs,
    'num_channels': num_channels,
    'gain_db': round(chosen.gain_db, 2),
    'limited_db': round(chosen.limited_db, 2),
  }
  if chosen.why and was_asked:
    facts['loudness_missed'] = chosen.why
  mastered = mastering.Mastered(sound, chosen)
  return Finished(mastered, num_channels, facts, folder, gains_db)


def _planned(
  sound: media.Sound,
  target_lufs: float | None,
  most_reduction_db: float,
  gain_db: float | None,
  num_channels: int,
  folder: str | os.PathLike[str] | None,
) -> mastering.Mastering:
  """`mastering.plan` of a sound on so many channels."""
  levels = levels_lib.measured(
    sound,
    num_channels // sound.num_channels,
    with_loudness=target_lufs is not None and gain_db is None,
    folder=folder,
  )
  return mastering.plan(levels, target_lufs, most_reduction_db, gain_db)


def _mix(
  music: media.Sound,
  film: probe.MediaInfo | None,
  finish: options_lib.Finish,
  num_channels: int,
) -> tuple[mixing.Mix, dict[str, Any]]:
  """Music beside the sound of its film, and what was found there."""
  if film is None:
    raise ValueError('the sound to keep is that of a film; give one.')
  facts: dict[str, Any] = {}
  curve = None
  if finish.duck_db:
    heard = own_sound.OwnSound(film, speech.RATE_HZ, 1)
    talk = speech.segments(heard)
    curve = ducking.Ducking(talk, finish.duck_db)
    facts['speech'] = [list(stretch) for stretch in talk]
  mix = mixing.Mix(
    music=sounds.Fitted(music, round(film.seconds * music.rate_hz)),
    sound=own_sound.OwnSound(film, music.rate_hz, num_channels),
    own_gain=10 ** (finish.audio_level_db / 20),
    ducking=curve,
  )
  return mix, facts
