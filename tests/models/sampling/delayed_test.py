"""Sampling by steps equals the whole pass; rows are alone; a prefix goes on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import delayed_stage
from v2meow_jax import tokens
from v2meow_jax.models.sampling import autoregressive
from v2meow_jax.models.sampling import delayed
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow

FRAMES, LEVELS = 20, 3
COLD = options.Sampling(temperature=0.0)


def inputs(rows, seed=0):
  batch = delayed_stage.batch(rows, seed=seed)
  return {k: x for k, x in batch.items() if k.startswith('encoder')}


def keys(rows):
  return jax.random.split(jax.random.key(5), rows)


def sample(given, sampling=None, rngs=None, **options_):
  rows = len(next(iter(given.values())))
  return np.asarray(
    delayed_stage.make().sample_batch(
      delayed_stage.params(),
      given,
      keys(rows) if rngs is None else rngs,
      sampling or options.Sampling(temperature=1.0),
      **options_,
    )
  )


def codes_of(ids):
  return tokens.IdSpace(delayed_stage.STAGE).ids_to_codes(
    ids, delayed_stage.SOUND
  )


@pytest.mark.parametrize('cache', [4, 512])
def test_cold_draws_are_the_likeliest_codes_of_the_whole_pass(
  cache, monkeypatch
):
  """So a step with its caches computes what training computes."""
  monkeypatch.setattr(autoregressive, '_FIRST_CACHE_LENGTH', cache)
  delayed.sample.clear_cache()
  given = inputs(2)
  codes = codes_of(sample(given, COLD))
  batch = {**delayed_stage.batch(2, codes), **given}
  logits = delayed_stage.logits(
    delayed_stage.make(), delayed_stage.params(), batch
  )
  best = np.asarray(logits.argmax(-1)).reshape(2, FRAMES, LEVELS)
  np.testing.assert_array_equal(codes, best)


def test_the_logits_of_steps_equal_those_of_the_whole_pass():
  model, params = delayed_stage.make(), delayed_stage.params()
  batch = delayed_stage.batch(1)
  whole = delayed_stage.logits(model, params, batch).reshape(
    1, FRAMES, LEVELS, -1
  )
  decoder = delayed._Decoder(model.module, params, batch, FRAMES + LEVELS - 1)
  ids = batch['decoder_target_tokens'].reshape(1, FRAMES, LEVELS)
  caches = autoregressive.grown(
    decoder.prefill(jnp.zeros((0, 1, LEVELS), jnp.int32), None, 1),
    FRAMES + LEVELS - 1,
  )
  last = np.zeros((1, LEVELS), np.int32)
  for step in range(FRAMES + LEVELS - 1):
    hidden, caches = decoder.step(last, step, caches)
    logits = decoder.logits(hidden)
    last = np.zeros((1, LEVELS), np.int32)
    for level in range(LEVELS):
      frame = step - level
      if 0 <= frame < FRAMES:
        np.testing.assert_allclose(
          logits[:, level], whole[:, frame, level], atol=1e-5
        )
        last[:, level] = ids[:, frame, level]


def test_a_crop_takes_frames_and_levels_but_one_steps():
  from tests.fakes import jaxprs

  module = delayed_stage.make().module
  traced = jax.make_jaxpr(
    lambda p, x, r: delayed.sample(
      module, p, x, jnp.zeros((2, 0), jnp.int32), r, COLD, num_frames=FRAMES
    )
  )(delayed_stage.params(), inputs(2), keys(2))
  assert sum(jaxprs.loop_lengths(traced.jaxpr)) == FRAMES + LEVELS - 1


def test_a_row_does_not_depend_on_the_others():
  given, rngs = inputs(4), keys(4)
  together = sample(given, rngs=rngs)
  alone = sample({k: x[2:3] for k, x in given.items()}, rngs=rngs[2:3])
  np.testing.assert_array_equal(together[2:3], alone)
  turned = sample({k: x[::-1] for k, x in given.items()}, rngs=rngs[::-1])
  np.testing.assert_array_equal(turned[::-1], together)


@pytest.mark.parametrize('known', [1, 2, 7])
def test_a_prefix_is_kept_and_cold_music_goes_on_as_it_would(known):
  given = inputs(2)
  whole = sample(given, COLD)
  begun = sample(given, COLD, prefix=whole[:, : known * LEVELS])
  np.testing.assert_array_equal(begun, whole)
  other = np.asarray(delayed_stage.batch(2, seed=9)['decoder_target_tokens'])
  kept = sample(given, prefix=other[:, : known * LEVELS])
  np.testing.assert_array_equal(
    kept[:, : known * LEVELS], other[:, : known * LEVELS]
  )


@pytest.mark.parametrize('count', [1, 5, 19])
def test_fewer_frames_are_the_beginning(count):
  given = inputs(2)
  whole = sample(given)
  np.testing.assert_array_equal(
    sample(given, num_frames=count), whole[:, : count * LEVELS]
  )


def test_guidance_of_one_changes_nothing_and_others_go_away_from_no_video():
  given = inputs(2)
  plain = sample(given, COLD)
  one = options.Sampling(temperature=0.0, video_guidance=1.0)
  np.testing.assert_array_equal(sample(given, one), plain)
  none = options.Sampling(temperature=0.0, video_guidance=0.0)
  hidden = {
    k: x if 'style' in k else np.zeros_like(x) for k, x in given.items()
  }
  np.testing.assert_array_equal(sample(given, none), sample(hidden, COLD))


@pytest.mark.parametrize('known', [0, 4])
def test_no_code_stands_longer_than_it_may(known):
  prefix = None
  if known:
    codes = np.full((3, known, LEVELS), 2)
    codes[:, :-1] = np.arange(known - 1)[:, None] % 2
    prefix = delayed_stage.ids_of(codes)
  sampling = options.Sampling(temperature=0.05, max_run=2)
  codes = codes_of(sample(inputs(3), sampling, prefix=prefix))
  same = (codes[:, 2:] == codes[:, 1:-1]) & (codes[:, 1:-1] == codes[:, :-2])
  assert not same.any()
  free = codes_of(sample(inputs(3), options.Sampling(temperature=0.05)))
  same = (free[:, 2:] == free[:, 1:-1]) & (free[:, 1:-1] == free[:, :-2])
  assert same.any()
