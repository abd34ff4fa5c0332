"""The six genres of the synthetic world, their sound and look as data.

A pattern is one bar in sixteenth notes: a digit is a velocity from 1 to 9, a dot
a rest. Every genre plays something on every beat, so that the tempo of the
picture is audible in the music.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Riff:
  """One instrument and its notes in a bar.

  Attributes:
    instrument: Name of a drum or a pitched voice in `instruments`.
    pattern: Velocities over a bar, one character per sixteenth note.
    gain: Loudness at velocity 9, before the master's soft clipping.
    min_activity: Least activity of a section with this part.
  """

  instrument: str
  pattern: str
  _: dataclasses.KW_ONLY
  gain: float
  min_activity: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Genre:
  """Sound and look of one genre.

  Attributes:
    tempo_bpm: Slowest and fastest tempo, beats per minute.
    beats_per_bar: Number of beats in a bar, 3 or 4.
    loops: Roots of a four-bar chord loop by mode, as degrees from 0.
    drums: Percussion parts.
    bass: Part of chord roots.
    chords: Part of triads.
    lead: Part of a one-bar motif of chord tones.
    hiss: Root mean square of a steady noise (vinyl, room), 0 for none.
    shape: Kind of moving shapes in `render`.
    texture: Kind of background in `render`.
    hues: Hues of the background and the two colours of shapes, in [0, 1).
    saturation: Saturation of the background, in [0, 1].
    brightness: Brightness of the background in major, in [0, 1].
    names: Names of the genre in captions.
    instruments: Instruments in captions.
    moods: Moods in captions, for both modes.
  """

  tempo_bpm: tuple[float, float]
  beats_per_bar: int = 4
  loops: dict[str, tuple[int, int, int, int]]
  drums: tuple[Riff, ...]
  bass: Riff
  chords: Riff
  lead: Riff
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
    loops={'major': (0, 3, 0, 4), 'minor': (0, 5, 0, 6)},
    drums=(Riff('soft_kick', '9...7...7...7...', gain=0.4),),
    bass=Riff('sub', '7...............', gain=0.22),
    chords=Riff('pad', '6...............', gain=0.11),
    lead=Riff('bell', '9...8...8...8...', gain=0.3),
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
    loops={'major': (0, 5, 1, 4), 'minor': (0, 3, 5, 4)},
    drums=(
      Riff('deep_kick', '9.......8.......', gain=0.8),
      Riff('snare', '....9.......9...', gain=0.55),
      Riff('hat', '5.3.5.3.5.3.5.3.', gain=0.12, min_activity=0.5),
    ),
    bass=Riff('sub', '9.......8.......', gain=0.35),
    chords=Riff('epiano', '8.......6.......', gain=0.2),
    lead=Riff('epiano', '7...6...7...6...', gain=0.16, min_activity=0.8),
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
    drums=(Riff('brush', '9...7...7...', gain=0.1),),
    bass=Riff('piano', '9...........', gain=0.5),
    chords=Riff('piano', '....8...8...', gain=0.26),
    lead=Riff('piano', '9...7...7...', gain=0.3, min_activity=0.5),
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
    loops={'major': (0, 5, 3, 4), 'minor': (0, 5, 2, 6)},
    drums=(
      Riff('club_kick', '9...8...8...8...', gain=0.85),
      Riff('clap', '....7.......7...', gain=0.3),
      Riff('open_hat', '..4...4...4...4.', gain=0.12, min_activity=0.5),
    ),
    bass=Riff('saw_bass', '7..57..57..57..5', gain=0.22),
    chords=Riff('organ', '8.......8.......', gain=0.13),
    lead=Riff('synth', '7...7...7.5.7...', gain=0.14, min_activity=0.8),
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
    loops={'major': (0, 4, 5, 3), 'minor': (0, 6, 5, 6)},
    drums=(
      Riff('kick', '9.......9.......', gain=0.75),
      Riff('big_snare', '....9.......9...', gain=0.55),
      Riff('hat', '7...7...7...7...', gain=0.2, min_activity=0.5),
      Riff('crash', '7...............', gain=0.16, min_activity=0.8),
    ),
    bass=Riff('saw_bass', '9.6.8.6.8.6.8.6.', gain=0.22),
    chords=Riff('guitar', '9...7...8...7...', gain=0.13),
    lead=Riff('guitar', '8...7...7...7...', gain=0.15, min_activity=0.8),
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
    loops={'major': (0, 2, 5, 3), 'minor': (0, 2, 6, 5)},
    drums=(
      Riff('kick', '9...6...8...6...', gain=0.8),
      Riff('snare', '....9.......9...', gain=0.45),
      Riff('ride', '9...5...9...5...', gain=0.35),
      Riff('hat', '8.2.8.2.8.2.8.2.', gain=0.16),
      Riff('ghost', '.......4.4......', gain=0.14, min_activity=0.8),
    ),
    bass=Riff('reese', '9...............', gain=0.28),
    chords=Riff('strings', '7...............', gain=0.09),
    lead=Riff('synth', '8...7...7...7...', gain=0.13, min_activity=0.5),
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
SCALES = {'major': (0, 2, 4, 5, 7, 9, 11), 'minor': (0, 2, 3, 5, 7, 8, 10)}
# Few tonics, so that a small model can learn their sounds.
TONICS = {'C': 0, 'Eb': 3, 'F': 5, 'A': 9}
ACTIVITIES = (0.35, 0.65, 1.0)
