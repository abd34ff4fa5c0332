"""Measures the detector of speech, and fits its weights.

  pip install espeakng-loader    # eSpeak NG and its voices, GPL-3.0, 10 MB
  python -m benchmarks.speech [--fit] [--json out.json]

Voices of eSpeak NG talk at known times over noises and songs of the seeded world.
The weights were fitted on four voices and eight songs; the figures are of six
other voices, in other languages, and eight other songs. A step of a tenth of a
second counts as speech from the first to the last sound of an utterance.
"""

from __future__ import annotations

from collections.abc import Iterator
import ctypes
import dataclasses
import functools
import json
import sys

import numpy as np
import soxr

from benchmarks import report
from v2meow_jax import media
from v2meow_jax.inference.finish import speech
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.songs import mixing
from v2meow_jax.synthetic.songs import song as song_lib

RATE_HZ = speech.RATE_HZ
SECONDS = 20.0
NUM = round(SECONDS * RATE_HZ)
FITTED = ('en', 'en-us+f3', 'de', 'fr+m3'), range(8)
HELD_OUT = ('es', 'ru', 'it+f2', 'cmn', 'en+f2', 'en-us+m2'), range(20, 28)
OVER_DB = (20, 12, 6)
TEXTS = {
  'en': (
    'Good morning everybody. Today I will show you how to bake a cake.',
    'We walked down to the river and watched the boats until it got dark.',
    'No! I told you a hundred times: do not open that door.',
    'The second camera was moved to the left, where the light was better.',
  ),
  'de': (
    'Heute fahren wir mit dem Rad um den ganzen See herum.',
    'Was hast du gestern Abend eigentlich gemacht?',
  ),
  'fr': (
    'Bonjour, je voudrais une baguette et deux croissants, merci beaucoup.',
    'La maison au bord de la mer appartient à ma grand-mère.',
  ),
  'es': ('Mañana vamos a la playa con los niños si hace buen tiempo.',),
  'ru': ('Сегодня утром мы поехали на рынок за свежими овощами.',),
  'it': ('Il treno per Roma parte alle otto dal terzo binario.',),
  'cmn': ('今天天气很好我们一起去公园散步吧',),
}


class Voices:
  """eSpeak NG, as a library in this process."""

  def __init__(self):
    """Loads it with its voices."""
    import espeakng_loader

    self._library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(espeakng_loader.get_data_path()).encode()
    self._rate_hz = self._library.espeak_Initialize(1, 500, data, 0)
    self._blocks: list[np.ndarray] = []
    self._callback = ctypes.CFUNCTYPE(
      *(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int),
      ctypes.c_void_p,
    )(self._keep)
    self._library.espeak_SetSynthCallback(self._callback)

  def _keep(self, samples, count, events) -> int:
    del events
    if samples and count > 0:
      block = np.ctypeslib.as_array(samples, (count,)).astype(np.float32)
      self._blocks.append(block / 32_768)
    return 0

  def __call__(self, voice: str, rng: np.random.Generator) -> np.ndarray:
    """A sentence at `RATE_HZ`, at a random speed and pitch."""
    texts = TEXTS[voice.split('+')[0].split('-')[0]]
    text = texts[rng.integers(len(texts))].encode() + b'\0'
    if self._library.espeak_SetVoiceByName(voice.encode()):
      raise ValueError(f'eSpeak NG has no voice {voice!r}.')
    self._library.espeak_SetParameter(1, int(rng.integers(130, 200)), 0)
    self._library.espeak_SetParameter(3, int(rng.integers(30, 70)), 0)
    self._blocks.clear()
    self._library.espeak_Synth(text, len(text), 0, 0, 0, 1, None, None)
    self._library.espeak_Synchronize()
    samples = np.concatenate(self._blocks)
    return soxr.resample(samples, self._rate_hz, RATE_HZ)


@dataclasses.dataclass(frozen=True)
class Clip:
  """A sound and when somebody talks in it.

  Attributes:
    name: Name of voice and background.
    audio: Sound at `RATE_HZ`.
    talks: Whether somebody talks, each tenth of a second.
  """

  name: str
  audio: media.Audio
  talks: np.ndarray


@functools.cache
def _voices() -> Voices:
  """The one instance that a process can have: a second one hangs."""
  return Voices()


def leveled(samples: np.ndarray) -> np.ndarray:
  """Samples of a root mean square of 1."""
  return samples / np.sqrt(np.mean(np.square(samples)))


def song(index: int) -> np.ndarray:
  """A song of the seeded world."""
  bank = banks.load(banks.NUMPY, RATE_HZ)
  sampled = song_lib.sample(7, index, SECONDS)
  return leveled(mixing.render(sampled, bank).samples)


def noises(rng: np.random.Generator) -> dict[str, np.ndarray]:
  """Noises that films are full of."""
  times = np.arange(NUM) / RATE_HZ
  white = rng.normal(size=NUM)
  spectrum = np.fft.rfft(white)
  tilt = np.sqrt(np.maximum(np.arange(len(spectrum)), 10))
  pink = leveled(np.fft.irfft(spectrum / tilt, NUM))
  gusts = np.interp(times, np.arange(0, 21, 0.05), rng.uniform(0, 1, 420))
  phase = 2 * np.pi * np.cumsum(90 * (1 + 0.05 * np.sin(2 * times))) / RATE_HZ
  engine = np.sum([np.sin(k * phase) / k for k in range(1, 20)], axis=0)
  applause, steps, birds = np.zeros((3, NUM))
  for place in rng.integers(0, NUM - 800, 1500):
    applause[place : place + 800] += rng.normal(size=800) * _decay(800, 120)
  for start in np.arange(0.3, 19.5, 0.55):
    place = int(start * RATE_HZ) + rng.integers(-300, 300)
    steps[place : place + 1600] += rng.normal(size=1600) * _decay(1600, 200)
  for start in np.arange(0.5, 19.0, 0.4):
    place, clock = int(start * RATE_HZ), np.arange(3200) / RATE_HZ
    sweep = 1000 * np.sin(2 * np.pi * rng.uniform(5, 20) * clock)
    turns = np.cumsum(rng.uniform(2000, 4000) + sweep) / RATE_HZ
    birds[place : place + 3200] += np.sin(2 * np.pi * turns) * np.hanning(3200)
  beeps = np.where(times * 4 % 1 < 0.5, np.sin(2 * np.pi * 880 * times), 0)
  return {
    name: leveled(samples)
    for name, samples in (
      ('pink noise', pink),
      ('white noise', white),
      ('pink noise at 5 Hz', pink * (1 + 0.8 * np.sin(10 * np.pi * times))),
      ('wind', pink * gusts**2),
      ('applause', applause),
      ('engine', engine + 0.3 * pink),
      ('steps', steps + 0.01 * pink),
      ('beeps', beeps + 0.01 * pink),
      ('birds', birds + 0.02 * pink),
    )
  }


def _decay(size: int, samples: float) -> np.ndarray:
  return np.exp(-np.arange(size) / samples)


def clips(names: tuple[str, ...], songs: range, seed: int) -> Iterator[Clip]:
  """Voices over each kind of background, and the backgrounds alone."""
  voices, rng = _voices(), np.random.default_rng(seed)
  heard = noises(rng)
  silence = 1e-3 * rng.normal(size=NUM)
  for voice in names:
    yield _dialogue(f'{voice} alone', voices, voice, silence, rng)
    for over_db in OVER_DB:
      other = rng.choice(['applause', 'wind', 'engine', 'steps', 'birds'])
      backgrounds = {
        'pink noise': heard['pink noise'],
        'song': song(int(rng.choice(songs))),
        other: heard[other],
      }
      for name, samples in backgrounds.items():
        label = f'{voice} {over_db} dB over {name}'
        quiet = samples * 10 ** (-over_db / 20)
        yield _dialogue(label, voices, voice, quiet, rng)
  for name, samples in heard.items():
    yield _clip(name, samples, np.zeros(NUM, bool))
  for index in songs:
    yield _clip(f'song {index}', song(index), np.zeros(NUM, bool))


def _dialogue(
  name: str,
  voices: Voices,
  voice: str,
  background: np.ndarray,
  rng: np.random.Generator,
) -> Clip:
  samples, talks = np.zeros(NUM), np.zeros(NUM, bool)
  place = int(rng.uniform(1, 3) * RATE_HZ)
  while True:
    sentence = voices(voice, rng)
    if place + len(sentence) > NUM - RATE_HZ:
      break
    samples[place : place + len(sentence)] = sentence
    loud = np.flatnonzero(np.abs(sentence) > 0.01 * np.abs(sentence).max())
    talks[place + loud[0] : place + loud[-1]] = True
    place += len(sentence) + int(rng.uniform(1.5, 4) * RATE_HZ)
  samples /= np.sqrt(np.mean(np.square(samples[talks])))
  return _clip(name, samples + background, talks)


def _clip(name: str, samples: np.ndarray, talks: np.ndarray) -> Clip:
  audio = media.Audio(
    samples=(0.1 * samples).astype(np.float32), rate_hz=RATE_HZ
  )
  return Clip(name, audio, talks[:: RATE_HZ // speech.STEPS_HZ])


def found(clip: Clip) -> np.ndarray:
  """Steps in which the detector says that somebody talks."""
  steps = np.zeros(len(clip.talks), bool)
  for start, end in speech.segments(clip.audio):
    steps[round(start * speech.STEPS_HZ) : round(end * speech.STEPS_HZ)] = True
  return steps


def fit() -> dict[str, list[float] | float]:
  """Weights and bias of the logistic rule, of the fitted voices and songs."""
  from sklearn import linear_model

  made = list(clips(*FITTED, seed=1))
  figures = np.concatenate(
    [speech.features(c.audio)[: len(c.talks), 1:] for c in made]
  )
  talks = np.concatenate([c.talks for c in made])
  means, spreads = figures.mean(axis=0), figures.std(axis=0)
  rule = linear_model.LogisticRegression(max_iter=2000)
  rule.fit((figures - means) / spreads, talks)
  weights = np.ravel(rule.coef_) / spreads
  bias = float(np.ravel(rule.intercept_)[0] - weights @ means)
  return {'weights': np.round(weights, 3).tolist(), 'bias': round(bias, 3)}


def measure(seed: int = 2) -> dict[str, object]:
  """Precision and recall on held-out voices, and false alarms elsewhere."""
  rng = np.random.default_rng(0)
  made = [(c.name, c.talks, found(c)) for c in clips(*HELD_OUT, seed=seed)]
  counts = np.array(
    [
      [(t & f).sum(), (~t & f).sum(), (t & ~f).sum(), len(t)]
      for _, t, f in made
    ]
  )

  def scores(rows: np.ndarray) -> np.ndarray:
    hits, alarms, misses, _ = counts[rows].sum(axis=0)
    return np.array([hits / (hits + alarms), hits / (hits + misses)])

  everything = np.arange(len(counts))
  drawn = [scores(rng.choice(everything, len(counts))) for _ in range(1000)]
  low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
  precision, recall = scores(everything)
  alone = {n: round(float(f.mean()), 3) for n, t, f in made if not t.any()}
  return {
    'clips': len(counts),
    'precision': [round(float(v), 3) for v in (precision, low[0], high[0])],
    'recall': [round(float(v), 3) for v in (recall, low[1], high[1])],
    'share of each background that is taken for speech': alone,
  }


def main() -> None:
  """Prints what was measured, and writes it."""
  parser = report.parser(
    'benchmarks.speech',
    'Measures the detector of speech that --duck listens with.',
    'python -m benchmarks.speech --fit --json out.json',
  )
  parser.add_argument('--fit', action='store_true', help='fit the weights, too')
  options = parser.parse_args()
  report.check_json_path(options.json)
  figures = {'fit': fit()} if options.fit else {}
  figures |= measure()
  print(json.dumps(figures, indent=1))
  report.write_json(options.json, {'benchmark': 'speech', **figures})


if __name__ == '__main__':
  sys.exit(report.run(main))
