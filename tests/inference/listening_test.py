"""Sounds of a run are the decoded codes."""

import itertools

from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import token_stage
from v2meow_jax import media
from v2meow_jax import stages
from v2meow_jax import tokens
from v2meow_jax.inference import listening
from v2meow_jax.inference import system
from v2meow_jax.models import transformer
from v2meow_jax.pretrained.audio import mel
from v2meow_jax.training import mesh as mesh_lib


def sizes(num_encoder_layers):
  return transformer.TransformerConfig(
    emb_dim=8,
    num_heads=1,
    head_dim=8,
    mlp_dim=8,
    num_encoder_layers=num_encoder_layers,
    num_decoder_layers=1,
  )


def planted(model):
  """A batch of random codes, as records would give it, and the codes."""
  spec = model.spec
  rng = np.random.default_rng(0)
  batch = model.example_batch(3)
  codes, ids = {}, {}
  for s in spec.token_streams:
    shape = (3, s.num_frames(spec.crop_seconds), s.num_codebooks)
    codes[s.name] = rng.integers(s.codebook_size, size=shape)
    ids[s.name] = tokens.IdSpace(spec).codes_to_ids(codes[s.name], s)
  if model.network.num_encoder_layers:
    batch['decoder_target_tokens'][:] = ids.pop(spec.target.name)
    batch |= {f'encoder_inputs_{name}': x for name, x in ids.items()}
  else:
    order = [ids[s.name] for s in (*spec.token_inputs, spec.target)]
    batch['decoder_target_tokens'][:] = np.concatenate(order, 1)
  return batch, codes


@pytest.mark.slow
@pytest.mark.parametrize('layers', [0, 1])
def test_true_sounds_are_the_decoded_codes_of_both_streams(layers):
  model = token_stage.make(
    stages.fine(crop_seconds=0.2, streams=stages.TINY), sizes(layers)
  )
  batch, codes = planted(model)
  on_eval = listening.StageSounds(
    model, lambda step: itertools.repeat(batch), num=2
  )
  variables = jax.device_put(
    dict(meta.unbox(model.init(jax.random.key(0), batch))),
    mesh_lib.replicated(mesh_lib.make_mesh()),
  )
  sounds = on_eval(0, variables)
  codec = system.load('tiny').codec
  all_codes = np.concatenate([codes['coarse'], codes['fine']], -1)[:2]
  for i, wanted in enumerate(codec.decode(jnp.asarray(all_codes))):
    np.testing.assert_array_equal(sounds[f'true/{i}'].samples, wanted)
    assert sounds[f'true/{i}/spectrogram'].shape == (128, 20, 1)
    assert sounds[f'sampled/{i}'].seconds == pytest.approx(0.2)
    assert not np.array_equal(sounds[f'sampled/{i}'].samples, wanted)
  again = on_eval(1, variables)
  np.testing.assert_array_equal(
    again['sampled/1'].samples, sounds['sampled/1'].samples
  )


def test_a_stage_of_other_tokens_cannot_be_heard():
  model = token_stage.make(
    stages.semantic(('appearance', 'style'), 2.0, stages.TINY), sizes(1)
  )
  with pytest.raises(ValueError, match="'semantic' cannot be heard"):
    listening.StageSounds(model, lambda step: iter([]))


def test_a_tone_is_a_bright_line_at_its_height():
  rate_hz, hz = 16_000, 2_000.0
  times = np.arange(rate_hz) / rate_hz
  tone = media.Audio(
    samples=np.sin(2 * np.pi * hz * times).astype(np.float32), rate_hz=rate_hz
  )
  image = listening.spectrogram(tone)
  assert image.shape == (128, 100, 1)
  weights = mel.mel_weights(rate_hz, 640, 128)
  wanted = weights[round(hz / (rate_hz / 640))].argmax()
  assert image[:, 50, 0].argmax() == 127 - wanted
  assert image.max() == 255
