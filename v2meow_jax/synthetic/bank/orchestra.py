"""Instruments of songs: programs of General MIDI and their stand-ins in numpy."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Instrument:
  """A pitched instrument.

  Attributes:
    program: Program of General MIDI, from 0.
    stand_in: Name of a voice in `synthetic.instruments`.
    lowest: Lowest pitch, a MIDI number.
    highest: Highest pitch, a MIDI number.
  """

  program: int
  stand_in: str
  lowest: int = 36
  highest: int = 96


INSTRUMENTS = {
  'grand piano': Instrument(0, 'piano', 24, 102),
  'bright piano': Instrument(1, 'piano', 24, 102),
  'electric piano': Instrument(4, 'epiano', 28, 96),
  'fm electric piano': Instrument(5, 'epiano', 28, 96),
  'harpsichord': Instrument(6, 'piano', 36, 89),
  'clavinet': Instrument(7, 'guitar', 36, 89),
  'celesta': Instrument(8, 'bell', 60, 108),
  'music box': Instrument(10, 'bell', 60, 96),
  'vibraphone': Instrument(11, 'bell', 53, 89),
  'marimba': Instrument(12, 'bell', 48, 96),
  'organ': Instrument(16, 'organ', 36, 96),
  'rock organ': Instrument(18, 'organ', 36, 96),
  'accordion': Instrument(21, 'organ', 41, 89),
  'harmonica': Instrument(22, 'organ', 60, 89),
  'nylon guitar': Instrument(24, 'guitar', 40, 84),
  'acoustic guitar': Instrument(25, 'guitar', 40, 84),
  'jazz guitar': Instrument(26, 'guitar', 40, 86),
  'clean guitar': Instrument(27, 'guitar', 40, 86),
  'muted guitar': Instrument(28, 'guitar', 40, 86),
  'overdriven guitar': Instrument(29, 'guitar', 40, 86),
  'distorted guitar': Instrument(30, 'guitar', 40, 86),
  'double bass': Instrument(32, 'sub', 28, 60),
  'bass guitar': Instrument(33, 'saw_bass', 28, 60),
  'picked bass': Instrument(34, 'saw_bass', 28, 60),
  'slap bass': Instrument(36, 'saw_bass', 28, 60),
  'synth bass': Instrument(38, 'saw_bass', 24, 60),
  'deep synth bass': Instrument(39, 'sub', 24, 60),
  'violin': Instrument(40, 'strings', 55, 100),
  'viola': Instrument(41, 'strings', 48, 88),
  'cello': Instrument(42, 'strings', 36, 76),
  'pizzicato strings': Instrument(45, 'guitar', 36, 96),
  'harp': Instrument(46, 'guitar', 30, 100),
  'strings': Instrument(48, 'strings', 36, 96),
  'slow strings': Instrument(49, 'strings', 36, 96),
  'synth strings': Instrument(50, 'pad', 36, 96),
  'choir': Instrument(52, 'pad', 43, 84),
  'trumpet': Instrument(56, 'synth', 54, 87),
  'trombone': Instrument(57, 'synth', 40, 74),
  'french horn': Instrument(60, 'strings', 41, 79),
  'brass': Instrument(61, 'synth', 36, 89),
  'tenor sax': Instrument(66, 'synth', 44, 77),
  'oboe': Instrument(68, 'synth', 58, 91),
  'clarinet': Instrument(71, 'organ', 50, 91),
  'flute': Instrument(73, 'organ', 60, 96),
  'pan flute': Instrument(75, 'organ', 60, 96),
  'square lead': Instrument(80, 'synth', 36, 100),
  'saw lead': Instrument(81, 'synth', 36, 100),
  'warm pad': Instrument(89, 'pad', 36, 96),
  'polysynth': Instrument(90, 'synth', 36, 96),
  'halo pad': Instrument(94, 'pad', 36, 96),
  'sweep pad': Instrument(95, 'pad', 36, 96),
  'crystal synth': Instrument(98, 'bell', 48, 96),
  'banjo': Instrument(105, 'guitar', 48, 86),
  'kalimba': Instrument(108, 'bell', 48, 84),
  'fiddle': Instrument(110, 'strings', 55, 96),
  'steel drums': Instrument(114, 'bell', 55, 88),
}

# Drum kits: programs of bank 128.
KITS = {
  'drums': 0,
  'room drums': 8,
  'power drums': 16,
  'electronic drums': 24,
  'drum machine': 25,
  'jazz drums': 32,
  'brushed drums': 40,
  'orchestral percussion': 48,
}

# Kits that play in time to the sample.
MACHINES = ('electronic drums', 'drum machine')

KICK, RIM, SNARE, CLAP, HAT, OPEN_HAT = 36, 37, 38, 39, 42, 46
LOW_TOM, MIDDLE_TOM, HIGH_TOM, CRASH, RIDE, PEDAL_HAT = 45, 47, 50, 49, 51, 44
TAMBOURINE, COWBELL, SHAKER, CLAVES = 54, 56, 82, 75
HIGH_BONGO, LOW_BONGO, HIGH_CONGA, LOW_CONGA = 60, 61, 63, 64

# Drums of `synthetic.instruments` by key.
DRUM_STAND_INS = {
  KICK: 'kick',
  RIM: 'ghost',
  SNARE: 'snare',
  CLAP: 'clap',
  HAT: 'hat',
  OPEN_HAT: 'open_hat',
  LOW_TOM: 'deep_kick',
  MIDDLE_TOM: 'deep_kick',
  HIGH_TOM: 'soft_kick',
  CRASH: 'crash',
  RIDE: 'ride',
  PEDAL_HAT: 'hat',
  TAMBOURINE: 'hat',
  COWBELL: 'ghost',
  SHAKER: 'brush',
  CLAVES: 'ghost',
  HIGH_BONGO: 'ghost',
  LOW_BONGO: 'soft_kick',
  HIGH_CONGA: 'ghost',
  LOW_CONGA: 'soft_kick',
}
