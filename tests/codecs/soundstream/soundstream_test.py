import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax import gin_config
from v2meow_jax import specs
from v2meow_jax.codecs import rvq
from v2meow_jax.codecs.embedded import patch
from v2meow_jax.codecs.soundstream import seanet
from v2meow_jax.codecs.soundstream import soundstream

pytestmark = pytest.mark.slow

GIN = pathlib.Path(__file__).resolve().parents[3] / 'gin'
_ENDS = {
  'patch': patch.PatchConfig(
    hop_samples=32,
    window_samples=32,
    pitch_window_samples=64,
    frame_dim=12,
    subframe_dim=8,
    num_encoder_blocks=1,
    num_decoder_blocks=1,
    num_subframe_blocks=1,
    kernel_size=3,
  ),
  'seanet': seanet.SeanetConfig(
    base_channels=4, latent_dim=8, strides=(2, 4), dilations=(1, 3)
  ),
}


def _config(kind):
  return soundstream.CodecConfig(
    ends=_ENDS[kind],
    quantizer=rvq.RvqConfig(num_levels=3, codebook_size=16, code_dim=6),
  )


@pytest.fixture(scope='module', params=['patch', 'seanet'])
def codec(request):
  """A codec with random weights and random codebooks."""
  config = _config(request.param)
  module = soundstream.SoundStream(config)
  hop = config.ends.hop_samples
  silence = jnp.zeros((1, 4 * hop))
  variables = jax.jit(module.init)(jax.random.key(0), silence)
  state = variables['codebooks']['quantizer']['state']
  drawn = jax.random.normal(jax.random.key(1), state['vectors'].shape)
  state = {**state, 'vectors': drawn}
  return soundstream.TrainedCodec(
    config, {**variables, 'codebooks': {'quantizer': {'state': state}}}
  )


def _codes(frames, seed=0, levels=3, batch=2):
  rng = np.random.default_rng(seed)
  return rng.integers(16, size=(batch, frames, levels))


def _waveform(samples):
  rng = np.random.default_rng(0)
  return rng.normal(size=(2, samples)).astype(np.float32)


def test_later_samples_change_no_code_before_the_look_ahead(codec):
  hop, frames, at = codec.hop_samples, 24, 15
  # SEANet reads no sample after a frame; the tiny codec's pitch window does.
  window = getattr(codec.config.ends, 'pitch_window_samples', hop)
  ahead = math.ceil((window - hop) / 2 / hop)
  x = _waveform(hop * frames)
  y = x.copy()
  y[:, at * hop :] *= -3
  before, after = np.asarray(codec.encode(x)), np.asarray(codec.encode(y))
  first = at - ahead
  np.testing.assert_array_equal(before[:, :first], after[:, :first])
  assert np.any(before[:, at] != after[:, at])


def test_the_tiny_encoder_does_not_hear_phase():
  """Turning a waveform upside down changes no magnitude, so no code."""
  config = _config('patch')
  module = soundstream.SoundStream(config)
  x = jnp.asarray(_waveform(32 * 24))
  variables = jax.jit(module.init)(jax.random.key(0), x)

  @jax.jit
  def latents(x):
    return module.apply(variables, x, method=lambda m, x: m.encoder(x))

  np.testing.assert_allclose(latents(x), latents(-x), atol=1e-5)
  assert np.abs(latents(x) - latents(2 * x)).max() > 1e-2


def test_later_codes_change_no_sample_before_the_look_ahead(codec):
  hop, at = codec.hop_samples, 15
  codes = _codes(24)
  other = codes.copy()
  other[:, at:] = _codes(24, seed=1)[:, at:]
  change = np.abs(codec.decode(codes) - codec.decode(other)).max(0)
  assert change[: (at - codec.lookahead_frames) * hop].max() < 1e-6
  assert change[at * hop :].max() > 1e-3


def test_earlier_codes_change_no_sample_after_the_context(codec):
  hop, at = codec.hop_samples, 3
  codes = _codes(40)
  other = codes.copy()
  other[:, :at] = _codes(40, seed=1)[:, :at]
  change = np.abs(codec.decode(codes) - codec.decode(other)).max(0)
  assert change[(at + codec.context_frames) * hop :].max() < 1e-6
  assert change[: at * hop].max() > 1e-3


@pytest.mark.parametrize('frames', [1, 20, 1041])
@pytest.mark.parametrize('piece_frames', [97, 400])
def test_decoding_in_pieces_equals_decoding_at_once(
  codec, frames, piece_frames
):
  codes = _codes(frames)
  whole = codec.decode(codes)
  pieces = np.concatenate(list(codec.decode_in_pieces(codes, piece_frames)), 1)
  assert pieces.shape == (2, frames * codec.hop_samples)
  np.testing.assert_allclose(pieces, whole, atol=1e-5)


class _Recorder(soundstream.TrainedCodec):
  """Decodes nothing, and notes the lengths it is asked to decode."""

  hop_samples, context_frames, lookahead_frames, clock_frames = 2, 5, 1, 3

  def __init__(self):
    self.lengths = []
    self._variables = {}
    self.program = self._decoded

  def _decoded(self, variables, codes):
    del variables
    self.lengths.append(codes.shape[1])
    return np.repeat(codes[..., 0], 2, axis=1).astype(np.float32)


def test_pieces_have_one_length_whatever_the_length_of_the_music():
  for frames in (40, 41, 95):
    recorder = _Recorder()
    codes = np.arange(frames)[None, :, None]
    out = np.concatenate(list(recorder.decode_in_pieces(codes, 10)), 1)
    assert set(recorder.lengths) == {19}
    np.testing.assert_array_equal(out[0], np.repeat(np.arange(frames), 2))


def test_pieces_of_no_frames_are_refused():
  with pytest.raises(ValueError, match='piece_frames is 0'):
    next(_Recorder().decode_in_pieces(np.zeros((1, 9, 1), int), 0))


def test_codes_survive_and_levels_may_be_left_out(codec):
  x = _waveform(codec.hop_samples * 8)
  codes = codec.encode(x)
  assert codes.shape == (2, 8, 3) and codes.dtype == jnp.int32
  one, all_ = codec.decode(codes[..., :1]), codec.decode(codes)
  assert one.shape == all_.shape == x.shape
  assert np.abs(one - all_).max() > 1e-3


def test_waveform_of_a_broken_frame_is_refused(codec):
  wanted = f'not whole code frames of {codec.hop_samples}'
  with pytest.raises(ValueError, match=wanted):
    codec.encode(_waveform(codec.hop_samples * 2 + 1))


@pytest.mark.parametrize('kind', ['patch', 'seanet'])
def test_configs_survive_json(kind):
  config = _config(kind)
  read = soundstream.CodecConfig.from_dict(
    json.loads(json.dumps(config.to_dict()))
  )
  assert read == config and hash(read) == hash(config)


def test_config_of_an_unknown_kind_is_refused():
  with pytest.raises(ValueError, match="'mp3'; wanted one of"):
    soundstream.CodecConfig.from_dict({'kind': 'mp3'})


def _shapes(config, samples):
  def both(x):
    module = soundstream.SoundStream(config)
    variables = module.init(jax.random.key(0), x)
    codes = module.apply(variables, x, method='encode')
    return variables, codes, module.apply(variables, codes, method='decode')

  wave = jax.ShapeDtypeStruct((2, samples), jnp.float32)
  return jax.eval_shape(both, wave)


def _recipe(name):
  """The codec that a recipe of `gin/codecs` describes."""
  gin = pytest.importorskip('gin')
  gin_config.parse([f'codecs/{name}.gin'], ['MANIFEST = ""'], [str(GIN)])
  return gin.get_configurable('trainable.CodecModel')().config


def test_full_size_is_50_hz_and_12_levels():
  config = _recipe('soundstream')
  _, codes, out = _shapes(config, 16_000)
  assert codes.shape == (2, 50, 12) and out.shape == (2, 16_000)
  assert config.stream == specs.TokenSpec(
    name='acoustic', codebook_size=1024, num_codebooks=12, rate_hz=50.0
  )


def test_tiny_size_is_25_hz_and_4_levels_and_small():
  config = _recipe('tiny')
  variables, codes, out = _shapes(config, 16_000)
  assert codes.shape == (2, 25, 4) and out.shape == (2, 16_000)
  assert config.stream == specs.TokenSpec(
    name='acoustic', codebook_size=256, num_codebooks=4, rate_hz=25.0
  )
  sizes = [math.prod(x.shape) for x in jax.tree.leaves(variables['params'])]
  assert 2e6 < sum(sizes) < 5e6
