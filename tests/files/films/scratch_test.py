"""Numbers that lie on a disk: nameless, never larger than the disk."""

import errno
import os
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest

from v2meow_jax.files.films import scratch

LONG, SHORT = 7200, 300


def test_zeros_have_no_name_and_are_written_to(tmp_path):
  numbers = scratch.zeros(tmp_path, 100_000)
  assert not numbers.any() and numbers.dtype == np.float32
  numbers[:] = np.arange(100_000)
  assert numbers[[5, 99_999]].tolist() == [5, 99_999]
  assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_named_before_anything_is_written(
  tmp_path, monkeypatch
):
  usage = types.SimpleNamespace(total=10_000, used=9_000, free=1_000)
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage)
  with pytest.raises(OSError, match='the disk is full: about') as raised:
    scratch.zeros(tmp_path, 100_000)
  assert raised.value.errno == errno.ENOSPC
  assert str(tmp_path) in str(raised.value)


def test_room_is_asked_for_films_alone_and_all_of_them(tmp_path, monkeypatch):
  usage = types.SimpleNamespace(total=10_000, used=0, free=10_000)
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage)
  scratch.check(tmp_path, [100.0, 59.0], 100)  # 10,000 bytes on the disk.
  scratch.check(None, [LONG], 100)
  scratch.check(tmp_path, [], 100)
  with pytest.raises(OSError, match='about 0.0 MB are needed') as raised:
    scratch.check(tmp_path, [100.0, 61.0], 100)
  assert raised.value.errno == errno.ENOSPC
  assert str(tmp_path) in str(raised.value)


def test_the_folder_is_that_of_an_output_of_this_machine(tmp_path):
  assert scratch.folder(tmp_path / 'out.wav') == tmp_path


_FINISHING = """
import resource
import sys
import types

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.codecs.sines import sines
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files.films import scratch
from v2meow_jax.files import write
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import sound
from v2meow_jax.inference.expression import dynamics
from v2meow_jax.inference.expression import harmony
from v2meow_jax.models.sampling import options

SECONDS, FOLDER = float(sys.argv[1]), sys.argv[2]
RATE_HZ, HOP = 4_000, 160
STREAM = sines.SinesConfig().latents


class Stage:
  spec = specs.StageSpec(
    name='latents', inputs=(), target=STREAM, crop_seconds=8.0
  )

  def sample(self, inputs, keys, *options):
    rng = np.random.default_rng(0)
    return rng.random((len(keys), 200, STREAM.dim), np.float32)


def decode_in_pieces(latents, frames):
  for start in range(0, latents.shape[1], frames):
    piece = latents[:, start : start + frames, 0].repeat(HOP, 1)
    yield piece * np.sin(np.arange(piece.shape[1], dtype=np.float32))


codec = types.SimpleNamespace(
  config=sines.SinesConfig(),
  stream=STREAM,
  sample_rate_hz=RATE_HZ,
  decode_in_pieces=decode_in_pieces,
)
beats = tuple(
  plan_lib.Beat(seconds=float(i), downbeat=True, energy=i % 3 / 2)
  for i in range(int(SECONDS))
)
plan = plan_lib.MusicPlan(
  seconds=SECONDS,
  tempo_bpm=60.0,
  beats_per_bar=4,
  source='given',
  beats=beats,
  sections=(plan_lib.Section(start_seconds=0.0, mood='', energy=0.5),),
  key='C major',
)
pipeline.row_keys('latents', [0], [0])  # Compiles.
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(latents,) = pipeline.sample_stage(
  Stage(),
  [pipeline.ClipStreams(streams={}, seconds=SECONDS, seed=0)],
  sampling=options.Sampling(),
  windows=options.Windows(),
  scratch=FOLDER,
)
make = scratch.room(FOLDER, SECONDS)
streams = harmony.in_key({'latents': latents}, codec, plan, make)
audio, _ = sound.decode(codec, streams, [STREAM], SECONDS, make)
audio = dynamics.follow(audio, plan)
sound.require_usable(audio, SECONDS)
write.write_audio(FOLDER + '/out.wav', audio)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='sizes in kilobytes')
def test_two_hours_of_latents_and_sound_take_the_memory_of_five_minutes(
  tmp_path,
):
  def growth(seconds: int) -> int:
    command = [sys.executable, '-c', _FINISHING, str(seconds), str(tmp_path)]
    root = pathlib.Path(__file__).parents[3]
    env = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run(
      command, cwd=root, env=env, capture_output=True, text=True, check=True
    )
    return 1024 * int(done.stdout.splitlines()[-1])

  whole = 4 * 4_000 * LONG  # The samples alone, at this rate.
  short, long = growth(SHORT), growth(LONG)
  assert long - short < 0.1 * whole
  assert (tmp_path / 'out.wav').stat().st_size == 44 + 2 * 4_000 * LONG
