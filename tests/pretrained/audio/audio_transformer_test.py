"""AST gives the posterior that transformers gives, window by window."""

import shutil

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from v2meow_jax import media
from v2meow_jax.evaluation.listening import networks

pytestmark = pytest.mark.torch

FRAMES = 64
WINDOW = FRAMES * 160


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A small random AST of 0.64 s windows and 11 classes, as it is published."""
  import torch
  import transformers

  torch.manual_seed(0)
  config = transformers.ASTConfig(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_length=FRAMES,
    num_mel_bins=32,
  )
  config.num_labels = 11
  model = transformers.ASTForAudioClassification(config)
  with torch.no_grad():
    model.classifier.dense.weight.normal_(0, 1)
  path = tmp_path_factory.mktemp('published') / 'ast'
  model.save_pretrained(path)
  transformers.ASTFeatureExtractor(
    max_length=FRAMES, num_mel_bins=32, mean=-3.0, std=2.5
  ).save_pretrained(path)
  return path


def noise(num_samples):
  rng = np.random.default_rng(4)
  samples = rng.uniform(-0.5, 0.5, num_samples).astype(np.float32)
  return media.Audio(samples=samples, rate_hz=16_000)


def logits(folder, samples):
  """Of transformers alone: float64[classes]."""
  import torch
  import transformers

  extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
  model = transformers.AutoModelForAudioClassification.from_pretrained(folder)
  inputs = extractor(samples, sampling_rate=16_000, return_tensors='pt')
  with torch.no_grad():
    return model.eval()(**inputs).logits[0].double().numpy()


def test_a_row_is_the_posterior_of_a_window(folder):
  audio = noise(2 * WINDOW + WINDOW * 3 // 4)
  windows = [audio.samples[i : i + WINDOW] for i in (0, WINDOW, 2 * WINDOW)]
  wanted = np.stack([logits(folder, w) for w in windows])
  softmax = networks.load('ast-softmax', folder)
  assert softmax.output == 'softmax' and softmax.dim == 11
  found = softmax(audio)
  powers = np.exp(wanted)
  np.testing.assert_allclose(
    found, powers / powers.sum(1, keepdims=True), rtol=0, atol=1e-5
  )
  assert np.ptp(found) > 0.05
  sigmoid = networks.load('ast-sigmoid', folder)
  np.testing.assert_allclose(
    sigmoid(audio), 1 / (1 + np.exp(-wanted)), rtol=0, atol=1e-5
  )
  assert sigmoid.digest == softmax.digest


def test_a_short_clip_is_filled_up_as_the_extractor_does(folder):
  audio = noise(4_000)
  wanted = np.exp(logits(folder, audio.samples))
  found = networks.load('ast-softmax', folder)(audio)
  np.testing.assert_allclose(found, [wanted / wanted.sum()], atol=1e-5)
  with pytest.raises(ValueError, match=r'wanted at least 0\.025 s'):
    networks.load('ast-softmax', folder)(noise(399))


def test_the_file_may_be_named_as_well_as_its_folder(folder):
  audio = noise(WINDOW)
  by_file = networks.load('ast-softmax', folder / 'model.safetensors')
  np.testing.assert_array_equal(
    by_file(audio), networks.load('ast-softmax', folder)(audio)
  )


BIAS = 'classifier.dense.bias'


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda s: s.pop(BIAS), rf"lacks '{BIAS}', wanted as floats .*\[11\]"),
    (
      lambda s: s.update({BIAS: np.zeros(3, np.float32)}),
      rf"has '{BIAS}' of shape \[3\], wanted \[11\]",
    ),
    (
      lambda s: s.update({'classifier.more': np.zeros(3, np.float32)}),
      "has 'classifier.more', which the network has not",
    ),
  ],
)
def test_a_weight_that_differs_is_named(folder, tmp_path, change, said):
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  target = tmp_path / 'model.safetensors'
  state = safetensors_numpy.load_file(target)
  change(state)
  safetensors_numpy.save_file(state, target, {'format': 'pt'})
  with pytest.raises(ValueError, match=f'{target} {said}') as caught:
    networks.load('ast-softmax', tmp_path)
  assert 'huggingface.co/MIT/ast-finetuned-audioset' in str(caught.value)


def test_a_file_of_another_kind_is_refused(folder, tmp_path):
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  target = tmp_path / 'model.safetensors'
  target.write_bytes(b'nothing of the kind')
  with pytest.raises(ValueError, match='cannot be read as AST'):
    networks.load('ast-softmax', tmp_path)
  target.unlink()
  with pytest.raises(ValueError, match='is not there'):
    networks.load('ast-softmax', tmp_path)


@pytest.mark.slow
def test_without_configurations_it_is_the_published_network(tmp_path):
  import torch
  import transformers

  torch.manual_seed(0)
  config = transformers.ASTConfig(num_labels=527)
  transformers.ASTForAudioClassification(config).save_pretrained(tmp_path)
  audio = noise(160_000)
  transformers.ASTFeatureExtractor().save_pretrained(tmp_path)
  wanted = 1 / (1 + np.exp(-logits(tmp_path, audio.samples)))
  for name in ('config.json', 'preprocessor_config.json'):
    (tmp_path / name).unlink()
  heard = networks.load('ast-sigmoid', tmp_path)
  assert heard.dim == 527
  np.testing.assert_allclose(heard(audio), [wanted], rtol=0, atol=1e-5)
