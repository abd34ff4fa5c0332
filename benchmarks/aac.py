"""Compares coders of FFmpeg's AAC encoder at the bit rates of our films.

python -m benchmarks.aac --media song.mp3 --json out.json

Songs of the seeded world come as films get them, one channel on both sides;
files come on the sides that they have. Each is encoded, decoded and compared
with what it was: level, log-spectral distance, and the ratio of noise to the
masking threshold (NMR), below which noise is not heard: thresholds of PEAQ's
basic model (ITU-R BS.1387-1, Thiede et al. 2000) spread over quarters of a Bark,
and the threshold in quiet (Terhardt 1979) with full scale at 92 dB SPL. As
there, a frame is disturbed where the ratio is above 1.5 dB in some band.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import os
import pathlib
import sys
import tempfile
import time
from typing import Any

import av
import numpy as np

from benchmarks import report
from tests.fakes import channels
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import encode
from v2meow_jax.files.films import own_sound
from v2meow_jax.files.films import sounds
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.songs import mixing
from v2meow_jax.synthetic.songs import song as song_lib

RATE_HZ = 48_000
_SONG_HZ = 16_000
_FRAME, _HOP = 2048, 512
_LOUDEST_DB = 92.0
_DISTURBED_DB = 1.5
_FLOOR = 1e-9  # -90 dB of full scale, in distances.
# Options of the encoder by the name in the table; None: those of films.
CODERS: Mapping[str, Mapping[str, str] | None] = {
  'as in films': None,
  'twoloop': {'aac_coder': 'twoloop'},
  'fast': {'aac_coder': 'fast'},
  'fast, no intensity': {'aac_coder': 'fast', 'aac_is': '0'},
}


class TwoSided(channels.Channels):
  """Samples on two sides."""

  def __init__(self, samples: np.ndarray):
    """Keeps samples, float32[2, n] at `RATE_HZ`."""
    super().__init__(samples, media.PIECE_SAMPLES, RATE_HZ)

  @property
  def has_equal_channels(self) -> bool:
    """Whether both sides are the same."""
    return bool((self.samples[0] == self.samples[1]).all())


def song(index: int, seconds: float) -> TwoSided:
  """A song of the seeded world, on both sides."""
  bank = banks.load(banks.NUMPY, _SONG_HZ)
  audio = mixing.render(song_lib.sample(7, index, seconds), bank)
  (mono,) = np.concatenate(
    list(sounds.Resampled(audio, RATE_HZ).pieces()), axis=1
  )
  samples = np.clip(np.stack([mono, mono]), -1, 1)
  return TwoSided(samples.astype(np.float32))


def recording(path: str, seconds: float) -> TwoSided:
  """The first seconds of a file's sound."""
  sound = own_sound.OwnSound(probe.probe(path), RATE_HZ, 2)
  samples = np.concatenate(list(sound.pieces()), axis=1)
  return TwoSided(np.clip(samples[:, : round(seconds * RATE_HZ)], -1, 1))


def coded(
  sound: TwoSided, options: Mapping[str, str] | None
) -> tuple[np.ndarray, float, int]:
  """Decoded samples of an encoded sound, seconds of encoding, bytes."""
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'out.mp4')
    with av.open(path, 'w', format='mp4', options=encode.BITEXACT) as out:
      encoder = encode.add_sound(out, containers.of(path), sound)
      if options is not None:
        encoder.bit_rate = 128_000 * sound.num_channels
        encoder.options = {'flags': '+bitexact', **options}
      start = time.process_time()
      packets = list(encode.sound(encoder, sound))
      seconds = time.process_time() - start
      for packet in packets:
        out.mux(packet)
    num_bytes = pathlib.Path(path).stat().st_size
    with av.open(path) as made:
      frames = [frame.to_ndarray() for frame in made.decode(audio=0)]
  decoded = np.concatenate(frames, axis=1)
  return decoded[:, : sound.num_samples], seconds, num_bytes


def powers(samples: np.ndarray) -> np.ndarray:
  """Power spectra of frames: float[frames, bins]; 1/2 for a full sine in all."""
  window = np.hanning(_FRAME)
  frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP]
  return np.abs(np.fft.rfft(frames * window)) ** 2 / (window**2).sum() / _FRAME


def spectral_distance(true: np.ndarray, made: np.ndarray) -> float:
  """Root mean square of differences of spectra in decibels, up to 16 kHz."""
  bins = slice(1, round(16_000 * _FRAME / RATE_HZ))
  one, other = (powers(x)[:, bins] * _FRAME + _FLOOR for x in (true, made))
  decibels = 10 * np.log10(one / other)
  return float(np.sqrt((decibels**2).mean(axis=1)).mean())


@functools.cache
def _bands() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Bands of bins, thresholds that powers of bands spread, those in quiet."""
  hertz = np.fft.rfftfreq(_FRAME, 1 / RATE_HZ)
  numbers = (4 * 7 * np.arcsinh(hertz / 650)).astype(int)
  bands = np.eye(numbers[-1] + 1)[numbers]
  barks = (np.arange(bands.shape[1]) + 0.5) / 4
  away = barks - barks[:, None]  # Of what is masked from what masks.
  offsets = np.where(barks <= 12, 3.0, barks / 4)
  spread = np.where(away < 0, 27 * away, -12 * away) - offsets
  kilohertz = np.maximum(0.65 * np.sinh(barks / 7), 0.02)
  quiet = (
    3.64 * kilohertz**-0.8
    - 6.5 * np.exp(-0.6 * (kilohertz - 3.3) ** 2)
    + 1e-3 * kilohertz**4
  )
  quiet = np.minimum(quiet, 120) - _LOUDEST_DB
  return bands, 10 ** (spread / 10), 10 ** (quiet / 10) / 2


def noise_to_mask(true: np.ndarray, made: np.ndarray) -> np.ndarray:
  """Noise over what masks it, float[frames, bands]."""
  bands, spread, quiet = _bands()
  return (powers(true - made) @ bands) / (powers(true) @ bands @ spread + quiet)


def _decibels(ratio: np.ndarray) -> float:
  return float(10 * np.log10(ratio))


def compare(
  sound: TwoSided, options: Mapping[str, str] | None
) -> dict[str, Any]:
  """Figures of one sound and one coder."""
  made, seconds, num_bytes = coded(sound, options)
  true = sound.samples
  length = sound.num_samples / RATE_HZ
  pairs = list(zip(true, made, strict=True))
  ratios = np.concatenate([noise_to_mask(*pair) for pair in pairs])
  most = ratios.max(axis=1)
  return {
    'cpu_ms_a_second': 1000 * seconds / length,
    'kbit_a_second': 8 * num_bytes / length / 1000,
    'level_db': _decibels((made**2).mean() / (true**2).mean()),
    'snr_db': _decibels((true**2).sum() / ((true - made) ** 2).sum()),
    'spectral_db': float(np.mean([spectral_distance(*p) for p in pairs])),
    'nmr_db': _decibels(ratios.mean() + 1e-12),
    'disturbed_share': float(
      (10 * np.log10(most + 1e-12) > _DISTURBED_DB).mean()
    ),
  }


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Figures by sound and coder; songs of the seeded world are one sound."""
  named = {f'song {i}': song(i, options.seconds) for i in range(options.num)}
  named |= {
    pathlib.Path(path).name: recording(path, options.seconds)
    for path in options.media
  }
  return {
    name: {coder: compare(sound, opts) for coder, opts in CODERS.items()}
    for name, sound in named.items()
  }


def show(figures: dict[str, Any]) -> str:
  """Prints the figures as a table."""
  rows = [
    [
      name,
      coder,
      f'{f["cpu_ms_a_second"]:.1f}',
      f'{f["kbit_a_second"]:.0f}',
      f'{f["level_db"]:+.3f}',
      f'{f["snr_db"]:.1f}',
      f'{f["spectral_db"]:.2f}',
      f'{f["nmr_db"]:.1f}',
      f'{f["disturbed_share"]:.1%}',
    ]
    for name, coders in figures.items()
    for coder, f in coders.items()
  ]
  header = ['sound', 'coder', 'ms/s', 'kbit/s', 'level', 'SNR', 'LSD', 'NMR']
  return report.table([*header, 'disturbed'], rows)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  parser = report.parser(
    'benchmarks.aac',
    "Compares coders of FFmpeg's AAC encoder by what they cost and spoil.",
    'python -m benchmarks.aac --media song.mp3 --json out.json',
  )
  add = parser.add_argument
  add('--num', type=report.positive, default=4, help='songs (default 4)')
  add('--seconds', type=float, default=10.0, help='of each (default 10)')
  add('--media', nargs='+', default=[], metavar='FILE', help='sounds to add')
  options = parser.parse_args(argv)
  report.check_json_path(options.json)
  figures = measure(options)
  print(show(figures))
  report.write_json(
    options.json,
    {'benchmark': 'aac', 'figures': figures, 'settings': vars(options)},
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
