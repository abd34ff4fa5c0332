"""The second process makes music without tracing or compiling anything."""

import json
import os
import subprocess
import sys

import pytest

from v2meow_jax.inference import system
from v2meow_jax.inference.programs import compile_cache

pytestmark = pytest.mark.slow

_PROCESS = """
import hashlib, json, sys
import jax
import numpy as np
from v2meow_jax import media
from v2meow_jax.inference import system

made = []
def count(name, *_, **__):
  # Eager wraps of keys are traced, and nothing else.
  if name.startswith('/jax/core/compile/') and 'trace' not in name:
    made.append(name)
jax.monitoring.register_event_duration_secs_listener(count)
digests = {}
for seconds in map(float, sys.argv[2:]):
  times = np.arange(0, seconds, 0.1)
  frames = np.random.default_rng(0).integers(0, 255, (len(times), 32, 32, 3))
  video = media.Video(frames=np.uint8(frames), times=times, seconds=seconds)
  samples = system.load(sys.argv[1]).generate(video, seed=3).samples
  digests[seconds] = hashlib.sha256(samples.tobytes()).hexdigest()
print(json.dumps({'made': len(made), 'digests': digests}))
"""


def start(folder, name, *seconds):
  """Soundtracks of clips of some lengths, by a process of their own."""
  env = {**os.environ, compile_cache.VARIABLE: str(folder)}
  del env['JAX_COMPILATION_CACHE_DIR']  # What is there already is not kept.
  done = subprocess.run(
    [sys.executable, '-c', _PROCESS, name, *map(str, seconds)],
    env=env,
    capture_output=True,
    text=True,
    check=True,
  )
  assert not done.stderr
  return json.loads(done.stdout)


@pytest.mark.parametrize('name', system.SHIPPED)
def test_after_a_short_clip_one_of_any_length_compiles_nothing(tmp_path, name):
  first = start(tmp_path, name, 3.0)
  assert first['made']
  # A second window of every stage, and the first clip again.
  second = start(tmp_path, name, 10.01, 3.0)
  assert not second['made']
  assert second['digests']['3.0'] == first['digests']['3.0']
