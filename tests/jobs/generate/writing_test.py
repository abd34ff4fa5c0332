"""What a worker writes is whole, and it says which bytes it wrote."""

import hashlib

import numpy as np
import pytest

from tests.fakes import scene_clips
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.jobs.generate import writing

RATE_HZ = 8000


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
  path = tmp_path_factory.mktemp('clips') / 'clip.mp4'
  scene_clips.write(path, 1.0, 0)
  return path


def hum():
  times = np.arange(RATE_HZ) / RATE_HZ
  samples = 0.5 * np.sin(2 * np.pi * 440 * times)
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE_HZ)


@pytest.mark.parametrize('suffix', ['.wav', '.mp4'])
def test_the_digest_and_size_are_of_the_file(tmp_path, clip, suffix):
  path = tmp_path / f'out{suffix}'
  written = writing.Writing()()(str(clip), str(path), hum(), {}, True)
  content = path.read_bytes()
  assert written.num_bytes == len(content)
  assert written.sha256 == hashlib.sha256(content).hexdigest()
  assert (written.output.film is None) == (suffix == '.wav')
  assert probe.probe(path).has_video == (suffix == '.mp4')
  sound = read.read_audio(path, rate_hz=RATE_HZ).samples
  spectrum = np.abs(np.fft.rfft(sound[:RATE_HZ]))
  assert abs(int(spectrum.argmax()) * RATE_HZ / len(sound[:RATE_HZ]) - 440) < 2


def test_a_film_that_is_gone_leaves_no_file(tmp_path):
  path = tmp_path / 'out.mp4'
  with pytest.raises(probe.UnsupportedMedia, match='No such file'):
    writing.write(str(tmp_path / 'none.mp4'), str(path), hum(), {}, True)
  assert not list(tmp_path.iterdir())
