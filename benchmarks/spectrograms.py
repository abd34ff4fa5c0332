"""Draws the spectrograms of some sounds side by side, to listen by looking.

python -m benchmarks.spectrograms made/*.wav music.mp3 --out spectrograms.png

Beats are lines from top to bottom, notes lines to the right, and noise is a haze
between them. Each picture is of the loudest stretch of its file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import pathlib
import sys

import numpy as np

from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.listening import detectors
from v2meow_jax.evaluation.reports import plots
from v2meow_jax.files import read


def loudest(audio: media.Audio, seconds: float) -> media.Audio:
  """The stretch of a sound that holds most energy, or all of a shorter one."""
  length = round(seconds * audio.rate_hz)
  if len(audio.samples) <= length:
    return audio.fitted(length)
  power = np.square(audio.samples, dtype=np.float64)
  energy = np.cumsum(np.concatenate([[0.0], power]))
  first = int(np.argmax(energy[length:] - energy[:-length]))
  return media.Audio(
    samples=audio.samples[first : first + length], rate_hz=audio.rate_hz
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Draws the picture."""
  options = _options(argv)
  report.check_output('--out', options.out)
  names = [pathlib.Path(path).name for path in options.sounds]
  if len(set(names)) < len(names):
    raise ValueError(f'the sounds are called {names}; wanted different names.')
  sounds = {
    name: loudest(
      read.read_audio(path, rate_hz=detectors.BEAT_RATE_HZ), options.seconds
    )
    for name, path in zip(
      names, report.progress(options.sounds, 'reading'), strict=True
    )
  }
  plots.spectrograms(options.out, sounds, columns=2)
  print(options.out)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.spectrograms',
    description='Draws the spectrograms of some sounds side by side.',
  )
  add = parser.add_argument
  add('sounds', nargs='+', metavar='FILE', help='files with sound')
  add('--out', required=True, metavar='PNG', help='picture to write')
  add('--seconds', type=float, default=8.0, help='of each sound (default 8)')
  return parser.parse_args(argv)


if __name__ == '__main__':
  sys.exit(report.run(main))
