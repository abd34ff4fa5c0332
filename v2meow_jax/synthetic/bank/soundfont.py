"""Reads SoundFont 2 and 3 files: samples, and the zones that play a note.

SoundFont Technical Specification 2.04; version 3 holds samples as Ogg Vorbis.
Modulators are not read: velocity chooses samples and nothing else.
"""

from __future__ import annotations

import dataclasses
import io
import os
from typing import Any

import numpy as np
import soundfile

# Generators by their number in the specification, section 8.1.2.
START, END, LOOP_START, LOOP_END = 0, 1, 2, 3
START_COARSE, END_COARSE, LOOP_START_COARSE, LOOP_END_COARSE = 4, 12, 45, 50
FILTER_CENTS, FILTER_Q, MODULATION_TO_FILTER, PAN = 8, 9, 11, 17
MODULATION_ATTACK, MODULATION_DECAY, MODULATION_SUSTAIN = 26, 28, 29
DELAY, ATTACK, HOLD, DECAY, SUSTAIN, RELEASE = 33, 34, 35, 36, 37, 38
INSTRUMENT, KEY_RANGE, VELOCITY_RANGE, ATTENUATION = 41, 43, 44, 48
COARSE_TUNE, FINE_TUNE, SAMPLE, SAMPLE_MODES = 51, 52, 53, 54
SCALE_TUNING, ROOT_KEY = 56, 58

DEFAULTS = {
  FILTER_CENTS: 13_500,
  SCALE_TUNING: 100,
  ROOT_KEY: -1,
  **dict.fromkeys((DELAY, ATTACK, HOLD, DECAY, RELEASE), -12_000),
  **dict.fromkeys((MODULATION_ATTACK, MODULATION_DECAY), -12_000),
}
# What a preset may not add to its instruments.
_OF_INSTRUMENTS = {
  *(START, END, LOOP_START, LOOP_END, START_COARSE, END_COARSE),
  *(LOOP_START_COARSE, LOOP_END_COARSE, SAMPLE, SAMPLE_MODES, ROOT_KEY),
}
_COMPRESSED = 0x10
_MOST_SECONDS = 60
_RECORDS: dict[str, list[Any]] = {
  'phdr': [('name', 'S20'), ('program', '<u2'), ('bank', '<u2')]
  + [('bag', '<u2'), ('rest', '<u4', 3)],
  'bag': [('generator', '<u2'), ('modulator', '<u2')],
  'gen': [('number', '<u2'), ('amount', '<i2')],
  'inst': [('name', 'S20'), ('bag', '<u2')],
  'shdr': [('name', 'S20'), ('start', '<u4'), ('end', '<u4')]
  + [('loop_start', '<u4'), ('loop_end', '<u4'), ('rate_hz', '<u4')]
  + [('pitch', 'u1'), ('correction', 'i1'), ('link', '<u2'), ('kind', '<u2')],
}
_TABLES = {
  **{'phdr': 'phdr', 'pbag': 'bag', 'pgen': 'gen', 'inst': 'inst'},
  **{'ibag': 'bag', 'igen': 'gen', 'shdr': 'shdr'},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleZone:
  """One sample and how it sounds when a note is played.

  Attributes:
    generators: Amounts by number of the generator; see `DEFAULTS`.
    samples: Whole sample, float32[samples], of magnitude up to 1.
    rate_hz: Rate at which it sounds at its own pitch.
    pitch: Pitch of the sample, a MIDI number with cents as a fraction.
    loop: First and end sample of its loop; None: it is played once.
  """

  generators: dict[int, int]
  samples: np.ndarray
  rate_hz: int
  pitch: float
  loop: tuple[int, int] | None


class SoundFont:
  """A bank of sampled instruments in one file, which stays on the disk."""

  def __init__(self, path: str | os.PathLike):
    """Reads the tables of a file.

    Args:
      path: File in .sf2 or .sf3.

    Raises:
      ValueError: The file is no SoundFont, or not whole.
      OSError: The file cannot be read.
    """
    self._path = os.fspath(path)
    if os.path.getsize(self._path) < 12:
      raise self._error('it has fewer than 12 bytes')
    self._bytes = np.memmap(self._path, np.uint8, 'r')
    chunks = self._chunks()
    self._tables = {
      name: self._table(chunks, name, _RECORDS[kind])
      for name, kind in _TABLES.items()
    }
    self._samples = chunks.get('smpl', (0, 0))
    self._presets = {
      (int(row['bank']), int(row['program'])): number
      for number, row in enumerate(self._tables['phdr'][:-1])
    }

  @property
  def presets(self) -> list[tuple[int, int]]:
    """Bank and program of every preset, rising; drums are in bank 128."""
    return sorted(self._presets)

  def zones(
    self, bank: int, program: int, key: int, velocity: int
  ) -> list[SampleZone]:
    """Zones that sound together when a key is struck; none: it is silent.

    Args:
      bank: Bank of the preset; 128 holds drum kits.
      program: Number of the preset in its bank.
      key: MIDI number of the note.
      velocity: Strength of the note, 1 to 127.

    Raises:
      ValueError: The bank has no such preset, or its tables are damaged.
    """
    if (bank, program) not in self._presets:
      raise self._error(
        f'it has no preset {program} in bank {bank}; presets are {self.presets}'
      )
    zones = []
    number = self._presets[bank, program]
    for outer in self._matching('phdr', 'pbag', 'pgen', number, key, velocity):
      if INSTRUMENT not in outer:
        continue
      for inner in self._matching(
        'inst', 'ibag', 'igen', outer[INSTRUMENT], key, velocity
      ):
        if SAMPLE in inner:
          generators = {**DEFAULTS, **inner}
          for generator, amount in outer.items():
            if generator not in _OF_INSTRUMENTS:
              generators[generator] = generators.get(generator, 0) + amount
          zones.append(self._zone(generators))
    return zones

  def _matching(
    self, heads: str, bags: str, gens: str, number: int, key: int, velocity: int
  ) -> list[dict[int, int]]:
    """Generators of the zones of a preset or an instrument that sound."""
    head, bag, gen = (self._tables[name] for name in (heads, bags, gens))
    if not 0 <= number < len(head) - 1:
      raise self._error(f'{heads} {number} is not there')
    shared: dict[int, int] = {}
    found = []
    first, last = int(head[number]['bag']), int(head[number + 1]['bag'])
    if last >= len(bag):
      raise self._error(f'{bags} {last} is not there')
    for index in range(first, last):
      rows = gen[bag[index]['generator'] : bag[index + 1]['generator']]
      zone = {int(r['number']): int(r['amount']) for r in rows}
      is_shared = SAMPLE not in zone and INSTRUMENT not in zone
      if is_shared and index == first:
        shared = zone
        continue
      zone = {**shared, **zone}
      if _inside(zone.get(KEY_RANGE), key) and _inside(
        zone.get(VELOCITY_RANGE), velocity
      ):
        found.append(zone)
    return found

  def _zone(self, generators: dict[int, int]) -> SampleZone:
    number = generators[SAMPLE]
    if not 0 <= number < len(self._tables['shdr']) - 1:
      raise self._error(f'sample {number} is not there')
    row = self._tables['shdr'][number]
    base, size = self._samples
    compressed = bool(row['kind'] & _COMPRESSED)
    # Offsets count bytes where samples are compressed, and samples elsewhere.
    width = 1 if compressed else 2
    start, end = int(row['start']) * width, int(row['end']) * width
    if not (0 <= start <= end <= size and row['rate_hz'] > 0):
      raise self._error(f'sample {number} lies outside of the file')
    data = self._bytes[base + start : base + end]
    if compressed:
      samples = self._decoded(data, number)
      loop_start, loop_end = int(row['loop_start']), int(row['loop_end'])
    else:
      samples = data.view('<i2').astype(np.float32) / 32_768
      loop_start = int(row['loop_start']) - int(row['start'])
      loop_end = int(row['loop_end']) - int(row['start'])

    def offset(fine: int, coarse: int) -> int:
      return generators.get(fine, 0) + 32_768 * generators.get(coarse, 0)

    loop_start += offset(LOOP_START, LOOP_START_COARSE)
    loop_end += offset(LOOP_END, LOOP_END_COARSE)
    cut = max(offset(START, START_COARSE), 0)
    end = len(samples) + min(offset(END, END_COARSE), 0)
    loops = generators.get(SAMPLE_MODES, 0) & 1 and (
      cut <= loop_start < loop_end <= end
    )
    root = generators[ROOT_KEY]
    pitch = root if root >= 0 else int(row['pitch'])
    return SampleZone(
      generators=generators,
      samples=samples[cut : max(end, cut)],
      rate_hz=int(row['rate_hz']),
      pitch=pitch - int(row['correction']) / 100,
      loop=(loop_start - cut, loop_end - cut) if loops else None,
    )

  def _decoded(self, data: np.ndarray, number: int) -> np.ndarray:
    try:
      with soundfile.SoundFile(io.BytesIO(data.tobytes())) as file:
        if file.format != 'OGG' or file.channels != 1:
          raise self._error(f'sample {number} is no mono Ogg')
        return file.read(_MOST_SECONDS * file.samplerate, dtype='float32')
    except soundfile.LibsndfileError as e:
      raise self._error(f'sample {number} is damaged: {e}') from e

  def _chunks(self) -> dict[str, tuple[int, int]]:
    """Start and size of the chunks inside the lists of the file."""
    if self._text(0) != 'RIFF' or self._text(8) != 'sfbk':
      raise self._error('it does not begin as one')
    chunks = {}
    at = 12
    while at + 12 <= len(self._bytes):
      size, inner, at = self._size(at + 4), at + 12, at + 8
      end = min(at + size, len(self._bytes))
      while inner + 8 <= end:
        name, length = self._text(inner), self._size(inner + 4)
        if inner + 8 + length > end:
          raise self._error(f'its chunk {name!r} is cut off')
        chunks[name] = (inner + 8, length)
        inner += 8 + length + length % 2
      at += size + size % 2
    return chunks

  def _table(self, chunks: dict, name: str, fields: list) -> np.ndarray:
    start, size = chunks.get(name, (0, 0))
    record = np.dtype(fields)
    if not size or size % record.itemsize:
      raise self._error(f'its table {name!r} is missing or damaged')
    return np.frombuffer(self._bytes[start : start + size].tobytes(), record)

  def _text(self, at: int) -> str:
    return self._bytes[at : at + 4].tobytes().decode('latin-1')

  def _size(self, at: int) -> int:
    return int.from_bytes(self._bytes[at : at + 4].tobytes(), 'little')

  def _error(self, reason: str) -> ValueError:
    return ValueError(
      f'{self._path!r} is no SoundFont that can be played: {reason}; give a'
      ' whole file in .sf2 or .sf3.'
    )


def _inside(amount: int | None, value: int) -> bool:
  """Whether a value is in a range, whose amount is two bytes; None is all."""
  if amount is None:
    return True
  return amount & 0xFF <= value <= (amount >> 8) & 0xFF
