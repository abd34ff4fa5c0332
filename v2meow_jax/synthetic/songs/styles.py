"""What a style of songs is made of; the styles are in `acoustic_styles`, `electric_styles`."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class BandPart:
  """One player of a band.

  A pattern is one bar in sixteenth notes: a digit is a strength from 1 to 9, a
  dot a rest. Every label of a phrase has one of `patterns`.

  Attributes:
    figure: Notes of each chord that it plays: 'block', 'root', 'fifth',
      'fifth_chord', 'octave', 'walking', 'up', 'updown', 'hold' or 'melody'.
    instruments: Names in `orchestra.INSTRUMENTS`, of which a song has one.
    patterns: Bars in sixteenth notes; () for a melody, and for 'hold'.
    gain: Loudness beside other parts.
    centre: Pitch that its notes lie around, a MIDI number.
    from_energy: Least energy of music with this part.
    to_energy: Energy from which on others take its place.
    share: Share of songs that have it.
    held: Share of the time to its next note that a note is held.
  """

  figure: str
  instruments: tuple[str, ...]
  patterns: tuple[str, ...] = ()
  gain: float = 1.0
  centre: int = 60
  from_energy: float = 0.0
  to_energy: float = 2.0
  share: float = 1.0
  held: float = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groove:
  """Lines of a drum kit.

  Attributes:
    lines: Key of a drum, least energy of music with this line, and a bar in
      sixteenth notes.
    fill: Keys of the drums of a fill, in their order; (): none.
  """

  lines: tuple[tuple[int, float, str], ...]
  fill: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
  """A style of songs.

  Attributes:
    tempo_bpm: Slowest and fastest tempo, beats per minute.
    beats_per_bar: Metres, 3 or 4, of which a song has one.
    major: Lines of four chords in major, as numerals; () for none.
    minor: Lines of four chords in minor; () for none.
    parts: Pitched players.
    kits: Names in `orchestra.KITS`; () for none.
    grooves: Grooves by number of beats of a bar, of which a phrase has one.
    kit_gain: Loudness of the kit beside parts.
    swing: Least and largest place of the off-beat in its beat, 0.5 is straight.
    swung: Part of a beat that swings, 2 for eighths and 4 for sixteenths.
    energy: Energy of the quietest and of the loudest phrases.
    shapes: Names of ways in which energy moves, see `form`.
    room_seconds: Reverberation time.
    wet: Loudness of the reverberation beside the dry sound.
    pump: Dip of all parts at each kick, from 0 to 1.
    ritardando: Share by which the last bar slows down.
    names: Names of the style in captions.
    moods: Moods in captions.
  """

  tempo_bpm: tuple[float, float]
  beats_per_bar: tuple[int, ...] = (4,)
  major: tuple[str, ...]
  minor: tuple[str, ...]
  parts: tuple[BandPart, ...]
  kits: tuple[str, ...] = ()
  grooves: dict[int, tuple[Groove, ...]] = dataclasses.field(
    default_factory=dict
  )
  kit_gain: float = 1.0
  swing: tuple[float, float] = (0.5, 0.5)
  swung: int = 2
  energy: tuple[float, float] = (0.0, 1.0)
  shapes: tuple[str, ...] = ('terraces', 'arch', 'build', 'verses')
  room_seconds: float = 1.0
  wet: float = 0.25
  pump: float = 0.0
  ritardando: float = 0.0
  names: tuple[str, ...]
  moods: tuple[str, ...]
