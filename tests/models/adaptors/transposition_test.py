"""Notes from the tonic on: the same harmony in another key is the same."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax import specs
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import plan_stream
from v2meow_jax.models import descriptions
from v2meow_jax.models import dit
from v2meow_jax.models import stage_model
from v2meow_jax.models.adaptors import transposition as transposition_lib
from v2meow_jax.models.objectives import flow_matching
from v2meow_jax.models.sampling import flow

LOWEST, NOTES, DIM = 28, 24, 26
TRANSPOSITION = transposition_lib.Transposition(
  stream='plan', first_column=16, num_notes=NOTES, lowest_note=LOWEST
)
PLAN = specs.FeatureSpec(name='plan', dim=plan_stream.DIM, rate_hz=25.0)
LATENTS = specs.FeatureSpec(name='latents', dim=DIM, rate_hz=25.0)
SPEC = specs.StageSpec(
  name='music', inputs=(PLAN,), target=LATENTS, crop_seconds=0.2
)
SIZES = dit.DitConfig(
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_layers=2,
  transposition=TRANSPOSITION,
)


def planned(*keys):
  """float32[b, 5, plan]: plans in some keys, None for no key."""
  stream = plan_stream.PlanStream(PLAN)
  plans = [
    plan_lib.MusicPlan(
      seconds=0.2,
      tempo_bpm=120.0,
      beats_per_bar=4,
      beats=(),
      sections=(plan_lib.Section(start_seconds=0.0, mood='', energy=0.5),),
      key=key,
      source='given',
    )
    for key in keys
  ]
  return np.stack([stream(p) for p in plans])


def test_tonics_of_all_keys():
  keys = [f'{t} {m}' for m in ('major', 'minor') for t in plan_lib.TONICS]
  tonics = TRANSPOSITION.tonics(jnp.asarray(planned(*keys, None)))
  np.testing.assert_array_equal(tonics, [*range(12), *range(12), 0])


def test_a_tonic_has_the_same_place_in_every_key_and_comes_back():
  rng = np.random.default_rng(0)
  frames = rng.normal(size=(12, 5, DIM)).astype('f4')
  tonics = jnp.arange(12)
  placed = np.asarray(TRANSPOSITION.placed(frames, tonics))
  assert placed.shape[-1] == TRANSPOSITION.num_places(DIM)
  np.testing.assert_array_equal(TRANSPOSITION.taken(placed, tonics), frames)
  np.testing.assert_array_equal(placed[..., -2:], frames[..., NOTES:])
  for tonic in range(12):
    # The octave above the lowest tonic that each has.
    note = (tonic - LOWEST) % 12
    place = int(np.flatnonzero(placed[tonic, 0] == frames[tonic, 0, note])[0])
    assert place % 12 == 0


@pytest.mark.slow
def test_music_in_another_key_is_the_same_music():
  """A semitone up in plan and frames is a semitone up in the velocity."""
  model = stage_model.StageModel(
    SPEC, SIZES, flow_matching.FlowMatching(), flow.FlowSampling()
  )
  fresh = nn.unbox(model.init(jax.random.key(0), model.example_batch(1)))
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda x: np.asarray(x) + rng.normal(0, 0.1, x.shape).astype('f4'),
    fresh['params'],
  )
  # What tells absolute pitch is switched off.
  kernel = params['adaptors_plan']['kernel']
  kernel[16:] = 0
  notes = rng.normal(size=(1, 5, NOTES - 1)).astype('f4')
  rest = rng.normal(size=(1, 5, DIM - NOTES)).astype('f4')
  gap = np.zeros((1, 5, 1), 'f4')

  def velocity(key, *parts):
    frames = np.concatenate(parts, -1)
    condition = model.module.apply(
      {'params': params},
      {'encoder_inputs_plan': planned(key)},
      5,
      method='condition',
    )
    return model.module.apply(
      {'params': params},
      condition,
      frames,
      np.zeros((1, 5), 'f4'),
      np.full(1, 0.4, 'f4'),
      method='velocity',
    )

  low = velocity('D minor', notes, gap, rest)
  high = velocity('Eb minor', gap, notes, rest)
  np.testing.assert_allclose(
    low[..., : NOTES - 1], high[..., 1:NOTES], atol=1e-5
  )
  np.testing.assert_allclose(low[..., NOTES:], high[..., NOTES:], atol=1e-5)
  other = velocity('D major', notes, gap, rest)
  assert np.abs(np.asarray(low) - other).max() > 1e-2


def test_a_checkpoint_rebuilds_it():
  data = descriptions.to_dict(SIZES)
  assert descriptions.from_dict(data, 'models') == SIZES


def test_a_stage_without_the_key_or_the_notes_is_refused():
  with pytest.raises(ValueError, match='twelve pitch classes'):
    SIZES.module(dataclasses.replace(SPEC, inputs=()))
  many = dataclasses.replace(TRANSPOSITION, num_notes=DIM + 1)
  with pytest.raises(ValueError, match='num_notes, here 27'):
    dataclasses.replace(SIZES, transposition=many).module(SPEC)
