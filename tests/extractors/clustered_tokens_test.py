"""A code is the nearest centroid of a standardised frame."""

import dataclasses

import numpy as np
import pytest

from tests.fakes import folded_encoder
from v2meow_jax import specs
from v2meow_jax.extractors import clustered_tokens

STREAM = specs.TokenSpec(name='semantic', codebook_size=6, rate_hz=25.0)
Folded, audio_of = folded_encoder.Folded, folded_encoder.audio_of


@pytest.fixture
def params():
  rng = np.random.default_rng(0)
  return {
    'mean': rng.normal(size=4).astype('f'),
    'std': rng.uniform(0.5, 2, 4).astype('f'),
    'centroids': rng.normal(size=(6, 4)).astype('f'),
  }


def test_codes_are_of_brute_force_and_repeat(params):
  frames = np.random.default_rng(1).normal(0, 2, (70, 4))
  frames[20:25] = frames[20]
  extract = clustered_tokens.ClusteredTokens(STREAM, Folded(), params)
  codes = extract(audio_of(frames))
  assert codes.dtype == np.int32 and codes.shape == (70, 1)
  scaled = ((frames - params['mean']) / params['std']).clip(-6, 6)
  every = ((scaled[:, None] - params['centroids']) ** 2).sum(-1)
  np.testing.assert_array_equal(codes[:, 0], every.argmin(1))
  assert len(set(codes[20:25, 0])) == 1


def test_one_sample_is_one_frame(params):
  extract = clustered_tokens.ClusteredTokens(STREAM, Folded(), params)
  assert extract(audio_of([0.5])).shape == (1, 1)


@pytest.mark.parametrize(
  ('change', 'told'),
  [
    ({'codebook_size': 7}, "'semantic' has 7 codes, but 6 clusters"),
    ({'rate_hz': 50.0}, 'at 50 Hz and its encoder, Folded, at 25 Hz'),
    ({'num_codebooks': 2}, '2 codes a frame'),
  ],
)
def test_a_stream_that_does_not_fit_is_refused(params, change, told):
  stream = dataclasses.replace(STREAM, **change)
  with pytest.raises(ValueError, match=told):
    clustered_tokens.ClusteredTokens(stream, Folded(), params)


def test_parameters_that_do_not_fit_are_refused(params):
  narrow = params | {'centroids': params['centroids'][:, :3]}
  with pytest.raises(ValueError, match="'centroids' .* of 3 .* gives 4"):
    clustered_tokens.ClusteredTokens(STREAM, Folded(), narrow)
  del params['std']
  with pytest.raises(ValueError, match=r"lack \['std'\]"):
    clustered_tokens.ClusteredTokens(STREAM, Folded(), params)


def test_an_encoder_that_breaks_its_word_is_named(params):
  def extract(encoder):
    frames = np.zeros((50, 4))
    frames[30, 2] = np.nan
    tokens = clustered_tokens.ClusteredTokens(STREAM, encoder, params)
    return tokens(audio_of(frames))

  with pytest.raises(ValueError, match='Folded gave NaN .* 1 of 50 .* 1.20 s'):
    extract(Folded())

  class Late(Folded):
    def __call__(self, audio):
      return super().__call__(audio)[1:]

  with pytest.raises(ValueError, match=r'Late gave \(49, 4\) .* \(50, 4\)'):
    extract(Late())
