"""A class token is looked for only where there can be one."""

import pytest

from v2meow_jax import specs
from v2meow_jax.models import dit
from v2meow_jax.models.adaptors import patches
from v2meow_jax.models.adaptors import standardised
from v2meow_jax.models.adaptors import synchrony

LATENTS = specs.FeatureSpec(name='latents', dim=2, rate_hz=8.0)
SIZES = {
  'emb_dim': 16, 'num_heads': 2, 'head_dim': 8, 'mlp_dim': 32, 'num_layers': 1
}  # fmt: skip
WITH_TOKEN = patches.PatchAdaptorConfig(kind='cls', class_token=True)


def stage(num_positions):
  seen = specs.FeatureSpec(
    name='patches', dim=3, rate_hz=8.0, num_positions=num_positions
  )
  return specs.StageSpec(
    name='music', inputs=(seen,), target=LATENTS, crop_seconds=8.0
  )


def network(adaptor, spec):
  return dit.DitConfig(adaptor=adaptor, **SIZES).module(spec)


def pre_training(adaptor, spec):
  config = synchrony.SynchronyConfig(
    adaptor=adaptor, num_video_layers=0, joint_dim=4, **SIZES
  )
  return synchrony.SynchronyModel(spec, config)


@pytest.mark.parametrize('num_positions', [16, 24, 256])
def test_cells_alone_hold_no_class_token(num_positions):
  spec = stage(num_positions)
  said = f'{num_positions} patches a frame.*networks/class_token.gin'
  for make in (network, pre_training):
    with pytest.raises(ValueError, match=said):
      make(WITH_TOKEN, spec)
    assert make(patches.PatchAdaptorConfig(), spec)


@pytest.mark.parametrize('num_positions', [1, 2, 17, 257])
def test_a_square_and_one_more_may_hold_one(num_positions):
  assert network(WITH_TOKEN, stage(num_positions))


@pytest.mark.parametrize(
  ('what', 'number'),
  [('std', 0.0), ('std', -1.0), ('std', 'x'), ('mean', float('nan'))],
)
def test_moments_are_finite_and_deviations_above_zero(what, number):
  moments = {'latents': {'mean': [0.0, 1.0], 'std': [1.0, 2.0]}}
  standardised.check(moments, stage(4))
  moments['latents'][what][1] = number
  with pytest.raises(ValueError, match=f"'latents' with {what} {number!r}"):
    standardised.check(moments, stage(4))
