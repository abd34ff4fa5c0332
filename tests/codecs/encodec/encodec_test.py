"""Codes and waveforms equal those of `transformers.EncodecModel`."""

import math
import tracemalloc

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax import specs
from v2meow_jax.codecs.encodec import encodec
from v2meow_jax.codecs.encodec import encodec_network
from v2meow_jax.pretrained import torch_weights

pytestmark = pytest.mark.torch

_SIZES = {
  'sample_rate_hz': 600,
  'num_levels': 3,
  'codebook_size': 16,
  'strides': (2, 3),
  'base_channels': 4,
  'latent_dim': 6,
}
# As the published ones: causal with shortcuts, and neither.
TINY = {
  '24khz': encodec_network.EncodecConfig(
    source='facebook/encodec_24khz', causal=True, shortcut_conv=True, **_SIZES
  ),
  '32khz': encodec_network.EncodecConfig(
    source='facebook/encodec_32khz', causal=False, shortcut_conv=False, **_SIZES
  ),
}
FRAMES = 40
HOP = 6


def _model(config):
  """An `EncodecModel` of the same sizes."""
  import transformers

  frame_rate = math.ceil(config.sample_rate_hz / config.hop_samples)
  bits = frame_rate * math.ceil(math.log2(config.codebook_size))
  return transformers.EncodecModel(
    transformers.EncodecConfig(
      # The last one says how many levels there are.
      target_bandwidths=[k * bits / 1000 for k in (1, config.num_levels)],
      sampling_rate=config.sample_rate_hz,
      hidden_size=config.latent_dim,
      num_filters=config.base_channels,
      upsampling_ratios=list(reversed(config.strides)),
      codebook_size=config.codebook_size,
      use_causal_conv=config.causal,
      use_conv_shortcut=config.shortcut_conv,
    )
  ).eval()


def _reference(config):
  """One with random weights whose signals stay of the order of one."""
  import torch

  model = _model(config)
  generator = torch.Generator().manual_seed(0)
  tensors = dict(model.named_parameters()) | dict(model.named_buffers())
  with torch.no_grad():
    for name, p in tensors.items():
      if not p.is_floating_point() or name.endswith(('inited', 'cluster_size')):
        continue
      drawn = torch.randn(p.shape, generator=generator)
      if 'bias' in name:
        p.copy_(0.3 * drawn)
      elif name.endswith('original0'):
        p.copy_(1 + 0.3 * drawn.abs())
      elif 'lstm' in name:
        p.copy_(drawn / p.shape[1] ** 0.5)
      else:
        p.copy_(drawn)
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
    codes = model.encode(
      torch.from_numpy(waveform)[:, None],
      bandwidth=model.config.target_bandwidths[-1],
    ).audio_codes
  return codes[0].numpy().transpose(0, 2, 1)


def _reference_waveform(model, codes):
  import torch

  codes = torch.from_numpy(codes.transpose(0, 2, 1))
  with torch.no_grad():
    return model.decode(codes[None], [None]).audio_values[:, 0].numpy()


@pytest.fixture(scope='module', params=list(TINY))
def name(request):
  return request.param


@pytest.fixture(scope='module')
def reference(name):
  return _reference(TINY[name])


@pytest.fixture(scope='module')
def folder(reference, tmp_path_factory):
  path = tmp_path_factory.mktemp('encodec')
  reference.save_pretrained(path)
  return path


@pytest.fixture(scope='module')
def codec(name, folder):
  return encodec.load(folder, TINY[name])


def _tensors(folder):
  from safetensors import numpy as st

  return dict(st.load_file(folder / 'model.safetensors'))


def _written(path, tensors):
  from safetensors import numpy as st

  st.save_file(tensors, path)
  return path


@pytest.mark.parametrize('frames', [1, FRAMES])
def test_codes_are_those_of_the_reference(reference, codec, frames):
  waveform = _waveform(codec.config, frames)
  codes = np.asarray(codec.encode(waveform))
  np.testing.assert_array_equal(codes, _reference_codes(reference, waveform))
  assert frames == 1 or all(len(np.unique(codes[..., k])) > 4 for k in range(3))


@pytest.mark.parametrize(
  ('frames', 'levels'), [(1, 3), (FRAMES, 1), (FRAMES, 2), (FRAMES, 3)]
)
def test_waveforms_are_those_of_the_reference(reference, codec, frames, levels):
  codes = _codes(codec.config, frames)[..., :levels]
  out = np.asarray(codec.decode(codes))
  wanted = _reference_waveform(reference, codes)
  assert out.shape == wanted.shape == (2, frames * HOP)
  np.testing.assert_allclose(out, wanted, atol=1e-4)
  assert wanted.std() > 0.1


def test_older_and_newer_names_of_factors_read_alike(codec, folder, tmp_path):
  tensors = _tensors(folder)
  assert any(k.endswith('parametrizations.weight.original0') for k in tensors)
  for old, new in (
    ('parametrizations.weight.original0', 'weight_g'),
    ('parametrizations.weight.original1', 'weight_v'),
  ):
    tensors = {k.replace(old, new): v for k, v in tensors.items()}
  older = encodec.load(
    _written(tmp_path / 'older.safetensors', tensors), codec.config
  )
  codes = _codes(codec.config, FRAMES)
  np.testing.assert_array_equal(older.decode(codes), codec.decode(codes))


def test_reach_is_as_far_as_a_broken_frame_spreads(name):
  config = TINY[name]
  at, hop = 20, config.hop_samples
  wave = jnp.zeros((1, 2 * at * hop))
  network = encodec.Encodec(config)
  variables = jax.tree.map(
    lambda x: jnp.ones(x.shape),
    jax.eval_shape(network.init, jax.random.key(0), wave),
  )

  @jax.jit
  def parts(wave, x):
    bound = network.bind(variables)
    return (
      bound.encoder.before(wave),
      bound.encoder.after(x),
      bound.decoder.after(x),
    )

  broken = slice(at * hop, (at + 1) * hop)
  x = jnp.zeros((1, 2 * at, config.top_channels))
  front, latents, out = parts(
    wave.at[:, broken].set(np.nan), x.at[:, at].set(np.nan)
  )
  for heard, (before, after) in (
    (np.flatnonzero(np.isnan(front[0, :, 0])), config.encoder_reach_frames),
    (np.flatnonzero(np.isnan(latents[0, :, 0])), config.edge_reach_frames),
    (
      np.unique(np.flatnonzero(np.isnan(out[0])) // hop),
      config.decoder_reach_frames,
    ),
  ):
    np.testing.assert_array_equal(heard, np.arange(at - after, at + before + 1))


def test_pieces_equal_the_whole(codec):
  codes = _codes(codec.config, FRAMES)
  pieces = list(codec.decode_in_pieces(codes, 7))
  assert len(pieces) == -(-FRAMES // 7)
  np.testing.assert_allclose(
    np.concatenate(pieces, 1), codec.decode(codes), atol=1e-5
  )
  waveform = _waveform(codec.config, FRAMES)
  np.testing.assert_array_equal(
    codec.encode_in_pieces(waveform, 7), codec.encode(waveform)
  )


@pytest.mark.parametrize('way', ['encode', 'decode'])
def test_pieces_of_long_music_have_few_lengths_and_bounded_memory(
  codec, monkeypatch, way
):
  lengths = {'advance': set(), 'finish': set()}
  advance, finish = encodec._advance, encodec._finish

  def seen_advance(config, parts, num_frames, variables, x, first, state):
    lengths['advance'].add((num_frames, x.shape[1]))
    return advance(config, parts, num_frames, variables, x, first, state)

  def seen_finish(config, parts, variables, x):
    lengths['finish'].add(x.shape[1])
    return finish(config, parts, variables, x)

  monkeypatch.setattr(encodec, '_advance', seen_advance)
  monkeypatch.setattr(encodec, '_finish', seen_finish)

  def peak_bytes(frames):
    if way == 'encode':
      x = _waveform(codec.config, frames).reshape(2, frames, HOP)
    else:
      x = _codes(codec.config, frames)
    tracemalloc.start()
    # Its pieces alone: what a caller collects of them grows.
    for _ in codec._in_pieces(way, x, 8):
      pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak

  peak_bytes(FRAMES)  # Compiles.
  few = peak_bytes(100 * 8), {k: set(v) for k, v in lengths.items()}
  many = peak_bytes(800 * 8), lengths
  # One length; another where the music ends.
  assert many[1] == few[1] and len(many[1]['finish']) <= 2, many
  # All frames of the longer one, as its LSTM writes them, are 700 kB.
  assert many[0] - few[0] < 60_000


def test_a_missing_file_says_where_to_get_it(tmp_path):
  with pytest.raises(ValueError) as e:
    encodec.load(tmp_path, encodec.ENCODEC_32KHZ)
  assert f'{tmp_path}/model.safetensors is missing; download' in str(e.value)
  assert 'https://huggingface.co/facebook/encodec_32khz/' in str(e.value)


@pytest.mark.parametrize(
  ('value', 'said'),
  [
    (None, r'lacks {key}, \[64, 16\]'),
    (np.zeros((64, 8), np.float32), r'{key} is \[64, 8\], wanted \[64, 16\]'),
    (np.zeros((64, 16), np.int32), r'{key} is int32 .*wanted floats'),
  ],
)
def test_a_wrong_file_names_its_key(name, folder, tmp_path, value, said):
  key = 'encoder.layers.7.lstm.weight_ih_l0'
  tensors = {k: x for k, x in _tensors(folder).items() if k != key}
  tensors |= {} if value is None else {key: value}
  path = _written(tmp_path / 'wrong.safetensors', tensors)
  with pytest.raises(ValueError, match=said.format(key=key)) as caught:
    encodec.load(path, TINY[name])
  assert str(path) in str(caught.value)


def test_a_key_too_many_is_named(name, folder, tmp_path):
  tensors = _tensors(folder) | {'lstm.bias': np.zeros(1, np.float32)}
  path = _written(tmp_path / 'wrong.safetensors', tensors)
  with pytest.raises(ValueError, match='the first is lstm.bias'):
    encodec.load(path, TINY[name])


def test_weights_of_the_other_kind_are_refused(name, folder):
  other = TINY['32khz' if name == '24khz' else '24khz']
  with pytest.raises(ValueError, match=r'shortcut\.conv\.bias'):
    encodec.load(folder, other)


def test_samples_and_levels_that_do_not_fit_are_refused(codec):
  with pytest.raises(ValueError, match='13 samples is not whole code frames'):
    codec.encode(np.zeros((1, 13), np.float32))
  with pytest.raises(ValueError, match='have 4 levels but the codec has 3'):
    codec.decode(np.zeros((1, 8, 4), int))


@pytest.mark.parametrize(
  ('config', 'levels', 'size', 'rate_hz'),
  [
    (encodec.ENCODEC_24KHZ, 32, 1024, 75.0),
    (encodec.ENCODEC_32KHZ, 4, 2048, 50.0),
  ],
)
def test_published_sizes_are_those_of_the_reference(
  config, levels, size, rate_hz
):
  import torch

  assert config.stream == specs.TokenSpec(
    name='acoustic', codebook_size=size, num_codebooks=levels, rate_hz=rate_hz
  )
  wave = jax.ShapeDtypeStruct((2, 10 * config.hop_samples), jnp.float32)
  network = encodec.Encodec(config)
  variables = jax.eval_shape(network.init, jax.random.key(0), wave)
  found = {
    torch_weights.published_key(path): torch_weights.published_shape(
      path[-1], x.shape
    )
    for path, x in traverse_util.flatten_dict(variables['params']).items()
  }
  with torch.device('meta'):
    tensors = _model(config).state_dict()
  wanted = {
    k.replace('parametrizations.weight.original1', 'weight'): tuple(v.shape)
    for k, v in tensors.items()
    if not k.endswith(('original0', 'inited', 'cluster_size', 'embed_avg'))
  }
  assert found == wanted
  out = jax.eval_shape(network.apply, variables, wave)
  assert out.shape == wave.shape


@pytest.mark.slow
@pytest.mark.parametrize(
  'config', [encodec.ENCODEC_24KHZ, encodec.ENCODEC_32KHZ]
)
def test_one_second_at_full_size_is_that_of_the_reference(config, tmp_path):
  reference = _reference(config)
  reference.save_pretrained(tmp_path)
  codec = encodec.load(tmp_path, config)
  frames = round(config.stream.rate_hz)
  waveform = _waveform(config, frames, batch=1)
  codes = np.array(codec.encode(waveform))
  assert codes.shape == (1, frames, config.num_levels)
  np.testing.assert_array_equal(codes, _reference_codes(reference, waveform))
  wanted = _reference_waveform(reference, codes)
  assert wanted.shape == (1, config.sample_rate_hz) and wanted.std() > 0.1
  np.testing.assert_allclose(codec.decode(codes), wanted, atol=1e-4)
