"""A take is made once for what it was made from, and never taken for another."""

import types

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.inference import takes
from v2meow_jax.models.sampling import options


class Singer:
  """Sings its seed."""

  digest = 'a'
  dtype = 'float32'

  def __init__(self):
    self.calls = []

  def generate(self, video, prompt=None, seed=0):
    self.calls.append((video.name, prompt, seed))
    rng = np.random.default_rng(seed)
    samples = rng.uniform(-0.5, 0.5, 800).astype(np.float32)
    return media.Audio(samples=samples, rate_hz=8_000)


@pytest.fixture
def video(tmp_path):
  path = tmp_path / 'video.mp4'
  path.write_bytes(b'frames')
  return path


def test_a_take_is_made_again_for_anything_else_and_not_for_the_same(
  video, tmp_path
):
  singer = Singer()
  folder = tmp_path / 'takes'

  def make(prompt=None, seed=1):
    made = takes.Takes(singer, folder)
    return made(
      'x', video, prompt=prompt, seed=seed
    ).read_bytes(), made.num_made

  first, num_made = make()
  assert num_made == 1
  assert make() == (first, 0)
  video.rename(video.with_name('renamed.mp4'))
  video = video.with_name('renamed.mp4')
  assert make() == (first, 0)
  assert make(seed=2)[1] == 1
  assert make(prompt='calm', seed=2)[1] == 1
  singer.digest = 'b'
  assert make(prompt='calm', seed=2)[1] == 1
  singer.dtype = 'bfloat16'
  assert make(prompt='calm', seed=2)[1] == 1
  video.write_bytes(b'others')
  assert make(prompt='calm', seed=2)[1] == 1
  # Damaged, or half of it missing.
  (folder / 'x.wav').write_bytes(b'')
  assert make(prompt='calm', seed=2)[1] == 1
  (folder / 'x.wav.json').write_text('{')
  assert make(prompt='calm', seed=2)[1] == 1
  assert make()[0] == first


class Stage:
  """Gives back what it was shown."""

  def __init__(self, name, inputs):
    streams = tuple(
      specs.FeatureSpec(name=n, dim=2, rate_hz=1.0) for n in inputs
    )
    self.spec = types.SimpleNamespace(name=name, inputs=streams)

  def sample(self, inputs, rngs, sampling, prefix=None, negative=None):
    del rngs, prefix, sampling
    return inputs


def system(coarse_inputs):
  return types.SimpleNamespace(
    config={'visual': ['clip', 'flow']},
    digest='a',
    stages=[Stage('semantic', ['clip']), Stage('coarse', coarse_inputs)],
  )


def test_a_stage_without_vision_sees_zeros_and_hears_the_rest():
  whole = system(['clip', 'sound'])
  blind = takes.without_vision(whole)
  ones = {'clip': np.ones((1, 3, 2)), 'sound': np.ones((1, 3, 2))}
  shown = blind.stages[1].sample(ones, None, options.Sampling())
  assert not shown['clip'].any() and shown['sound'].all()
  assert blind.stages[0].sample(ones, None, options.Sampling())['clip'].all()
  assert whole.stages[1].sample(ones, None, options.Sampling())['clip'].all()
  assert blind.digest != whole.digest


def test_a_stage_that_reads_no_video_has_no_blind_version():
  assert takes.without_vision(system(['sound'])) is None
