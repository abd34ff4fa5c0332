"""Measures a codec level by level: log-mel error, pitch and codebook use.

python -m benchmarks.codec --media song.mp3 --json out.json

The error of every group should fall with every level used: a level that does
not help costs a stage its ids for nothing. Mel bands are too wide to tell a note
from a buzz at its place; chroma, compared frame by frame, are not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import functools
import pathlib
import sys
from typing import Any

from jaxtyping import Float
from jaxtyping import Int
import numpy as np

from benchmarks import report
from v2meow_jax import specs
from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.synthetic import held_out

WINDOWS_SAMPLES = (512, 1024, 2048)
NUM_MELS = 64
FLOOR_DB = -80.0
SYNTHETIC = 'synthetic (held out)'


def log_mel_error(
  reference: Float[np.ndarray, 'samples'],
  estimate: Float[np.ndarray, 'samples'],
  rate_hz: int,
) -> float:
  """Computes the mean absolute difference of log-mel spectrograms, in dB.

  Power in 64 mel bands from Hann windows of 512, 1024 and 2048 samples with a
  quarter as hop, in dB, floored at -80 dB (a full-scale sine is near 0 dB);
  the mean over bands, frames and the three scales.

  Args:
    reference: The waveform aimed at.
    estimate: Samples of the same length.
    rate_hz: Sample rate of both, in Hz.

  Returns:
    >= 0; 0 for equal waveforms, 6.02 for one at half the amplitude of the
    other where both are above the floor.
  """
  if reference.shape != estimate.shape:
    raise ValueError(
      f'waveforms have shapes {reference.shape} and {estimate.shape}; wanted'
      ' equal lengths.'
    )
  errors = []
  for window in WINDOWS_SAMPLES:
    a, b = (_log_mel(x, rate_hz, window) for x in (reference, estimate))
    errors.append(np.abs(a - b).mean())
  return float(np.mean(errors))


def chroma_correlation(
  reference: Float[np.ndarray, 'samples'],
  estimate: Float[np.ndarray, 'samples'],
  rate_hz: int,
) -> float:
  """Computes how far the notes of a waveform are those aimed at.

  Args:
    reference: The waveform aimed at.
    estimate: Samples of the same length.
    rate_hz: Sample rate of both, in Hz.

  Returns:
    The mean over frames of the correlation of the powers of the twelve pitch
    classes, by spectra of a quarter of a second; 1 for the same notes, whatever
    their loudness, near 0 for others. Frames without any are left out; 0 where
    none is left.
  """
  librosa = numba_cache.librosa()

  window = 1 << round(np.log2(rate_hz / 4))
  a, b = (
    librosa.feature.chroma_stft(
      y=x, sr=rate_hz, n_fft=window, norm=None, tuning=0.0
    )
    for x in (reference, estimate)
  )
  a, b = (x - x.mean(0) for x in (a, b))
  norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
  heard = norm > 1e-9
  if not heard.any():
    return 0.0
  return float(((a * b).sum(0)[heard] / norm[heard]).mean())


def _log_mel(
  x: Float[np.ndarray, 'samples'], rate_hz: int, window: int
) -> Float[np.ndarray, 'mels frames']:
  librosa = numba_cache.librosa()

  power = np.abs(librosa.stft(x, n_fft=window, hop_length=window // 4)) ** 2
  # A sine of amplitude 1 has a peak of sum(window) / 2 = window / 4.
  mel = _mel_bands(rate_hz, window) @ (power / (window / 4) ** 2)
  return 10 * np.log10(np.maximum(mel, 10 ** (FLOOR_DB / 10)))


@functools.cache
def _mel_bands(rate_hz: int, window: int) -> np.ndarray:
  librosa = numba_cache.librosa()

  # Few windows resolve the lowest bands, and empty bands would count as equal.
  lowest = 2.0 * rate_hz / WINDOWS_SAMPLES[0]
  return librosa.filters.mel(
    sr=rate_hz, n_fft=window, n_mels=NUM_MELS, fmin=lowest, norm=None
  )


def perplexity(codes: Int[np.ndarray, '*n'], codebook_size: int) -> float:
  """Computes the number of codes in even use: exp of their entropy.

  >>> round(perplexity(np.arange(8), 1024), 6)
  8.0
  """
  counts = np.bincount(np.ravel(codes), minlength=codebook_size)
  share = counts[counts > 0] / counts.sum()
  return float(np.exp(-(share * np.log(share)).sum()))


def measure(
  codec: Any, pieces: Sequence[Float[np.ndarray, 'samples']], what: str
) -> dict[str, Any]:
  """Measures error after 1..all levels and perplexity of each level.

  Args:
    codec: A `codecs.codec.Codec`; or an `Autoencoder`, all of whose numbers count
      as one level, of no codes.
    pieces: Waveforms at its rate, each of whole frames.
    what: Label of the progress bar.

  Returns:
    'log_mel_error_db', 'chroma_correlation' and 'perplexity', one number per
    level; whether the error 'falls_with_every_level'; the 'seconds' of audio.
  """
  stream, rate_hz = codec.stream, codec.sample_rate_hz
  is_coded = isinstance(stream, specs.TokenSpec)
  levels = range(1, stream.num_codebooks + 1) if is_coded else [stream.dim]
  errors, notes, codes = [], [], []
  for piece in report.progress(pieces, what):
    code = np.asarray(codec.encode(piece[None]))
    codes.append(code[0])
    decoded = [
      np.asarray(codec.decode(code[..., :level]))[0] for level in levels
    ]
    errors.append([log_mel_error(piece, x, rate_hz) for x in decoded])
    notes.append([chroma_correlation(piece, x, rate_hz) for x in decoded])
  frames = np.concatenate(codes)
  error = np.mean(errors, axis=0)
  return {
    'log_mel_error_db': [float(e) for e in error],
    'chroma_correlation': [float(r) for r in np.mean(notes, axis=0)],
    'perplexity': [
      perplexity(frames[:, level - 1], stream.codebook_size)
      for level in levels
      if is_coded
    ],
    'falls_with_every_level': bool((np.diff(error) < 0).all()),
    'seconds': sum(len(p) for p in pieces) / rate_hz,
    'num_frames': len(frames),
  }


def cut(
  samples: Float[np.ndarray, 'samples'], codec: Any, seconds: float
) -> list[Float[np.ndarray, 'samples']]:
  """Cuts pieces of `seconds`, or of the whole when shorter, of whole frames.

  All of one length, so that the codec compiles once; what is left is dropped.
  """
  hop = round(codec.sample_rate_hz / codec.stream.rate_hz)
  length = min(round(seconds * codec.sample_rate_hz), len(samples))
  length -= length % hop
  if length == 0:
    return []
  count = len(samples) // length
  samples = np.asarray(samples, np.float32)
  return list(samples[: count * length].reshape(count, length))


def show(groups: dict[str, dict[str, Any]]) -> str:
  """Prints the figures as tables."""
  names = list(groups)
  parts = []
  for title, key, digits in (
    ('log-mel error, dB', 'log_mel_error_db', 3),
    ('correlation of chroma', 'chroma_correlation', 3),
    ('perplexity of the level', 'perplexity', 1),
  ):
    rows = [
      [n + 1, *(f'{groups[g][key][n]:.{digits}f}' for g in names)]
      for n in range(len(groups[names[0]][key]))
    ]
    if rows:
      parts += [title, report.table(['levels', *names], rows), '']
  parts += [
    f'{name}: the error '
    + ('falls' if group['falls_with_every_level'] else 'does NOT fall')
    + f' with every level ({group["seconds"]:.0f} s,'
    f' {group["num_frames"]} frames)'
    for name, group in groups.items()
    if group['perplexity']
  ]
  return '\n'.join(parts)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.codec',
    'Measures the codec of a system: log-mel error and pitch with 1..all levels,'
    ' and how many codes of each level are in use.',
    'python -m benchmarks.codec --media song.mp3 --json out.json',
  )
  report.add_system(parser)
  add = parser.add_argument
  add('--num', type=report.positive, default=24, help='scenes (default 24)')
  add('--seed', type=int, default=7, help='of the scenes (default 7)')
  add('--seconds', type=float, default=5.0, help='of a piece (default 5)')
  add(
    '--media',
    nargs='+',
    default=[],
    metavar='FILE',
    help='music of your own, audio or video, to measure too',
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  from v2meow_jax.files import read
  from v2meow_jax.inference import system as system_lib

  system = system_lib.load(options.system)
  codec = system.codec
  scenes = held_out.scenes(options.seed, options.num, 2 * options.seconds)
  pieces = [
    piece
    for s in scenes
    for piece in cut(held_out.music(s).samples, codec, options.seconds)
  ]
  groups = {SYNTHETIC: measure(codec, pieces, SYNTHETIC)}
  for path in options.media:
    audio = read.read_audio(path)
    if audio.rate_hz != codec.sample_rate_hz:
      raise ValueError(
        f'{path} was read at {audio.rate_hz} Hz and the codec speaks'
        f' {codec.sample_rate_hz} Hz; choose a system for that rate.'
      )
    name = pathlib.Path(path).name
    pieces = cut(audio.samples, codec, options.seconds)
    if not pieces:
      raise ValueError(f'{path} is shorter than one frame of the codec.')
    groups[name] = measure(codec, pieces, name)
  print(show(groups))
  report.write_json(
    options.json,
    {
      'benchmark': 'codec',
      'groups': groups,
      'settings': vars(options),
      'system_sha256': system.digest,
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
