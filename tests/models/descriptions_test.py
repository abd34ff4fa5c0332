"""What describes a part is of the types that the part asks for."""

import dataclasses

import pytest

from v2meow_jax.models import descriptions
from v2meow_jax.models import dit
from v2meow_jax.models import transformer
from v2meow_jax.models.sampling import flow
from v2meow_jax.models.sampling import options

SAMPLER = flow.FlowSampling(
  sampling=options.Sampling(temperature=1, video_guidance=2.5), steps=4
)
SIZES = {'emb_dim': 16, 'num_heads': 2, 'head_dim': 8, 'mlp_dim': 32}


def test_a_part_comes_back_as_it_was_described():
  data = descriptions.to_dict(SAMPLER)
  assert descriptions.from_dict(data, 'models.sampling') == SAMPLER


@pytest.mark.parametrize(
  ('path', 'value', 'said'),
  [
    (('steps',), 2.5, 'steps is 2.5; wanted a whole number'),
    (('steps',), True, 'steps is True; wanted a whole number'),
    (('solver',), 3, 'solver is 3; wanted a word'),
    (('sampling', 'video_guidance'), 'x', "'x'; wanted a number or null"),
    (('sampling', 'top_k'), 2.5, 'top_k is 2.5; wanted a whole number or null'),
    (('windows', 'prefix_seconds'), 'x', "prefix_seconds is 'x'; wanted a num"),
    (('windows', 'prefix_seconds'), None, 'prefix_seconds is None'),
  ],
)
def test_a_value_of_another_type_is_named(path, value, said):
  data = descriptions.to_dict(SAMPLER)
  place = data
  for name in path[:-1]:
    place = place[name]
  place[path[-1]] = value
  with pytest.raises(ValueError, match=f'flow.FlowSampling.*{said}'):
    descriptions.from_dict(data, 'models.sampling')


@pytest.mark.parametrize('name', SIZES)
def test_networks_without_width_are_refused(name):
  whole = dit.DitConfig(num_layers=1, **SIZES)
  with pytest.raises(ValueError, match=f'{name} is 0; wanted 1 or more'):
    dataclasses.replace(whole, **{name: 0})
  with pytest.raises(ValueError, match=f'{name} is -2; wanted 1 or more'):
    transformer.TransformerConfig(
      num_encoder_layers=0, num_decoder_layers=1, **{**SIZES, name: -2}
    )
