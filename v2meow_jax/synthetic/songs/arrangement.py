"""Notes of a song: who plays what, when and how strongly."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import math

import numpy as np

from v2meow_jax.synthetic.bank import orchestra
from v2meow_jax.synthetic.songs import form
from v2meow_jax.synthetic.songs import harmony
from v2meow_jax.synthetic.songs import melody
from v2meow_jax.synthetic.songs import song as song_lib
from v2meow_jax.synthetic.songs import styles

# How far notes fall with energy; players who rest make up for what is missing.
QUIETEST_DB = -16.0
_JITTER_SECONDS = 0.004
_FILL_BEATS = 2
_CRASH_ENERGY = 0.55
_LED_BY_FILLS = {orchestra.SNARE, orchestra.CLAP, orchestra.HAT, orchestra.RIDE}


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
  """A note or a hit.

  Attributes:
    start_seconds: Start in the song.
    seconds: Time that it is held; hits ring as long as they do.
    player: Name in `orchestra.INSTRUMENTS`, or of a kit in `orchestra.KITS`.
    pitch: MIDI number, of a drum for a kit.
    strength: Strength of the stroke, from 0 to 1.
    gain: Loudness, a factor.
  """

  start_seconds: float
  seconds: float
  player: str
  pitch: int
  strength: float
  gain: float

  @property
  def is_hit(self) -> bool:
    """Whether a drum kit plays it."""
    return self.player in orchestra.KITS


def notes(song: song_lib.Song) -> list[Note]:
  """All notes of a song, part after part."""
  style = song_lib.STYLES[song.style]
  rng = np.random.default_rng([song.seed, song.index, 9])
  written = []
  for number, (part, player) in enumerate(
    zip(style.parts, song.players, strict=True)
  ):
    if player is not None:
      written += _Player(song, part, player, number, rng).notes()
  if song.kit is not None:
    written += _Drummer(song, song.kit, rng).notes()
  return written


class _Writer:
  """Places notes in time: swing, rests, energy, and what people do."""

  def __init__(self, song: song_lib.Song, rng: np.random.Generator):
    self._song = song
    self._style = song_lib.STYLES[song.style]
    self._is_machine = song.kit in orchestra.MACHINES
    self._rng = rng
    # Tables for what is asked for each note: beats, and sixteenths.
    beats = np.arange(len(song.grid))
    self._rests = song.is_rest(beats).tolist()
    sixteenths = np.arange(4 * len(beats)) / 4
    self._energies = song.energy_of(sixteenths).tolist()

  def _time_of(self, beats: float) -> float:
    """As `Song.time_of`, of one place within the grid."""
    grid = self._song.grid
    whole = min(int(beats), len(grid) - 2)
    share = min(beats - whole, 1.0)
    return grid[whole] + share * (grid[whole + 1] - grid[whole])

  def _chord(self, phrase: form.Phrase, bar: int) -> tuple[int, ...]:
    """Pitch classes of the chord of a bar of a phrase, the root first."""
    lines = self._song.chords['B' if phrase.label == 'B' else 'A']
    return tuple((self._song.key + c) % 12 for c in lines[bar % len(lines)])

  def _pattern(self, patterns: tuple, label: str, salt: int):
    """What a phrase with this label plays, the same whenever it returns."""
    material = 'B' if label == 'B' else 'A'
    draw = [self._song.seed, self._song.index, 10, salt, ord(material)]
    return patterns[np.random.default_rng(draw).integers(len(patterns))]

  def _steps(self, phrase: form.Phrase) -> Iterator[tuple[int, float, float]]:
    """Bars of a phrase: number in the phrase, first beat, energy."""
    for bar in range(phrase.num_bars):
      beat = (phrase.first_bar + bar) * self._song.beats_per_bar
      middle = form.energy_at(
        self._song.phrases, np.array([phrase.first_bar + bar + 0.5])
      )
      yield bar, float(beat), float(middle[0])

  def _swung(self, beats: float) -> float:
    """A place in beats with its off-beats delayed."""
    pulse = self._style.swung / 2
    whole, part = divmod(beats * pulse, 1.0)
    late = self._song.swing
    moved = (
      2 * part * late if part < 0.5 else late + (2 * part - 1) * (1 - late)
    )
    return (whole + moved) / pulse

  def _note(
    self,
    player: str,
    pitch: int,
    beat: float,
    end: float,
    strength: float,
    gain: float,
  ) -> Note | None:
    """A note from one place in beats to another; None where all rest."""
    start = self._time_of(self._swung(beat))
    if self._rests[int(beat)] or start >= self._song.seconds:
      return None
    last = min(math.ceil(end), len(self._rests))
    following = range(int(beat) + 1, last)
    rest = next((b for b in following if self._rests[b]), None)
    stop = self._time_of(self._swung(end) if rest is None else rest)
    energy = self._energies[int(4 * beat)]
    late = self._rng.normal(0, _JITTER_SECONDS) * (not self._is_machine)
    strength = strength * (1 + self._rng.normal(0, 0.05))
    loudness = 10 ** (QUIETEST_DB * (1 - energy) / 20)
    return Note(
      start_seconds=max(start + late, 0.0),
      seconds=max(stop - start, 0.05),
      player=player,
      pitch=pitch,
      strength=float(np.clip(strength * (0.3 + 0.7 * energy), 0.05, 1)),
      gain=float(gain * loudness * max(strength, 0.1) ** 1.5),
    )


class _Player(_Writer):
  """Writes one pitched part."""

  def __init__(
    self,
    song: song_lib.Song,
    part: styles.BandPart,
    player: str,
    number: int,
    rng: np.random.Generator,
  ):
    super().__init__(song, rng)
    self._part = part
    self._name = player
    self._instrument = orchestra.INSTRUMENTS[player]
    self._number = number
    self._voicing: tuple[int, ...] = ()

  def notes(self) -> list[Note]:
    """Its notes, the last chord among them."""
    written = []
    for phrase in self._song.phrases:
      if self._part.figure == 'melody':
        written += self._melody(phrase)
      else:
        written += self._figure(phrase)
    last = self._song.phrases[-1].energies[1]
    if self._song.end_seconds is not None and self._plays(last, ''):
      written += self._last_chord()
    return [n for n in written if n is not None]

  def _plays(self, energy: float, label: str) -> bool:
    is_thin = label in ('intro', 'breakdown')
    leads = self._part.figure == 'melody' and is_thin
    return self._part.from_energy <= energy < self._part.to_energy and not leads

  def _fits(self, pitch: int) -> int:
    """The pitch, moved by octaves into the range of the instrument."""
    while pitch < self._instrument.lowest:
      pitch += 12
    while pitch > self._instrument.highest:
      pitch -= 12
    return pitch

  def _melody(self, phrase: form.Phrase) -> list[Note | None]:
    chords = [self._chord(phrase, bar) for bar in range(phrase.num_bars)]
    lines = melody.bars(
      self._song, phrase.label, chords, self._part.centre, self._number
    )
    written = []
    for bar, beat, energy in self._steps(phrase):
      if self._plays(energy, phrase.label):
        written += [
          self._note(
            self._name,
            self._fits(pitch),
            beat + start / 4,
            beat + start / 4 + (end - start) / 4 * self._part.held,
            strength,
            self._part.gain,
          )
          for start, end, pitch, strength in lines[bar]
        ]
    return written

  def _figure(self, phrase: form.Phrase) -> list[Note | None]:
    metre = self._song.beats_per_bar
    patterns = self._part.patterns or ('9' + '.' * 15,)
    pattern = self._pattern(patterns, phrase.label, self._number)[: 4 * metre]
    steps = [s for s, c in enumerate(pattern) if c != '.']
    written = []
    for bar, beat, energy in self._steps(phrase):
      chord = self._chord(phrase, bar)
      following = self._chord(phrase, (bar + 1) % phrase.num_bars)
      self._voicing = harmony.voicing(chord, self._voicing, self._part.centre)
      if not self._plays(energy, phrase.label):
        continue
      for k, step in enumerate(steps):
        next_step = steps[k + 1] if k + 1 < len(steps) else 4 * metre
        held = (next_step - step) / 4 * self._part.held
        pitches = self._pitches(chord, following, k, k == len(steps) - 1)
        written += [
          self._note(
            self._name,
            self._fits(pitch),
            beat + step / 4,
            beat + step / 4 + held,
            int(pattern[step]) / 9,
            self._part.gain / np.sqrt(len(pitches)),
          )
          for pitch in pitches
        ]
    return written

  def _pitches(
    self,
    chord: tuple[int, ...],
    following: tuple[int, ...],
    k: int,
    is_last: bool,
  ) -> tuple[int, ...]:
    """Pitches of the k-th stroke in a bar."""
    root = harmony.placed(chord[0], self._part.centre - 5)
    third, fifth = (root + (c - chord[0]) % 12 for c in chord[1:3])
    ladder = (*self._voicing, self._voicing[0] + 12)
    figure = self._part.figure
    if figure in ('block', 'hold'):
      return self._voicing
    if figure == 'fifth_chord':
      return root, root + 7, root + 12
    if figure == 'walking' and is_last:
      # From the semitone below or above to the next root.
      target = harmony.placed(following[0], self._part.centre - 5)
      return (target + (1 if target < root else -1),)
    turns = {
      'root': (root,),
      'fifth': (root, fifth),
      'octave': (root, root + 12),
      'walking': (root, third, fifth),
      'up': ladder,
      'updown': (*ladder, *ladder[-2:0:-1]),
    }[figure]
    return (turns[k % len(turns)],)

  def _last_chord(self) -> list[Note | None]:
    """The chord of the tonic, held until it has died away."""
    song = self._song
    third = 4 if song.mode == 'major' else 3
    chord = tuple((song.key + c) % 12 for c in (0, third, 7))
    centre = self._part.centre
    if self._part.figure in ('root', 'fifth', 'octave', 'walking'):
      pitches = (harmony.placed(song.key, centre - 5),)
    elif self._part.figure == 'melody':
      pitches = (harmony.placed(song.key, centre - 6),)
    else:
      pitches = harmony.voicing(chord, self._voicing, centre)
    beat = song.num_bars * song.beats_per_bar
    ring = (song.seconds - float(song.time_of(beat))) * song.tempo_bpm / 60
    return [
      self._note(
        self._name,
        self._fits(pitch),
        beat,
        beat + 0.6 * ring,
        1.0,
        self._part.gain / np.sqrt(len(pitches)),
      )
      for pitch in pitches
    ]


class _Drummer(_Writer):
  """Writes the part of the kit."""

  def __init__(self, song: song_lib.Song, kit: str, rng: np.random.Generator):
    super().__init__(song, rng)
    self._kit = kit
    self._grooves = self._style.grooves[song.beats_per_bar]

  def notes(self) -> list[Note]:
    """Its hits, in the order of phrases."""
    written = []
    before: form.Phrase | None = None
    for phrase in self._song.phrases:
      groove = self._pattern(self._grooves, phrase.label, 99)
      is_led = before is not None and before.has_fill
      loud = phrase.energies[0] >= _CRASH_ENERGY
      if is_led and loud and groove.fill:
        beat = float(phrase.first_bar * self._song.beats_per_bar)
        written.append(self._hit(orchestra.CRASH, beat, 0.8))
      written += self._phrase(phrase, groove)
      before = phrase
    if self._song.end_seconds is not None and self._groove_ends():
      beat = float(self._song.num_bars * self._song.beats_per_bar)
      written += [
        self._hit(orchestra.KICK, beat, 1.0),
        self._hit(orchestra.CRASH, beat, 0.7),
      ]
    return [n for n in written if n is not None]

  def _groove_ends(self) -> bool:
    """Whether the drums have a part in the last chord."""
    return self._song.phrases[-1].energies[1] >= 0.4

  def _phrase(
    self, phrase: form.Phrase, groove: styles.Groove
  ) -> list[Note | None]:
    metre = self._song.beats_per_bar
    written = []
    for bar, beat, energy in self._steps(phrase):
      is_last = bar == phrase.num_bars - 1
      has_fill = is_last and phrase.has_fill and groove.fill and energy > 0.3
      fill_from = 4 * (metre - _FILL_BEATS) if has_fill else 4 * metre
      for key, from_energy, pattern in groove.lines:
        # Fewer lines play where others come in one after another.
        needed = from_energy
        if phrase.label in ('intro', 'breakdown'):
          needed += 0.25
        if energy < needed:
          continue
        for step, character in enumerate(pattern[: 4 * metre]):
          taken = step >= fill_from and key in _LED_BY_FILLS
          if character != '.' and not taken:
            written.append(self._hit(key, beat + step / 4, int(character) / 9))
      if has_fill:
        written += self._fill(groove.fill, beat, fill_from, 4 * metre)
    return written

  def _fill(
    self, keys: tuple[int, ...], beat: float, start: int, end: int
  ) -> list[Note | None]:
    """Sixteenths over the drums of a fill, growing."""
    hits = []
    for step in range(start, end):
      share = (step - start) / (end - start)
      if step % 2 and self._rng.random() < 0.35:
        continue
      key = keys[int(share * len(keys))]
      hits.append(self._hit(key, beat + step / 4, 0.5 + 0.45 * share))
    return hits

  def _hit(self, key: int, beat: float, strength: float) -> Note | None:
    gain = self._style.kit_gain
    return self._note(self._kit, key, beat, beat + 0.25, strength, gain)
