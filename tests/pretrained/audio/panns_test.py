"""CNN14 equals a forward pass written in torch, from waveform to classes."""

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy
import scipy.signal

from tests.fakes import tiny_networks
from tests.fakes import torch_audio
from tests.fakes import torch_runner
from v2meow_jax import media
from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.audio import panns

librosa = numba_cache.librosa()

TINY = tiny_networks.PANNS

RATE_HZ = 16_000


def torch_forward(state, config, samples):
  """The published network of a window: embedding and logits."""

  def forward(t, config, samples):
    bands = torch_audio.panns_bands(t, samples)
    return torch_audio.panns(t, config, bands[None])

  run = torch_runner.prepared(forward, state, config)
  (row,) = run(samples)
  dim = config.channels[-1]
  return row[:dim], row[dim:].astype(np.float64)


def noise(seconds, seed=2):
  rng = np.random.default_rng(seed)
  samples = rng.uniform(-0.5, 0.5, round(seconds * RATE_HZ))
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE_HZ)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp('published') / 'cnn14.safetensors'
  safetensors_numpy.save_file(torch_audio.panns_state(TINY), path)
  return path


@pytest.mark.slow  # librosa compiles with numba
def test_bands_are_those_of_librosa_and_scipy():
  samples = noise(1.0).samples
  mirrored = np.pad(samples.astype(np.float64), 256, mode='reflect')
  _, _, spectrum = scipy.signal.stft(
    mirrored, nperseg=512, noverlap=352, boundary=None, padded=False
  )
  # scipy divides by the sum of the window.
  powers = np.abs(spectrum.T * 256) ** 2 @ torch_audio.panns_mel_weights()
  wanted = librosa.power_to_db(powers, ref=1.0, amin=1e-10, top_db=None)
  found = panns.log_mel(samples, torch_audio.panns_mel_weights())
  assert found.shape == (101, 64)
  np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
  assert np.all(
    panns.log_mel(np.zeros(400), torch_audio.panns_mel_weights()) == -100
  )


@pytest.mark.torch
def test_rows_are_those_of_torch(weights):
  audio = noise(16.0)
  # The rest of six seconds is filled up with silence.
  padded = np.pad(audio.samples, (0, 64_000)).reshape(2, 160_000)
  state = torch_audio.panns_state(TINY)
  pairs = [torch_forward(state, TINY, window) for window in padded]
  embeddings, logits = map(np.stack, zip(*pairs, strict=True))
  assert embeddings.std() > 0.1 and logits.std() > 0.1
  powers = np.exp(logits)
  for name, wanted in (
    ('embedding', embeddings),
    ('sigmoid', 1 / (1 + np.exp(-logits))),
    ('softmax', powers / powers.sum(1, keepdims=True)),
  ):
    heard = panns.load(f'panns-{name}', weights, TINY)
    assert heard.output == name and heard.dim == wanted.shape[1]
    np.testing.assert_allclose(heard(audio), wanted, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.torch
def test_the_published_size_is_that_of_torch_through_its_file(tmp_path):
  state = torch_audio.panns_state(panns.PUBLISHED)
  path = tmp_path / 'cnn14.safetensors'
  safetensors_numpy.save_file(state, path)
  heard = panns.load('panns-embedding', path)
  path.unlink()  # 330 MB, which pytest would keep.
  samples = noise(1.0).samples
  bands = panns.log_mel(samples, heard.mel_weights).astype(np.float32)
  network = panns.Cnn14(panns.PUBLISHED)
  found = jax.jit(network.apply)({'params': heard.params}, bands[None])
  wanted = torch_forward(state, panns.PUBLISHED, samples)
  for ours, theirs in zip(found, wanted, strict=True):
    assert theirs.std() > 0.1
    np.testing.assert_allclose(ours[0], theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda s: s.pop('bn0.running_var'), "no 'bn0.running_var'"),
    (
      lambda s: s.update({'fc_audioset.bias': np.zeros(6, np.float32)}),
      r'shape \(6,\); wanted floats of shape \(7,\)',
    ),
    (lambda s: s['conv_block3.bn2.weight'].fill(np.nan), 'not finite'),
  ],
)
def test_wrong_weights_are_named(change, said):
  state = torch_audio.panns_state(TINY)
  change(state)
  with pytest.raises(ValueError, match=said):
    panns.read(state, TINY)


def test_the_mel_filters_of_the_file_are_needed(tmp_path):
  state = torch_audio.panns_state(TINY)
  del state['logmel_extractor.melW']
  path = tmp_path / 'cnn14.safetensors'
  safetensors_numpy.save_file(state, path)
  assert len(tensors.load(path)) == len(state)
  with pytest.raises(ValueError, match=r"no 'logmel_extractor\.melW'"):
    panns.load('panns-softmax', path, TINY)
