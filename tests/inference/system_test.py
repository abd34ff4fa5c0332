"""A clip of any length gets codes of its length, whatever the windows."""

import json
import shutil
import types

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import stages
from v2meow_jax.files import released
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests
from v2meow_jax.inference import streams
from v2meow_jax.inference import system
from v2meow_jax.models.sampling import options

TINY = stages.TINY


class AnyStage:
  """Writes the number of the frame within the window."""

  def __init__(self, spec):
    self.spec = spec

  def sample(self, inputs, rngs, sampling, prefix=None, negative=None):
    del inputs, sampling
    frames = self.spec.target.num_frames(self.spec.crop_seconds)
    codes = np.tile(np.arange(frames)[None, :, None], (len(rngs), 1, 2))
    if prefix is not None:
      codes[:, : prefix.shape[1]] = prefix
    return codes.astype(np.int32)


@pytest.mark.parametrize('seconds', [0.4, 2.0, 5.0, 7.3, 12.4, 61.0])
def test_every_stage_covers_a_clip_of_any_length(seconds):
  frames = int(np.ceil(seconds * 25))
  streams = {
    'semantic': np.zeros((frames, 1), np.int32),
    'coarse': np.zeros((frames, 2), np.int32),
  }
  for spec, windows in (
    (
      stages.coarse(crop_seconds=4.0, streams=TINY),
      options.Windows(prefix_seconds=1.0),
    ),
    (
      stages.fine(crop_seconds=2.0, streams=TINY),
      options.Windows(rows=5),
    ),
  ):
    (codes,) = pipeline.sample_stage(
      AnyStage(spec),
      [
        pipeline.ClipStreams(
          streams=streams,
          seconds=seconds,
          seed=0,
        )
      ],
      sampling=options.Sampling(temperature=1.0),
      windows=windows,
    )
    assert len(codes) >= frames
    assert codes.shape[1] == 2


def test_a_window_far_beyond_a_short_clip_swings_back_and_forth():
  array = np.arange(3)[:, None]
  window = pipeline.cut(array, TINY['semantic'], start=0.0, seconds=0.4)
  assert window[:, 0].tolist() == [0, 1, 2, 2, 1, 0, 0, 1, 2, 2]


@pytest.mark.parametrize(
  ('name', 'old', 'new', 'said'),
  [
    ('tiny', '"num_heads"', '"num_heaes"', 'num_heaes'),
    ('tiny', '"name": "coarse"', '"nome": "coarse"', "'name'"),
    ('songs', '"sound"', '"sounds"', "'sound'"),
    ('songs', '"ends"', '"end"', "'ends'"),
  ],
)
def test_a_config_that_describes_no_system_is_named(
  tmp_path, name, old, new, said
):
  folder = tmp_path / 'system'
  shutil.copytree(system.SHIPPED[name], folder)
  config = folder / 'config.json'
  text = config.read_text()
  assert old in text
  facts = json.loads(text.replace(old, new, 1))
  del facts['config_sha256']
  config.write_text(json.dumps(facts))
  with pytest.raises(released.DamagedSystem, match=f'config.json .*{said}'):
    system.load(folder)


def test_a_disk_without_room_is_named_before_a_film_is_read(
  tmp_path, monkeypatch
):
  usage = types.SimpleNamespace(total=0, used=0, free=1_000)
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage)

  def read(*_):
    raise AssertionError('the film is being read')

  monkeypatch.setattr(streams, 'read_requests', read)
  grey = np.full((1, 8, 8, 3), 128, np.uint8)
  film, clip = (
    requests.Request(
      video=media.Video(frames=grey, times=np.zeros(1), seconds=seconds)
    )
    for seconds in (7200.0, 59.0)
  )
  tiny = system.load('tiny')
  # Samples of 16 kHz are 460.8 MB in two hours, and there are codes besides.
  with pytest.raises(OSError, match=r'disk is full: about 46\d\.\d MB') as said:
    tiny.run_batch([film, clip], scratch=tmp_path)
  assert str(tmp_path) in str(said.value)
  with pytest.raises(AssertionError, match='being read'):
    tiny.run_batch([clip], scratch=tmp_path)
