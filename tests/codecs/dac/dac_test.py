"""Codes and waveforms equal those of `transformers.DacModel`."""

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax import specs
from v2meow_jax.codecs.dac import dac
from v2meow_jax.codecs.dac import dac_network
from v2meow_jax.pretrained import torch_weights

pytestmark = pytest.mark.torch

# An odd stride, as the published 16 and 24 kHz networks have one.
TINY = dac_network.DacConfig(
  source='descript/dac_16khz',
  sample_rate_hz=600,
  num_levels=3,
  strides=(2, 3),
  encoder_channels=4,
  decoder_channels=12,
  codebook_size=16,
  code_dim=4,
)
# More than one window of seven frames and what they depend on.
FRAMES = 80
KEY = 'decoder.block.1.res_unit2.conv1.weight'


def _model(config):
  """A `DacModel` of the same sizes."""
  import transformers

  return transformers.DacModel(
    transformers.DacConfig(
      encoder_hidden_size=config.encoder_channels,
      downsampling_ratios=list(config.strides),
      decoder_hidden_size=config.decoder_channels,
      n_codebooks=config.num_levels,
      codebook_size=config.codebook_size,
      codebook_dim=config.code_dim,
      sampling_rate=config.sample_rate_hz,
    )
  ).eval()


def _reference(config):
  """One with random weights whose signals stay of the order of one."""
  import torch
  from transformers import initialization

  with initialization.no_init_weights():
    model = _model(config)
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, p in model.named_parameters():
      drawn = torch.randn(p.shape, generator=generator)
      if name.endswith('alpha'):
        p.copy_(1 + 0.3 * drawn)
      elif name.endswith('bias') or 'codebook' in name:
        p.copy_(0.3 * drawn)
      else:
        fan_in = p[:, 0].numel() if 'conv_t' in name else p[0].numel()
        p.copy_(0.7 * drawn / fan_in**0.5)
  return model


def _waveform(config, frames, batch=2):
  rng = np.random.default_rng(0)
  shape = (batch, frames * config.hop_samples)
  return rng.normal(size=shape).astype(np.float32)


def _codes(config, frames, batch=2):
  rng = np.random.default_rng(1)
  shape = (batch, frames, config.num_levels)
  return rng.integers(config.codebook_size, size=shape)


def _reference_codes(model, waveform):
  import torch

  with torch.no_grad():
    codes = model.encode(torch.from_numpy(waveform)[:, None]).audio_codes
  return codes.numpy().transpose(0, 2, 1)


def _reference_waveform(model, codes):
  import torch

  with torch.no_grad():
    out = model.decode(audio_codes=torch.from_numpy(codes.transpose(0, 2, 1)))
  return out.audio_values.numpy()


@pytest.fixture(scope='module')
def reference():
  return _reference(TINY)


@pytest.fixture(scope='module')
def folder(reference, tmp_path_factory):
  path = tmp_path_factory.mktemp('dac')
  reference.save_pretrained(path)
  return path


@pytest.fixture(scope='module')
def codec(folder):
  return dac.load(folder, TINY)


def _tensors(folder):
  from safetensors import numpy as st

  return dict(st.load_file(folder / 'model.safetensors'))


def _written(path, tensors):
  from safetensors import numpy as st

  st.save_file(tensors, path)
  return path


def test_codes_are_those_of_the_reference(reference, codec):
  waveform = _waveform(TINY, FRAMES)
  codes = np.asarray(codec.encode(waveform))
  np.testing.assert_array_equal(codes, _reference_codes(reference, waveform))
  assert all(len(np.unique(codes[..., k])) > 4 for k in range(3))


@pytest.mark.parametrize('levels', [1, 2, 3])
def test_waveforms_are_those_of_the_reference(reference, codec, levels):
  codes = _codes(TINY, FRAMES)[..., :levels]
  out = np.asarray(codec.decode(codes))
  wanted = _reference_waveform(reference, codes)
  # The reference loses what the odd stride does; whole frames end in silence.
  assert out.shape == (2, FRAMES * 6) and wanted.shape == (2, FRAMES * 6 - 2)
  np.testing.assert_allclose(out[:, :-2], wanted, atol=1e-4)
  assert wanted.std() > 0.1 and not out[:, -2:].any()


def test_zeros_fill_the_last_frame_as_the_reference_does(reference, codec):
  import transformers

  extractor = transformers.DacFeatureExtractor(
    sampling_rate=600, hop_length=TINY.hop_samples
  )
  waveform = _waveform(TINY, 10, batch=1)[:, :-1]
  padded = extractor(waveform[0], sampling_rate=600, return_tensors='np')
  codes = codec.encode(np.pad(waveform, ((0, 0), (0, 1))))
  np.testing.assert_array_equal(
    codes, _reference_codes(reference, padded['input_values'][:, 0])
  )
  with pytest.raises(ValueError, match='59 samples is not whole code frames'):
    codec.encode(waveform)


@pytest.mark.parametrize('layout', ['parametrizations', 'weight_g'])
def test_weight_norm_is_folded(reference, codec, tmp_path, layout):
  import torch

  model = _reference(TINY)
  model.apply_weight_norm()
  with torch.no_grad():
    for name, p in model.named_parameters():
      if name.endswith('original0'):
        p.mul_(1.5)
  model.save_pretrained(tmp_path)
  tensors = _tensors(tmp_path)
  assert any(
    k.endswith('conv_t1.parametrizations.weight.original0') for k in tensors
  )
  if layout == 'weight_g':
    names = {
      'parametrizations.weight.original0': 'weight_g',
      'parametrizations.weight.original1': 'weight_v',
    }
    for old, new in names.items():
      tensors = {k.replace(old, new): v for k, v in tensors.items()}
    _written(tmp_path / 'model.safetensors', tensors)
  normalized = dac.load(tmp_path, TINY)
  codes = _codes(TINY, FRAMES)
  np.testing.assert_allclose(
    normalized.decode(codes)[:, :-2],
    _reference_waveform(model, codes),
    atol=1e-4,
  )


def test_reach_is_as_far_as_a_broken_frame_spreads():
  at, hop = 40, TINY.hop_samples
  wave = jnp.zeros((1, 2 * at * hop))
  network = dac.Dac(TINY)
  variables = jax.tree.map(
    lambda x: jnp.ones(x.shape),
    jax.eval_shape(network.init, jax.random.key(0), wave),
  )

  @jax.jit
  def ends(wave, latents):
    bound = network.bind(variables)
    return bound.encoder(wave), bound.decoder(latents)

  broken = slice(at * hop, (at + 1) * hop)
  latents, out = ends(
    wave.at[:, broken].set(np.nan),
    jnp.zeros((1, 2 * at, TINY.latent_dim)).at[:, at].set(np.nan),
  )
  heard = np.flatnonzero(np.isnan(latents[0, :, 0]))
  before, after = TINY.encoder_reach_frames
  np.testing.assert_array_equal(heard, np.arange(at - after, at + before + 1))
  heard = np.unique(np.flatnonzero(np.isnan(out[0])) // hop)
  before, after = TINY.decoder_reach_frames
  np.testing.assert_array_equal(heard, np.arange(at - after, at + before + 1))


def test_pieces_equal_the_whole(codec):
  codes = _codes(TINY, FRAMES)
  pieces = list(codec.decode_in_pieces(codes, 7))
  assert len(pieces) == -(-FRAMES // 7)
  np.testing.assert_allclose(
    np.concatenate(pieces, 1), codec.decode(codes), atol=1e-5
  )
  waveform = _waveform(TINY, FRAMES)
  np.testing.assert_array_equal(
    codec.encode_in_pieces(waveform, 7), codec.encode(waveform)
  )


def test_pieces_of_long_music_have_one_length(codec, monkeypatch):
  lengths = []

  def decode(codes):
    lengths.append(codes.shape[1])
    return np.repeat(codes[..., 0], TINY.hop_samples, axis=1)

  monkeypatch.setattr(codec, 'decode', decode)
  codes = np.arange(100)[None, :, None].repeat(3, -1)
  out = np.concatenate(list(codec.decode_in_pieces(codes, 8)), 1)
  assert set(lengths) == {8 + sum(TINY.decoder_reach_frames)}
  np.testing.assert_array_equal(out[0], np.arange(100).repeat(6))
  with pytest.raises(ValueError, match='piece_frames is 0'):
    next(codec.decode_in_pieces(codes, 0))


def test_a_missing_file_says_where_to_get_it(tmp_path):
  with pytest.raises(ValueError) as e:
    dac.load(tmp_path, dac.DAC_44KHZ)
  assert f'{tmp_path}/model.safetensors is missing; download' in str(e.value)
  assert 'https://huggingface.co/descript/dac_44khz/resolve' in str(e.value)


def _without(tensors):
  return {k: v for k, v in tensors.items() if k != KEY}


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (_without, rf'lacks {KEY}, \[3, 3, 7\]; wanted the model'),
    (
      lambda t: t | {KEY: np.zeros((3, 3, 5), np.float32)},
      rf'{KEY} is \[3, 3, 5\], wanted \[3, 3, 7\]; wanted the model',
    ),
    (
      lambda t: t | {KEY: t[KEY].astype(np.int32)},
      rf'wrong.safetensors: {KEY} is int32 \[3, 3, 7\], wanted floats',
    ),
    (
      lambda t: t | {'lstm.bias': np.zeros(1, np.float32)},
      'has 1 keys that the network lacks, the first is lstm.bias',
    ),
  ],
)
def test_a_wrong_file_names_its_key(folder, tmp_path, change, message):
  tensors = change(_tensors(folder))
  with pytest.raises(ValueError, match=message):
    dac.load(_written(tmp_path / 'wrong.safetensors', tensors), TINY)


def test_a_file_of_another_kind_is_refused(tmp_path):
  path = tmp_path / 'weights.pth'
  path.write_bytes(b'PK' * 100)
  with pytest.raises(ValueError, match='weights.pth is no safetensors file'):
    dac.load(path, TINY)


def test_codes_of_too_many_levels_are_refused(codec):
  with pytest.raises(ValueError, match='have 4 levels but the codec has 3'):
    codec.decode(np.zeros((1, 8, 4), int))


@pytest.mark.parametrize(
  ('config', 'levels', 'rate_hz'),
  [
    (dac.DAC_16KHZ, 12, 50.0),
    (dac.DAC_24KHZ, 32, 75.0),
    (dac.DAC_44KHZ, 9, 44_100 / 512),
  ],
)
def test_published_sizes_are_those_of_the_reference(config, levels, rate_hz):
  import torch

  assert config.stream == specs.TokenSpec(
    name='acoustic', codebook_size=1024, num_codebooks=levels, rate_hz=rate_hz
  )
  wave = jax.ShapeDtypeStruct((2, 10 * config.hop_samples), jnp.float32)
  network = dac.Dac(config)
  variables = jax.eval_shape(network.init, jax.random.key(0), wave)
  found = {
    torch_weights.published_key(path): torch_weights.published_shape(
      path[-1], x.shape
    )
    for path, x in traverse_util.flatten_dict(variables['params']).items()
  }
  with torch.device('meta'):
    wanted = _model(config).state_dict()
  assert found == {k: tuple(v.shape) for k, v in wanted.items()}
  out = jax.eval_shape(network.apply, variables, wave)
  assert out.shape == wave.shape


@pytest.mark.slow
@pytest.mark.parametrize(
  ('config', 'lost_samples'),
  [(dac.DAC_16KHZ, 8), (dac.DAC_24KHZ, 8), (dac.DAC_44KHZ, 0)],
  ids=['16khz', '24khz', '44khz'],
)
def test_the_published_size_is_that_of_the_reference_through_its_file(
  config, lost_samples, tmp_path
):
  reference = _reference(config)
  reference.save_pretrained(tmp_path)
  codec = dac.load(tmp_path, config)
  (tmp_path / 'model.safetensors').unlink()  # 300 MB, which pytest would keep.
  frames = 12
  waveform = _waveform(config, frames, batch=1)
  codes = np.array(codec.encode(waveform))
  assert codes.shape == (1, frames, config.num_levels)
  np.testing.assert_array_equal(codes, _reference_codes(reference, waveform))
  wanted = _reference_waveform(reference, codes)
  # The reference loses what an odd stride does.
  length = frames * config.hop_samples - lost_samples
  assert wanted.shape == (1, length) and wanted.std() > 0.1
  out = codec.decode(codes)[:, :length]
  np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-4)
