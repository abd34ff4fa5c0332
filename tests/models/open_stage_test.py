"""A stage of another kind needs no edit of the library.

Network, objective and sampler of this file write a continuous stream: a linear
map of patches, trained by squared error, which answers with noise.
"""

import ast
import dataclasses
import itertools
import pathlib

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import v2meow_jax
from v2meow_jax import specs
from v2meow_jax.inference import restore
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes
from v2meow_jax.models import stage_model
from v2meow_jax.models.objectives import objective
from v2meow_jax.models.sampling import options
from v2meow_jax.training import loop
from v2meow_jax.training import schedules

PATCHES = specs.FeatureSpec(name='patches', dim=3, rate_hz=5.0, num_positions=2)
LATENTS = specs.FeatureSpec(name='latents', dim=4, rate_hz=5.0)
STAGE = specs.StageSpec(
  name='latents', inputs=(PATCHES,), target=LATENTS, crop_seconds=2.0
)


class LinearNetwork(nn.Module):
  dim: int

  @nn.compact
  def __call__(self, batch, wanted=('frames',), deterministic=True):
    x = batch['encoder_inputs_patches']
    x = x.reshape(*x.shape[:2], -1)
    names = (logical_axes.INPUT_DIM, logical_axes.EMBED)
    shape = (x.shape[-1], self.dim)
    kernel = self.param('kernel', layers.normal(0.1, *names), shape)
    return {name: x @ kernel for name in wanted}


@dataclasses.dataclass(frozen=True)
class LinearSizes:
  layout = batch_layouts.FRAMES

  def module(self, spec):
    return LinearNetwork(spec.target.dim)


@dataclasses.dataclass(frozen=True)
class SquaredError:
  reads = ('frames',)
  ramps = False

  def corrupt(self, spec, batch, rng):
    return batch

  def __call__(self, spec, outputs, batch):
    error = outputs['frames'] - batch['decoder_target_frames']
    values, weights = (error**2).mean(-1), batch['decoder_loss_weights']
    return objective.Losses(values, weights, {'loss': (values, weights)})


@dataclasses.dataclass(frozen=True)
class NoisySampler:
  sampling: options.Sampling = options.Sampling(temperature=0.0)
  windows: options.Windows = options.Windows()

  def sample(
    self, network, spec, params, inputs, rngs, sampling, *, prefix, num_frames,
    negative,
  ):  # fmt: skip
    outputs = network.module(spec).apply({'params': params}, inputs)
    frames = outputs['frames'][:, :num_frames]
    noise = jax.vmap(lambda key: jax.random.normal(key, frames.shape[1:]))(rngs)
    frames = frames + sampling.temperature * noise
    if prefix is not None:
      frames = frames.at[:, : prefix.shape[1]].set(prefix)
    return frames


MODEL = stage_model.StageModel(
  STAGE, LinearSizes(), SquaredError(), NoisySampler()
)


def planted(rows=8):
  batch = MODEL.example_batch(rows)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(rows, 10, 2, 3)).astype(np.float32)
  batch['encoder_inputs_patches'] = x
  batch['decoder_target_frames'] = x.reshape(rows, 10, 6)[..., :4]
  batch['decoder_loss_weights'][:] = 1.0
  return batch


@pytest.fixture(scope='module')
def losses(tmp_path_factory):
  losses = []
  loop.train(
    model_dir=str(tmp_path_factory.mktemp('run')),
    model=MODEL,
    train_batches=lambda step: itertools.repeat(planted()),
    schedule=schedules.warmup_rsqrt(1e-1, 1),
    train_steps=2,
    eval_every=1,
    eval_batches=lambda step: iter([planted()]),
    on_eval=lambda step, variables: (
      losses.append(
        float(MODEL.train_loss(variables['params'], {}, planted(), None)[0])
      )
      or {}
    ),
    tensorboard=False,
  )
  return losses


@pytest.mark.slow
def test_a_continuous_stage_trains_in_the_loop(losses):
  assert len(losses) >= 2 and losses[-1] < losses[0]


def test_a_continuous_stage_samples_frames_in_the_pipeline_s_way():
  batch = planted(2)
  params = nn.meta.unbox(MODEL.init(jax.random.key(0), batch))['params']
  stage = restore.ModelStage(MODEL, params)
  inputs = {'patches': batch['encoder_inputs_patches']}
  keys = jax.random.split(jax.random.key(1), 2)
  prefix = np.ones((2, 3, 4), np.float32)
  frames = stage.sample(inputs, keys, MODEL.sampler.sampling, prefix)
  assert frames.shape == (2, 10, 4)
  wanted = jax.jit(MODEL.outputs, static_argnums=2)(params, batch, ('frames',))
  np.testing.assert_array_equal(frames[:, :3], 1.0)
  np.testing.assert_allclose(
    frames[:, 3:], wanted['frames'][:, 3:], rtol=1e-5, atol=1e-6
  )
  hot = stage.sample(inputs, keys, options.Sampling(temperature=1.0))
  assert not np.allclose(hot[:, 3:], frames[:, 3:])
  with pytest.raises(ValueError, match='num_frames is 11'):
    MODEL.sample_batch(
      params, {'encoder_inputs_patches': jnp.zeros((2, 10, 2, 3))}, keys,
      num_frames=11,
    )  # fmt: skip


@pytest.mark.slow
def test_no_module_of_the_library_names_an_objective_or_a_sampler():
  # So that one is added or deleted with its file and a line of gin.
  library = pathlib.Path(v2meow_jax.__file__).parent
  rooms = {'objectives': ('next_token',), 'sampling': ('autoregressive',)}
  for room, names in rooms.items():
    for path in library.rglob('*.py'):
      if path.parent == library / 'models' / room:
        continue  # One may be built on another.
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
          imported = {alias.name for alias in node.names}
          if node.module == f'v2meow_jax.models.{room}':
            assert not imported & set(names), path
