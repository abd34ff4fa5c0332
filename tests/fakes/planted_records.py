"""A world whose streams say what time it is, for the tests of the data."""

import dataclasses
import json

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.files import paths

STREAMS = (
  specs.FeatureSpec(name='appearance', dim=3, rate_hz=1.0),
  specs.FeatureSpec(name='motion', dim=2, rate_hz=12.5),
  specs.FeatureSpec(name='style', dim=4, rate_hz=0.0),
  specs.TokenSpec(name='semantic', codebook_size=512, rate_hz=25.0),
  specs.TokenSpec(
    name='acoustic', codebook_size=1024, rate_hz=25.0, num_codebooks=8
  ),
)
TINY = {
  **{s.name: s for s in STREAMS if s.name != 'acoustic'},
  'coarse': specs.TokenSpec(
    name='coarse',
    codebook_size=1024,
    rate_hz=25.0,
    num_codebooks=2,
    stored_as='acoustic',
  ),
  'fine': specs.TokenSpec(
    name='fine',
    codebook_size=1024,
    rate_hz=25.0,
    num_codebooks=6,
    first_codebook=2,
    stored_as='acoustic',
  ),
}


def video_seconds(path):
  """Of a file holding json {'seconds': s}."""
  return json.loads(paths.path(path).read_bytes())['seconds']


def read_video(path):
  """One gray picture a second, in stretches of 4 s."""
  seconds = video_seconds(path)
  times = np.arange(max(1, int(seconds))) * 1.0
  frames = np.zeros((len(times), 2, 2, 3), np.uint8)
  return media.Video(frames=frames, times=times, seconds=seconds).pieces(4.0)


def read_audio(path, rate_hz):
  """Silence as long as 'audio_seconds' or 'seconds'; None when 'mute'.

  'poison' breaks what is read; 'loud' seconds at the end sound, at 'level'.
  """
  row = json.loads(paths.path(path).read_bytes())
  if row.get('mute'):
    return None
  seconds = row.get('audio_seconds', row['seconds'])
  samples = np.zeros(round(seconds * rate_hz), np.float32)
  first = round((seconds - row.get('loud', 0)) * rate_hz)
  samples[first:] = row.get('level', 0.5)
  samples[:1] = row.get('poison', 0)
  return media.Audio(samples=samples, rate_hz=rate_hz)


@dataclasses.dataclass
class Clock:
  """Emits the time: features in seconds, codes in frames."""

  sample_rate_hz = 1000

  stream: specs.Stream
  reads: str = 'video'

  def __call__(self, item):
    if not self.stream.rate_hz:
      return np.ones((1, self.stream.dim), np.float32)
    first = round(getattr(item, 'start_seconds', 0) * self.stream.rate_hz)
    count = max(1, round(item.seconds * self.stream.rate_hz))
    frames = np.arange(first, first + count)
    if isinstance(self.stream, specs.FeatureSpec):
      times = frames / self.stream.rate_hz
      return np.repeat(times[:, None], self.stream.dim, 1).astype(np.float32)
    levels = np.arange(self.stream.num_codebooks)
    if isinstance(item, media.Audio) and item.samples[0] == 1:
      return frames[:, None] + 2000 + levels
    return frames[:, None] % self.stream.codebook_size + 0 * levels


@dataclasses.dataclass
class NanWhenPoisoned(Clock):
  """A clock that breaks on sound that begins with 2."""

  def __call__(self, item):
    values = super().__call__(item)
    return values * np.nan if item.samples[0] == 2 else values


def make_extractors():
  """The clocks, as `prepare` wants them."""
  video = ('appearance', 'motion')
  clocks = {
    s.name: Clock(s, 'video' if s.name in video else 'audio') for s in STREAMS
  }
  broken = NanWhenPoisoned(clocks['style'].stream, 'audio')
  return {**clocks, 'style': broken}


def reading(**changes):
  """How the planted clips are read, for `prepare`."""
  from v2meow_jax.jobs.prepare import extraction

  arguments = {
    'streams': STREAMS,
    'make_extractors': make_extractors,
    'video_seconds': video_seconds,
    'read_video': read_video,
    'read_audio': read_audio,
  }
  return extraction.ClipReading(**{**arguments, **changes})


def write_manifest(folder, clips):
  """Clips: {id: (split, what its file holds or None for no file)}."""
  folder.mkdir(parents=True, exist_ok=True)
  lines = []
  for name, (split, content) in clips.items():
    if content is not None:
      (folder / f'{name}.json').write_text(json.dumps(content))
    lines.append({'id': name, 'path': f'{name}.json', 'split': split})
  manifest = folder / 'manifest.jsonl'
  manifest.write_text('\n'.join(json.dumps(line) for line in lines) + '\n')
  return str(manifest)
