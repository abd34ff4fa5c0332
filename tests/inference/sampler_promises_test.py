"""What every sampler promises of windows: rows, seeds, long clips resumed.

That temperature 0 is the argmax of what the network says, each sampler's own
test compares with a loop by hand: `autoregressive_test`, `masked_test`.
"""

import functools

import numpy as np
import pytest

from tests.fakes import parallel_stage
from tests.fakes import tiny_transformer
from v2meow_jax import specs
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import restore
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow

WARM = options.Sampling(temperature=1.0)
SAMPLERS = ('autoregressive', 'masked')
# Four windows of 2 s, of which the window before has written 1 s.
SECONDS = 5.0
WINDOWS = options.Windows(prefix_seconds=1.0, rows=2)


@functools.cache
def stage_of(sampler):
  if sampler == 'masked':
    model, params = parallel_stage.make(), parallel_stage.params()
  else:
    model, params = tiny_transformer.make()
  return restore.ModelStage(model, params)


def clip_of(spec, seed, seconds=SECONDS):
  """Random streams, of which a shorter clip has the beginning."""
  streams = {}
  for s in spec.inputs:
    rng = np.random.default_rng(0)
    if isinstance(s, specs.TokenSpec):
      shape = (int(seconds * s.rate_hz), s.num_codebooks)
      streams[s.name] = rng.integers(0, s.codebook_size, shape)
    else:
      frames = int(seconds * s.rate_hz) or 1
      streams[s.name] = np.float32(rng.normal(size=(frames, s.dim)))
  return pipeline.ClipStreams(streams=streams, seconds=seconds, seed=seed)


def run(sampler, seeds, seconds=SECONDS):
  stage = stage_of(sampler)
  clips = [clip_of(stage.spec, seed, seconds) for seed in seeds]
  return pipeline.sample_stage(stage, clips, sampling=WARM, windows=WINDOWS)


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_a_clip_is_the_same_alone_and_among_others(sampler):
  together = run(sampler, (3, 4, 5))
  for seed, codes in zip((3, 4, 5), together, strict=True):
    np.testing.assert_array_equal(codes, run(sampler, (seed,))[0])


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_a_seed_gives_its_codes_again_and_another_gives_others(sampler):
  (codes,) = run(sampler, (3,))
  np.testing.assert_array_equal(codes, run(sampler, (3,))[0])
  assert (codes != run(sampler, (4,))[0]).mean() > 0.2


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_a_long_clip_resumed_after_any_window_is_the_whole(sampler):
  (whole,) = run(sampler, (3,))
  stage = stage_of(sampler)
  spec = stage.spec
  known = WINDOWS.prefix_frames(spec.target)
  crop = spec.target.num_frames(spec.crop_seconds)
  starts = pipeline.window_starts(SECONDS, spec.crop_seconds, 1.0)
  assert len(starts) == 4
  for window in range(1, len(starts)):
    first = round(starts[window] * spec.target.rate_hz)
    clip = clip_of(spec, 3)
    inputs = {
      s.name: pipeline.cut(
        clip.streams[s.name], s, starts[window], spec.crop_seconds
      )[None].repeat(2, 0)
      for s in spec.inputs
    }
    # All that is kept of what came before is what it wrote.
    again = stage.sample(
      inputs,
      pipeline.row_keys(spec.name, [3, 3], [window, window]),
      WARM,
      whole[None, first : first + known].repeat(2, 0),
    )[0]
    np.testing.assert_array_equal(again, whole[first : first + crop])
  (shorter,) = run(sampler, (3,), seconds=3.0)
  np.testing.assert_array_equal(shorter, whole[: len(shorter)])
