"""The Diffusion Transformer: lengths, times, adaptors, and what it learns."""

import dataclasses
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from v2meow_jax import specs
from v2meow_jax.inference import restore
from v2meow_jax.models import descriptions
from v2meow_jax.models import dit
from v2meow_jax.models import stage_model
from v2meow_jax.models.adaptors import alignment
from v2meow_jax.models.adaptors import patches
from v2meow_jax.models.blocks import dit_layers
from v2meow_jax.models.objectives import flow_matching
from v2meow_jax.models.sampling import flow

pytestmark = pytest.mark.slow

PATCHES = specs.FeatureSpec(name='patches', dim=3, rate_hz=5.0, num_positions=4)
STYLE = specs.FeatureSpec(name='style', dim=6, rate_hz=0.0)
LATENTS = specs.FeatureSpec(name='latents', dim=2, rate_hz=8.0)
SPEC = specs.StageSpec(
  name='music', inputs=(PATCHES, STYLE), target=LATENTS, crop_seconds=2.0
)
SIZES = dit.DitConfig(
  emb_dim=16, num_heads=2, head_dim=8, mlp_dim=32, num_layers=2
)


def make(spec=SPEC, sizes=SIZES, objective=None, **sampler):
  return stage_model.StageModel(
    spec,
    sizes,
    objective or flow_matching.FlowMatching(),
    flow.FlowSampling(**sampler),
  )


def random_params(model, seed=0):
  """Parameters of which none is zero, as after some training."""
  params = nn.unbox(model.init(jax.random.key(0), model.example_batch(1)))
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: np.asarray(x) + rng.normal(0, 0.1, x.shape).astype('f4'),
    params['params'],
  )


def random_inputs(rows=2, seed=0):
  rng = np.random.default_rng(seed)
  return {
    'encoder_inputs_patches': rng.normal(size=(rows, 10, 4, 3)).astype('f4'),
    'encoder_inputs_style': rng.normal(size=(rows, 1, 6)).astype('f4'),
  }


def velocity(model, params, inputs, frames, times=0.4, known=None, **kwargs):
  known = np.zeros(frames.shape[:2], 'f4') if known is None else known
  variables, times = {'params': params}, np.full(len(frames), times, 'f4')
  return np.asarray(
    _compiled_velocity(model)(variables, inputs, frames, known, times, **kwargs)
  )


@functools.cache
def _compiled_velocity(model):
  module = model.module

  @jax.jit
  def run(variables, inputs, frames, known, times, **kwargs):
    length = frames.shape[1]
    condition = module.apply(variables, inputs, length, method='condition')
    return module.apply(
      variables, condition, frames, known, times, method='velocity', **kwargs
    )

  return run


@pytest.fixture(scope='module')
def made():
  model = make()
  return model, random_params(model)


def test_padding_changes_nothing_and_any_length_is_read(made):
  model, params = made
  inputs = random_inputs()
  rng = np.random.default_rng(1)
  for length in (1, 5):
    frames = rng.normal(size=(2, length, 2)).astype('f4')
    alone = velocity(model, params, inputs, frames)
    assert alone.shape == (2, length, 2)
    padded = np.concatenate(
      [frames, 100 * rng.normal(size=(2, 16 - length, 2)).astype('f4')], 1
    )
    lengths = jnp.full(2, length, jnp.int32)
    longer = velocity(model, params, inputs, padded, lengths=lengths)
    np.testing.assert_allclose(longer[:, :length], alone, atol=2e-5)


def test_a_network_without_gates_gives_what_it_began_with():
  """adaLN-zero: nothing but the last map, which is zero as well."""
  model = make()
  fresh = nn.unbox(model.init(jax.random.key(0), model.example_batch(1)))
  frames = np.ones((2, 16, 2), 'f4')
  assert not velocity(model, fresh['params'], random_inputs(), frames).any()
  params = fresh['params'] | {
    'last': {'kernel': jnp.ones((16, 2)), 'bias': jnp.zeros(2)}
  }
  kernel = np.asarray(params['frames'])
  # Style and time only gate, and the gates are shut.
  found = velocity(model, params, random_inputs(), frames)
  other = velocity(model, params, random_inputs() | {
    'encoder_inputs_style': np.ones((2, 1, 6), 'f4')
  }, frames, times=0.9)  # fmt: skip
  np.testing.assert_array_equal(found, other)
  assert kernel.shape == (2, 16) and np.isfinite(found).all()


def test_time_style_video_and_known_frames_all_count(made):
  model, params = made
  inputs, frames = random_inputs(), np.ones((2, 16, 2), 'f4')
  base = velocity(model, params, inputs, frames)
  assert (
    abs(base - velocity(model, params, inputs, frames, times=0.6)).max() > 1e-3
  )
  for key in inputs:
    changed = {**inputs, key: 2 - inputs[key]}
    assert abs(base - velocity(model, params, changed, frames)).max() > 1e-3
  known = np.zeros((2, 16), 'f4')
  known[:, :3] = 1
  assert (
    abs(base - velocity(model, params, inputs, frames, known=known)).max()
    > 1e-3
  )


def test_what_is_known_is_told_to_all_frames_whatever_its_length(made):
  model, params = made
  teller = make(sizes=dataclasses.replace(SIZES, known_style=True))
  inputs = random_inputs()
  frames = np.random.default_rng(2).normal(size=(2, 16, 2)).astype('f4')
  known = np.zeros((2, 16), 'f4')
  known[:, :6] = 1
  fresh = nn.unbox(teller.init(jax.random.key(0), teller.example_batch(1)))
  began = {**params, 'known_style': fresh['params']['known_style']}
  np.testing.assert_array_equal(
    velocity(teller, began, inputs, frames, known=known),
    velocity(model, params, inputs, frames, known=known),
  )
  told = random_params(teller)
  style = {'known_style': told['known_style']}
  unknown = {
    'known_style': jax.tree.map(
      lambda x: np.zeros_like(x), style['known_style']
    )
  }
  # Of what is not known nothing is told.
  np.testing.assert_array_equal(
    velocity(teller, told, inputs, frames),
    velocity(teller, told | unknown, inputs, frames),
  )
  # Of what is known, its frames in whatever order, and twice as many.
  module = dit._KnownStyle(SIZES.emb_dim)
  tell = functools.partial(module.apply, {'params': style['known_style']})
  one = tell(frames[:, :6], known[:, :6])
  assert abs(one).max() > 1e-3
  mixed = np.concatenate([frames[:, 5::-1], frames[:, :6], frames[:, 6:8]], 1)
  is_known = np.repeat([[1.0, 0.0]], 2, 0).astype('f4').repeat([12, 2], 1)
  np.testing.assert_allclose(tell(mixed, is_known), one, atol=1e-6)


def test_a_rotation_makes_scores_depend_on_the_distance_alone():
  rng = np.random.default_rng(0)
  query, key = rng.normal(size=(2, 1, 1, 2, 8)).astype('f4')
  cos, sin = dit_layers.rotation(40, 8)

  def score(i, j):
    q = dit_layers.rotated(query, (cos[i : i + 1], sin[i : i + 1]))
    k = dit_layers.rotated(key, (cos[j : j + 1], sin[j : j + 1]))
    return np.asarray((q * k).sum(-1))

  np.testing.assert_allclose(score(3, 10), score(25, 32), atol=1e-5)
  assert abs(score(3, 10) - score(3, 11)).max() > 1e-3
  np.testing.assert_allclose(score(5, 5), (query * key).sum(-1), rtol=1e-5)


@pytest.mark.parametrize('kind', patches.KINDS)
def test_each_adaptor_is_a_line_and_is_rebuilt_from_its_description(kind):
  adaptor = patches.PatchAdaptorConfig(
    kind=kind, num_heads=4, class_token=kind == 'cls'
  )
  seen = dataclasses.replace(PATCHES, num_positions=4 + adaptor.class_token)
  model = make(
    dataclasses.replace(SPEC, inputs=(seen, STYLE)),
    dataclasses.replace(SIZES, adaptor=adaptor),
  )
  rebuilt = restore.build_model(restore.released(model.describe()))
  assert rebuilt.network == model.network
  shapes = jax.eval_shape(
    rebuilt.init, jax.random.key(0), rebuilt.example_batch(1)
  )
  names = set(shapes['params']['adaptors_patches'])
  gates = {'softmax', 'sigmoid', 'attention'}
  assert ('gate' in names) == (kind in gates)
  assert ('value' in names) == (kind == 'attention')
  assert ('places' in names) == (kind != 'cls')
  assert descriptions.to_dict(model.network)['adaptor']['kind'] == kind


def test_stacked_layers_and_those_apart_give_the_same():
  apart, params = make(), None
  params = random_params(apart)
  from v2meow_jax.models.blocks import layer_stacking

  sizes = dataclasses.replace(SIZES, scan_layers=True, remat=True)
  stacked = make(sizes=sizes)
  inputs, frames = random_inputs(), np.ones((2, 16, 2), 'f4')
  np.testing.assert_allclose(
    velocity(stacked, layer_stacking.stack(params), inputs, frames),
    velocity(apart, params, inputs, frames),
    atol=1e-5,
  )


def test_the_velocity_of_gaussian_data_is_learnt():
  """Towards the error that no network can go below: see flow_matching_test."""
  spec = dataclasses.replace(SPEC, inputs=(PATCHES,))
  model = make(spec, objective=flow_matching.FlowMatching(prefix_rate=0.0))
  rng = np.random.default_rng(0)
  std = 0.5

  def batch(rows):
    seen = rng.normal(size=(rows, 10, 4, 3)).astype('f4')
    # The video moves the mean of each frame: 16 frames at the times of 10.
    mean = alignment.overlap(10, 5.0, 16, 8.0) @ seen.mean(2)[..., :2] * 2
    frames = mean + std * rng.normal(size=mean.shape)
    return {
      'encoder_inputs_patches': seen,
      'decoder_target_frames': frames.astype('f4'),
      'decoder_loss_weights': np.ones((rows, 16), 'f4'),
    }

  params = nn.unbox(model.init(jax.random.key(0), batch(2)))['params']
  optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 500))
  state = optimizer.init(params)

  @jax.jit
  def step(params, state, batch, rng):
    loss, grads = jax.value_and_grad(
      lambda p: model.train_loss(p, {}, batch, rng)[0]
    )(params)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(params, updates), state, loss

  for i in range(500):
    params, state, _ = step(params, state, batch(32), jax.random.key(i))
  held_out = batch(512)
  corrupt = jax.jit(lambda batch: model.objective.corrupt(spec, batch, None))
  t = np.asarray(corrupt(held_out)['flow_times'])
  least = (std**2 / ((1 - t) ** 2 + (t * std) ** 2)).mean()
  blind = {
    **held_out,
    'encoder_inputs_patches': 0 * held_out['encoder_inputs_patches'],
  }

  @jax.jit
  def loss(batch):
    return model.train_loss(params, {}, batch, None)[0]

  assert least * 0.95 < loss(held_out) < least * 1.2
  assert loss(blind) > least * 1.5


def test_what_a_dit_cannot_serve_is_named():
  codes = specs.TokenSpec(name='codes', codebook_size=8, rate_hz=5.0)
  with pytest.raises(ValueError, match="writes 'codes'"):
    SIZES.module(dataclasses.replace(SPEC, target=codes))
  with pytest.raises(ValueError, match='reads the codes'):
    SIZES.module(dataclasses.replace(SPEC, inputs=(codes,)))
  with pytest.raises(ValueError, match='head_dim is 7'):
    dataclasses.replace(SIZES, head_dim=7)
  with pytest.raises(ValueError, match="kind is 'cls'"):
    patches.PatchAdaptorConfig(kind='cls')
  with pytest.raises(ValueError, match="kind is 'max'"):
    patches.PatchAdaptorConfig(kind='max')
