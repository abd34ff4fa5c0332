"""A SoundFont of two presets, written byte by byte from the specification."""

from __future__ import annotations

import io
import pathlib
import struct

import numpy as np
import soundfile

RATE_HZ = 32_000
TONE_HZ = 500.0  # 64 samples a period, so that its loop has no seam
TONE_KEY = 71
CORRECTION_CENTS = 21  # 493.88 Hz is key 71
SECONDS = 0.25
NOISE_KEYS = (36, 60)
LOUD_FROM = 100

_KEY_RANGE, _VELOCITY_RANGE, _ATTENUATION, _INSTRUMENT, _SAMPLE = (
  43,
  44,
  48,
  41,
  53,
)
_MODES, _SUSTAIN, _DECAY = 54, 37, 36


def _chunk(name: bytes, data: bytes) -> bytes:
  return name + struct.pack('<I', len(data)) + data + b'\0' * (len(data) % 2)


def _list(kind: bytes, *chunks: bytes) -> bytes:
  return _chunk(b'LIST', kind + b''.join(chunks))


def tone() -> np.ndarray:
  """The sampled tone, float32[samples]."""
  t = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
  return (0.5 * np.sin(2 * np.pi * TONE_HZ * t)).astype(np.float32)


def _noise() -> np.ndarray:
  fall = np.exp(-np.arange(3200) / 500)
  noise = np.random.default_rng(0).uniform(-0.8, 0.8, 3200)
  return (noise * fall).astype(np.float32)


def write(
  path: pathlib.Path,
  *,
  compressed: bool = False,
  tone_generators: dict[int, int] | None = None,
) -> pathlib.Path:
  """Writes a bank with a tone as program 0 and noise as drum kit 0.

  The tone sounds at half its amplitude below velocity 100.

  Args:
    path: Target.
    compressed: Whether samples are Ogg Vorbis, as in version 3.
    tone_generators: Further generators of the tone, by number.

  Returns:
    The path.
  """
  # 46 zeros after each sample, as the specification wants them.
  blocks, heads, at = [], [], 0
  for name, wave, key, cents in (
    (b'tone', tone(), TONE_KEY, CORRECTION_CENTS),
    (b'noise', _noise(), 60, 0),
  ):
    if compressed:
      encoded = io.BytesIO()
      soundfile.write(encoded, wave, RATE_HZ, format='OGG', subtype='VORBIS')
      data, width, first = encoded.getvalue(), 1, 0
    else:
      pcm = np.round(wave * 32_767).astype('<i2')
      data, width, first = pcm.tobytes(), 2, at
    size = len(data) // width
    loop = first + 640, first + 640 + 64 * 80
    kind = 17 if compressed else 1
    heads.append(
      struct.pack(
        '<20sIIIIIBbHH',
        *(name, at, at + size, *loop, RATE_HZ, key, -cents, 0, kind),
      )
    )
    data += bytes(46 * width)
    blocks.append(data)
    at += len(data) // width
  heads.append(struct.pack('<20sIIIIIBbHH', b'EOS', *[0] * 9))

  def ranges(low: int, high: int) -> int:
    return low | high << 8

  tone_zones = [
    [
      (_VELOCITY_RANGE, ranges(low, high)),
      (_ATTENUATION, quieter),
      *(tone_generators or {}).items(),
      (_MODES, 1),
      (_SAMPLE, 0),
    ]
    # 150 centibels, four tenths of which count, are half of the amplitude.
    for low, high, quieter in ((1, LOUD_FROM - 1, 150), (LOUD_FROM, 127, 0))
  ]
  noise_zones = [[(_KEY_RANGE, ranges(*NOISE_KEYS)), (_SAMPLE, 1)]]
  instruments = [(b'tone', tone_zones), (b'noise', noise_zones)]
  presets = [
    (b'tone', 0, 0, [[(_INSTRUMENT, 0)]]),
    (b'kit', 0, 128, [[(_INSTRUMENT, 1)]]),
  ]
  inst, ibag, igen = b'', b'', b''
  for name, zones in instruments:
    inst += struct.pack('<20sH', name, len(ibag) // 4)
    for zone in zones:
      ibag += struct.pack('<HH', len(igen) // 4, 0)
      igen += b''.join(_generator(*pair) for pair in zone)
  inst += struct.pack('<20sH', b'EOI', len(ibag) // 4)
  ibag += struct.pack('<HH', len(igen) // 4, 0)
  phdr, pbag, pgen = b'', b'', b''
  for name, program, bank, zones in presets:
    phdr += struct.pack(
      '<20sHHHIII', name, program, bank, len(pbag) // 4, 0, 0, 0
    )
    for zone in zones:
      pbag += struct.pack('<HH', len(pgen) // 4, 0)
      pgen += b''.join(_generator(*pair) for pair in zone)
  phdr += struct.pack('<20sHHHIII', b'EOP', 0, 0, len(pbag) // 4, 0, 0, 0)
  pbag += struct.pack('<HH', len(pgen) // 4, 0)
  end = bytes(4)
  content = (
    _list(b'INFO', _chunk(b'ifil', struct.pack('<HH', 2, 4)))
    + _list(b'sdta', _chunk(b'smpl', b''.join(blocks)))
    + _list(
      b'pdta',
      _chunk(b'phdr', phdr),
      _chunk(b'pbag', pbag),
      _chunk(b'pmod', bytes(10)),
      _chunk(b'pgen', pgen + end),
      _chunk(b'inst', inst),
      _chunk(b'ibag', ibag),
      _chunk(b'imod', bytes(10)),
      _chunk(b'igen', igen + end),
      _chunk(b'shdr', b''.join(heads)),
    )
  )
  path.write_bytes(_chunk(b'RIFF', b'sfbk' + content))
  return path


def _generator(number: int, amount: int) -> bytes:
  return struct.pack('<HH', number, amount & 0xFFFF)
