"""The six genres of the synthetic world, as data: how each sounds and looks.

A pattern is one bar in sixteenth notes, a digit being a velocity from 1 to 9
and a dot a rest. Every genre strikes something on every beat, so that the
tempo of the picture can be heard in the music.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """One instrument and what it plays in a bar.

  Attributes:
    instrument: Name of a drum or a pitched voice in `instruments`.
    pattern: Velocities over one bar, one character per sixteenth.
    gain: Loudness at velocity 9, before the master's soft clipping.
    min_activity: The part rests in sections less active than this.
  """

  instrument: str
  pattern: str
  gain: float
  min_activity: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Genre:
  """How one genre sounds and looks.

  Attributes:
    tempo_bpm: Slowest and fastest tempo.
    beats_per_bar: 3 or 4.
    loops: Mode to the roots of a four-bar chord loop, as degrees from 0.
    drums: Percussion parts.
    bass: Plays chord roots.
    chords: Plays triads.
    lead: Plays a one-bar motif of chord tones.
    hiss: Root mean square of a steady noise (vinyl, room), 0 for none.
    shape: What moves: a kind in `render`.
    texture: What lies behind: a kind in `render`.
    hues: Of the background and of the two colours of shapes, in [0, 1).
    saturation: Of the background, in [0, 1].
    brightness: Of the background in major, in [0, 1].
    names: What captions call it.
    instruments: What captions say is playing.
    moods: What captions say it feels like, whatever the mode.
  """

  tempo_bpm: tuple[float, float]
  beats_per_bar: int
  loops: dict[str, tuple[int, int, int, int]]
  drums: tuple[Part, ...]
  bass: Part
  chords: Part
  lead: Part
  hiss: float = 0.0
  shape: str
  texture: str
  hues: tuple[float, float, float]
  saturation: float
  brightness: float
  names: tuple[str, ...]
  instruments: tuple[str, ...]
  moods: tuple[str, ...]


GENRES: dict[str, Genre] = {
  'ambient': Genre(
    tempo_bpm=(60.0, 70.0),
    beats_per_bar=4,
    loops={'major': (0, 3, 0, 4), 'minor': (0, 5, 0, 6)},
    drums=(Part(instrument='soft_kick', pattern='9...7...7...7...', gain=0.4),),
    bass=Part(instrument='sub', pattern='7...............', gain=0.22),
    chords=Part(instrument='pad', pattern='6...............', gain=0.11),
    lead=Part(instrument='bell', pattern='9...8...8...8...', gain=0.3),
    shape='blob',
    texture='gradient',
    hues=(0.58, 0.50, 0.66),
    saturation=0.60,
    brightness=0.45,
    names=('ambient', 'ambient music', 'a soundscape', 'chill-out'),
    instruments=('synth pad', 'bells', 'soft synth', 'sub bass'),
    moods=('calm', 'dreamy', 'peaceful', 'floating', 'relaxing'),
  ),
  'hiphop': Genre(
    tempo_bpm=(78.0, 90.0),
    beats_per_bar=4,
    loops={'major': (0, 5, 1, 4), 'minor': (0, 3, 5, 4)},
    drums=(
      Part(instrument='deep_kick', pattern='9.......8.......', gain=0.8),
      Part(instrument='snare', pattern='....9.......9...', gain=0.55),
      Part(
        instrument='hat',
        pattern='5.3.5.3.5.3.5.3.',
        gain=0.12,
        min_activity=0.5,
      ),
    ),
    bass=Part(instrument='sub', pattern='9.......8.......', gain=0.35),
    chords=Part(instrument='epiano', pattern='8.......6.......', gain=0.2),
    lead=Part(
      instrument='epiano',
      pattern='7...6...7...6...',
      gain=0.16,
      min_activity=0.8,
    ),
    hiss=0.006,
    shape='square',
    texture='checker',
    hues=(0.08, 0.12, 0.04),
    saturation=0.75,
    brightness=0.45,
    names=('hip hop', 'hip-hop', 'a boom bap beat', 'lo-fi hip hop'),
    instruments=('electric piano', 'drums', 'deep bass', 'drum machine'),
    moods=('laid-back', 'groovy', 'urban', 'mellow', 'head-nodding'),
  ),
  'waltz': Genre(
    tempo_bpm=(97.0, 109.0),
    beats_per_bar=3,
    loops={'major': (0, 4, 3, 4), 'minor': (0, 3, 4, 0)},
    drums=(Part(instrument='brush', pattern='9...7...7...', gain=0.1),),
    bass=Part(instrument='piano', pattern='9...........', gain=0.5),
    chords=Part(instrument='piano', pattern='....8...8...', gain=0.26),
    lead=Part(
      instrument='piano',
      pattern='9...7...7...',
      gain=0.3,
      min_activity=0.5,
    ),
    shape='ring',
    texture='columns',
    hues=(0.72, 0.93, 0.98),
    saturation=0.18,
    brightness=0.82,
    names=('a classical waltz', 'classical piano', 'a waltz', 'piano music'),
    instruments=('piano', 'solo piano', 'a soft brush', 'grand piano'),
    moods=('graceful', 'romantic', 'elegant', 'gentle', 'calm'),
  ),
  'house': Genre(
    tempo_bpm=(118.0, 127.0),
    beats_per_bar=4,
    loops={'major': (0, 5, 3, 4), 'minor': (0, 5, 2, 6)},
    drums=(
      Part(instrument='club_kick', pattern='9...8...8...8...', gain=0.85),
      Part(instrument='clap', pattern='....7.......7...', gain=0.3),
      Part(
        instrument='open_hat',
        pattern='..4...4...4...4.',
        gain=0.12,
        min_activity=0.5,
      ),
    ),
    bass=Part(instrument='saw_bass', pattern='7..57..57..57..5', gain=0.22),
    chords=Part(instrument='organ', pattern='8.......8.......', gain=0.13),
    lead=Part(
      instrument='synth',
      pattern='7...7...7.5.7...',
      gain=0.14,
      min_activity=0.8,
    ),
    shape='bar',
    texture='spots',
    hues=(0.80, 0.88, 0.52),
    saturation=0.85,
    brightness=0.30,
    names=(
      'house',
      'techno',
      'house music',
      'club dance music',
      'electronic music',
    ),
    instruments=('synth', 'organ stabs', 'drum machine', 'synth bass'),
    moods=('danceable', 'pumping', 'driving', 'hypnotic', 'energetic'),
  ),
  'rock': Genre(
    tempo_bpm=(136.0, 150.0),
    beats_per_bar=4,
    loops={'major': (0, 4, 5, 3), 'minor': (0, 6, 5, 6)},
    drums=(
      Part(instrument='kick', pattern='9.......9.......', gain=0.75),
      Part(instrument='big_snare', pattern='....9.......9...', gain=0.55),
      Part(
        instrument='hat',
        pattern='7...7...7...7...',
        gain=0.2,
        min_activity=0.5,
      ),
      Part(
        instrument='crash',
        pattern='7...............',
        gain=0.16,
        min_activity=0.8,
      ),
    ),
    bass=Part(instrument='saw_bass', pattern='9.6.8.6.8.6.8.6.', gain=0.22),
    chords=Part(instrument='guitar', pattern='9...7...8...7...', gain=0.13),
    lead=Part(
      instrument='guitar',
      pattern='8...7...7...7...',
      gain=0.15,
      min_activity=0.8,
    ),
    shape='triangle',
    texture='diagonals',
    hues=(0.0, 0.0, 0.11),
    saturation=0.90,
    brightness=0.40,
    names=('rock', 'rock music', 'guitar rock', 'a rock band'),
    instruments=('electric guitar', 'distorted guitar', 'drums', 'bass guitar'),
    moods=('powerful', 'loud', 'raw', 'rebellious', 'energetic'),
  ),
  'drum_and_bass': Genre(
    tempo_bpm=(164.0, 180.0),
    beats_per_bar=4,
    loops={'major': (0, 2, 5, 3), 'minor': (0, 2, 6, 5)},
    drums=(
      Part(instrument='kick', pattern='9...6...8...6...', gain=0.8),
      Part(instrument='snare', pattern='....9.......9...', gain=0.45),
      Part(instrument='ride', pattern='9...5...9...5...', gain=0.35),
      Part(instrument='hat', pattern='8.2.8.2.8.2.8.2.', gain=0.16),
      Part(
        instrument='ghost',
        pattern='.......4.4......',
        gain=0.14,
        min_activity=0.8,
      ),
    ),
    bass=Part(instrument='reese', pattern='9...............', gain=0.28),
    chords=Part(instrument='strings', pattern='7...............', gain=0.09),
    lead=Part(
      instrument='synth',
      pattern='8...7...7...7...',
      gain=0.13,
      min_activity=0.5,
    ),
    shape='diamond',
    texture='scanlines',
    hues=(0.36, 0.22, 0.30),
    saturation=0.85,
    brightness=0.22,
    names=('drum and bass', 'jungle', 'drum & bass', 'breakbeat'),
    instruments=('breakbeat drums', 'reese bass', 'strings', 'synth'),
    moods=('fast', 'frantic', 'intense', 'energetic', 'restless'),
  ),
}

# Semitones of the scale degrees.
SCALES = {
  'major': (0, 2, 4, 5, 7, 9, 11),
  'minor': (0, 2, 3, 5, 7, 8, 10),
}
# Few tonics, so that a small model can learn what each sounds like.
TONICS = {'C': 0, 'Eb': 3, 'F': 5, 'A': 9}
ACTIVITIES = (0.35, 0.65, 1.0)
