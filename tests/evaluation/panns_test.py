"""CNN14 equals a forward pass written in torch, from waveform to classes."""

import librosa
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy
import scipy.signal

from v2meow_jax import media
from v2meow_jax.evaluation import panns
from v2meow_jax.weights import tensors

TINY = panns.Cnn14Config(channels=(3, 4, 5, 4, 6, 8), num_classes=7)
RATE_HZ = 16_000


def mel_weights():
  """As torchlibrosa puts them into a state: float32[257, 64]."""
  filters = librosa.filters.mel(
    sr=RATE_HZ, n_fft=512, n_mels=64, fmin=50, fmax=8000
  )
  return np.ascontiguousarray(filters.T, np.float32)


def torch_state(config, seed=0):
  """Random tensors under the names of audioset_tagging_cnn."""
  rng = np.random.default_rng(seed)
  state = {}

  def normalisation(name, size):
    state[f'{name}.weight'] = rng.uniform(0.7, 1.3, size)
    state[f'{name}.bias'] = rng.normal(0, 0.2, size)
    state[f'{name}.running_mean'] = rng.normal(0, 0.2, size)
    state[f'{name}.running_var'] = rng.uniform(0.5, 1.5, size)
    state[f'{name}.num_batches_tracked'] = np.array(3)

  normalisation('bn0', 64)
  # Bands are in dB: about -25 of this noise.
  state['bn0.running_mean'] -= 25
  state['bn0.running_var'] *= 40
  inputs = 1
  for i, outputs in enumerate(config.channels, 1):
    for j in (1, 2):
      scale = (2 / (9 * inputs)) ** 0.5
      kernel = rng.normal(0, scale, (outputs, inputs, 3, 3))
      state[f'conv_block{i}.conv{j}.weight'] = kernel
      normalisation(f'conv_block{i}.bn{j}', outputs)
      inputs = outputs
  for name, outputs in (('fc1', inputs), ('fc_audioset', config.num_classes)):
    state[f'{name}.weight'] = rng.normal(0, inputs**-0.5, (outputs, inputs))
    state[f'{name}.bias'] = rng.normal(0, 0.1, outputs)
  state = {k: np.asarray(v, np.float32) for k, v in state.items()}
  state['logmel_extractor.melW'] = mel_weights()
  return state


def torch_forward(state, config, samples):
  """The published network of a window: embedding and logits, float32."""
  torch = pytest.importorskip('torch')
  functional = torch.nn.functional
  t = {k: torch.from_numpy(v) for k, v in state.items()}

  def normalised(x, name):
    parts = ('running_mean', 'running_var', 'weight', 'bias')
    return functional.batch_norm(x, *(t[f'{name}.{p}'] for p in parts))

  with torch.no_grad():
    spectrum = torch.stft(
      torch.from_numpy(samples),
      512,
      160,
      window=torch.hann_window(512),
      center=True,
      pad_mode='reflect',
      return_complex=True,
    )
    mel = (spectrum.abs() ** 2).T @ t['logmel_extractor.melW']
    x = 10 * torch.log10(mel.clamp(min=1e-10))[None, None]
    x = normalised(x.transpose(1, 3), 'bn0').transpose(1, 3)
    for i in range(1, len(config.channels) + 1):
      for j in (1, 2):
        kernel = t[f'conv_block{i}.conv{j}.weight']
        x = functional.conv2d(x, kernel, padding=1)
        x = functional.relu(normalised(x, f'conv_block{i}.bn{j}'))
      if i < len(config.channels):
        x = functional.avg_pool2d(x, 2)
    x = x.mean(3)
    x = x.max(2).values + x.mean(2)
    embedding = functional.relu(x @ t['fc1.weight'].T + t['fc1.bias'])
    logits = embedding @ t['fc_audioset.weight'].T + t['fc_audioset.bias']
  return embedding[0].numpy(), logits[0].double().numpy()


def noise(seconds, seed=2):
  rng = np.random.default_rng(seed)
  samples = rng.uniform(-0.5, 0.5, round(seconds * RATE_HZ))
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE_HZ)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp('published') / 'cnn14.safetensors'
  safetensors_numpy.save_file(torch_state(TINY), path)
  return path


def test_bands_are_those_of_librosa_and_scipy():
  samples = noise(1.0).samples
  mirrored = np.pad(samples.astype(np.float64), 256, mode='reflect')
  _, _, spectrum = scipy.signal.stft(
    mirrored, nperseg=512, noverlap=352, boundary=None, padded=False
  )
  # scipy divides by the sum of the window.
  powers = np.abs(spectrum.T * 256) ** 2 @ mel_weights()
  wanted = librosa.power_to_db(powers, ref=1.0, amin=1e-10, top_db=None)
  found = panns.log_mel(samples, mel_weights())
  assert found.shape == (101, 64)
  np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
  assert np.all(panns.log_mel(np.zeros(400), mel_weights()) == -100)


@pytest.mark.torch
def test_rows_are_those_of_torch(weights):
  audio = noise(16.0)
  # The rest of six seconds is filled up with silence.
  padded = np.pad(audio.samples, (0, 64_000)).reshape(2, 160_000)
  state = torch_state(TINY)
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
  state = torch_state(panns.PUBLISHED)
  path = tmp_path / 'cnn14.safetensors'
  safetensors_numpy.save_file(state, path)
  heard = panns.load('panns-embedding', path)
  path.unlink()  # 330 MB, which pytest would keep.
  samples = noise(1.0).samples
  bands = panns.log_mel(samples, heard.mel_weights).astype(np.float32)
  network = panns.Cnn14(panns.PUBLISHED)
  found = network.apply({'params': heard.params}, bands[None])
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
  state = torch_state(TINY)
  change(state)
  with pytest.raises(ValueError, match=said):
    panns.read(state, TINY)


def test_the_mel_filters_of_the_file_are_needed(tmp_path):
  state = torch_state(TINY)
  del state['logmel_extractor.melW']
  path = tmp_path / 'cnn14.safetensors'
  safetensors_numpy.save_file(state, path)
  assert len(tensors.load(path)) == len(state)
  with pytest.raises(ValueError, match=r"no 'logmel_extractor\.melW'"):
    panns.load('panns-softmax', path, TINY)
