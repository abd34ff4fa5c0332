"""A voice that talks nonsense at planted times, and an ear for loudness."""

from __future__ import annotations

import pathlib
import re

import av
import numpy as np
from scipy import signal

RATE_HZ = 16_000
# First three formants of some vowels, in Hz (Peterson & Barney 1952, men).
_VOWELS = (
  (270, 2290, 3010),
  (530, 1840, 2480),
  (730, 1090, 2440),
  (300, 870, 2240),
)
_WIDTHS_HZ = (60, 90, 120)


def voice(seconds: float, seed: int) -> np.ndarray:
  """Syllables of buzz through formants, with hisses between: float32[samples]."""
  rng = np.random.default_rng(seed)
  out = np.zeros(round(seconds * RATE_HZ))
  base = rng.uniform(95, 200)
  place, vowel = 0, np.array(_VOWELS[0], float)
  while True:
    size = round(rng.uniform(0.15, 0.26) * RATE_HZ)
    hiss = round(rng.uniform(0.03, 0.09) * RATE_HZ)
    if place + hiss + size > len(out):
      return out.astype(np.float32)
    noise = signal.lfilter([1, -0.9], 1, rng.normal(size=hiss))
    out[place : place + hiss] += 0.04 * noise * np.hanning(hiss)
    place += hiss
    pitch = base * 2 ** (np.linspace(*rng.uniform(-0.25, 0.25, 2), size))
    buzz = np.diff(np.floor(np.cumsum(pitch) / RATE_HZ), prepend=0)
    last, vowel = vowel, np.array(_VOWELS[rng.integers(len(_VOWELS))], float)
    sounds = []
    for formants in (last, vowel):
      wave = buzz
      for hz, width in zip(formants, _WIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * width / RATE_HZ)
        poles = [1, -2 * radius * np.cos(2 * np.pi * hz / RATE_HZ), radius**2]
        wave = signal.lfilter([sum(poles)], poles, wave)
      sounds.append(wave)
    share = np.linspace(0, 1, size)
    syllable = (1 - share) * sounds[0] + share * sounds[1]
    syllable *= np.hanning(size) / max(np.abs(syllable).max(), 1e-9)
    out[place : place + size] += syllable * rng.uniform(0.5, 1.0)
    place += size


def dialogue(
  seconds: float, stretches: list[tuple[float, float]], seed: int
) -> np.ndarray:
  """Silence with a voice in stretches of seconds: float32[samples]."""
  out = np.zeros(round(seconds * RATE_HZ), np.float32)
  for number, (start, end) in enumerate(stretches):
    talk = voice(end - start, seed + number)
    first = round(start * RATE_HZ)
    out[first : first + len(talk)] = talk
  return out


def ebur128(
  samples: np.ndarray, rate_hz: int, folder: pathlib.Path
) -> tuple[float, float]:
  """Integrated loudness and true peak of [channels, samples], by FFmpeg."""
  path = folder / 'ebur128.txt'
  layout = {1: 'mono', 2: 'stereo'}[len(samples)]
  graph = av.filter.Graph()
  nodes = [
    graph.add_abuffer(sample_rate=rate_hz, format='fltp', layout=layout),
    graph.add('ebur128', 'peak=true:metadata=1'),
    graph.add('ametadata', f'mode=print:file={path}'),
    graph.add('abuffersink'),
  ]
  for before, after in zip(nodes[:-1], nodes[1:], strict=True):
    before.link_to(after)
  graph.configure()
  size = rate_hz // 10
  for start in range(0, samples.shape[1], size):
    block = np.ascontiguousarray(samples[:, start : start + size], np.float32)
    frame = av.AudioFrame.from_ndarray(block, format='fltp', layout=layout)
    frame.sample_rate, frame.pts = rate_hz, start
    graph.push(frame)
    _drain(graph)
  graph.push(None)
  _drain(graph)
  del graph, nodes  # The file is whole when they are gone.
  text = path.read_text()
  loudness = float(re.findall(r'r128\.I=(\S+)', text)[-1])
  peaks = [float(p) for p in re.findall(r'true_peaks_ch\d=(\S+)', text)]
  return loudness, 20 * np.log10(max(peaks))


def _drain(graph: av.filter.Graph) -> None:
  while True:
    try:
      graph.pull()
    except (av.error.EOFError, av.error.BlockingIOError):
      return
