"""Measures how fast MuVi's base size makes music, with random weights.

A part of benchmarks.accelerator: 30 s are one window of `systems/muvi/music.gin`,
on the latents of `codecs/vae.gin` (48 kHz, 25 a second), in 8 steps without
guidance, as a student takes; and the decoding of what was written.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import statistics
import time
from typing import Any

import numpy as np

from tests.fakes import random_system
from v2meow_jax import gin_config

RECIPE = 'systems/muvi/music.gin'
_OF_LATENTS = ('runs/train.gin', RECIPE, 'networks/vae_latents.gin')
_CODEC = ('runs/train.gin', 'codecs/vae.gin')
_TINY_CODEC = ('seanet.SeanetConfig.base_channels = 2',)
# Without guidance, as a student of few steps is sampled.
_UNGUIDED = 1.0


def measure(
  tiny: bool, seconds: float, steps: int, rounds: int
) -> dict[str, Any]:
  """Measures the sampling of a window, and the decoding of its latents.

  Args:
    tiny: Whether the networks are small.
    seconds: Length of the music.
    steps: Number of steps of the flow.
    rounds: Number of windows that are timed, after one that compiles.

  Returns:
    'seconds_of_clip', 'steps', 'frames', 'parameters' and 'dtype' of the stage,
    and medians: 'stage_seconds' and 'codec_seconds'.
  """
  import jax

  from v2meow_jax.models.sampling import options

  stage, params = random_stage(tiny, seconds)
  play, num_samples = random_decoder(tiny, seconds)
  rng = np.random.default_rng(0)
  inputs = {
    name.removeprefix('encoder_inputs_'): rng.standard_normal(
      x.shape, np.float32
    )
    for name, x in stage.model.example_inputs(1).items()
  }
  sampling = options.Sampling(
    temperature=1.0, steps=steps, video_guidance=_UNGUIDED
  )
  taken: dict[str, list[float]] = {'stage_seconds': [], 'codec_seconds': []}
  for seed in range(rounds + 1):  # The first compiles.
    start = time.perf_counter()
    keys = jax.random.split(jax.random.key(seed), 1)
    latents = stage.sample(inputs, keys, sampling)
    written = time.perf_counter()
    sound = np.asarray(play(latents))
    taken['stage_seconds'].append(written - start)
    taken['codec_seconds'].append(time.perf_counter() - written)
  if sound.shape != (1, num_samples) or not np.isfinite(sound).all():
    raise ValueError(
      f'the sound has shape {sound.shape}; wanted {(1, num_samples)}, finite.'
    )
  return {
    'seconds_of_clip': seconds,
    'steps': steps,
    'frames': latents.shape[1],
    'parameters': sum(x.size for x in jax.tree.leaves(params)),
    'dtype': stage.model.network.dtype,
    **{name: statistics.median(t[1:]) for name, t in taken.items()},
  }


def random_stage(tiny: bool, seconds: float) -> tuple[Any, Any]:
  """The stage in bfloat16, of windows of so many seconds; its parameters."""
  from v2meow_jax.inference import restore

  bindings = [f'stages.flow_music.crop_seconds = {seconds}']
  bindings += random_system.TINY_STAGES if tiny else ()
  description, params = random_system.random_stage(
    np.random.default_rng(0), _OF_LATENTS, bindings
  )
  model = restore.build_model(description, 'bfloat16')
  return restore.ModelStage(model, params), params


def random_decoder(
  tiny: bool, seconds: float
) -> tuple[Callable[..., Any], int]:
  """What decodes latents with random weights, and how many samples it gives."""
  import jax
  import jax.numpy as jnp

  import gin
  from v2meow_jax.codecs.vae import vae

  bindings = ("MANIFEST = ''", *(_TINY_CODEC if tiny else ()))
  gin_config.parse(_CODEC, bindings, ('gin',))
  config = gin.get_configurable('MODEL/macro')().config
  module = config.module()
  params = module.init(
    jax.random.key(0), jnp.zeros((1, config.ends.hop_samples))
  )
  decode = jax.jit(
    functools.partial(module.apply, method=vae.Vae.decode_latents)
  )
  return (
    functools.partial(decode, params),
    round(seconds * config.sample_rate_hz),
  )
