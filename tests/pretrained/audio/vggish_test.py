"""VGGish equals its formulas and a forward pass written in torch."""

import json

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy
import scipy.signal

from tests.fakes import tiny_networks
from tests.fakes import torch_audio
from tests.fakes import torch_runner
from v2meow_jax import media
from v2meow_jax.cli import main
from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import store
from v2meow_jax.pretrained.audio import vggish
from v2meow_jax.pretrained.audio import vggish_input
from v2meow_jax.pretrained.audio import vggish_weights

librosa = numba_cache.librosa()

TINY = tiny_networks.VGGISH

RATE_HZ = 16_000


def noise(seconds, rate_hz=RATE_HZ, seed=0):
  rng = np.random.default_rng(seed)
  samples = rng.uniform(-0.5, 0.5, round(seconds * rate_hz))
  return media.Audio(samples=samples.astype(np.float32), rate_hz=rate_hz)


def torch_vggish(state, examples):
  forward = torch_audio.vggish
  return torch_runner.prepared(forward, state, None)(examples)


def checkpoint_variables(state):
  """The same numbers under the names of vggish_model.ckpt."""
  scopes = dict(
    zip(
      [f'features.{p}' for p in torch_audio.VGGISH_PLACES]
      + [f'embeddings.{i}' for i in (0, 2, 4)],
      [
        *('conv1', 'conv2', 'conv3/conv3_1', 'conv3/conv3_2'),
        *('conv4/conv4_1', 'conv4/conv4_2', 'fc1/fc1_1', 'fc1/fc1_2', 'fc2'),
      ],
      strict=True,
    )
  )
  variables = {}
  for name, scope in scopes.items():
    kernel = state[f'{name}.weight']
    axes = (2, 3, 1, 0) if kernel.ndim == 4 else (1, 0)
    variables[f'vggish/{scope}/weights'] = kernel.transpose(axes).copy()
    variables[f'vggish/{scope}/biases'] = state[f'{name}.bias']
  return variables


def network(tmp_path, name='vggish', config=TINY, extra=None):
  path = tmp_path / 'vggish.safetensors'
  safetensors_numpy.save_file(
    torch_audio.vggish_state(config) | (extra or {}), path
  )
  return vggish.load(name, path, config)


def test_bands_are_those_of_librosa_and_scipy():
  samples = noise(2.0).samples
  _, _, spectrum = scipy.signal.stft(
    samples.astype(np.float64),
    window=scipy.signal.get_window('hann', 400, fftbins=True),
    nperseg=400,
    noverlap=240,
    nfft=512,
    boundary=None,
    padded=False,
  )
  # scipy divides by the sum of the window.
  magnitudes = np.abs(spectrum.T) * 200.0
  hertz = np.arange(257) * RATE_HZ / 512
  mel = librosa.hz_to_mel(hertz, htk=True)
  edges = librosa.mel_frequencies(66, fmin=125, fmax=7500, htk=True)
  edges = librosa.hz_to_mel(edges, htk=True)
  bands = [
    np.interp(mel, edges[i : i + 3], [0, 1, 0], left=0, right=0)
    for i in range(64)
  ]
  wanted = np.log(magnitudes @ np.stack(bands, 1) + 0.01)
  found = vggish_input.log_mel(samples)
  assert found.shape == (1 + (32_000 - 400) // 160, 64)
  np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_silence_is_the_floor_and_a_tone_is_in_its_band():
  assert np.all(vggish_input.log_mel(np.zeros(400)) == np.log(0.01))
  tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / RATE_HZ)
  # The band whose centre, evenly spaced in mel, is nearest to 1 kHz.
  edges = librosa.mel_frequencies(66, fmin=125, fmax=7500, htk=True)
  nearest = np.abs(edges[1:-1] - 1000).argmin()
  assert set(vggish_input.log_mel(tone).argmax(1)) == {nearest}


@pytest.mark.parametrize(
  ('num_samples', 'examples'),
  [(15_600, 1), (30_959, 1), (30_960, 2), (48_000, 3), (160_000, 10)],
)
def test_examples_are_96_frames_each(num_samples, examples):
  samples = noise(num_samples / RATE_HZ).samples
  whole = vggish_input.log_mel(samples)
  assert len(whole) // 96 == examples
  cut = vggish_input.log_mel(vggish_input.cut(samples))
  wanted = whole[: examples * 96].reshape(examples, 96, 64)
  np.testing.assert_allclose(cut, wanted, rtol=0, atol=1e-12)


@pytest.mark.torch
def test_embeddings_are_those_of_torch(tmp_path):
  audio = noise(11.9)
  examples = vggish_input.log_mel(vggish_input.cut(audio.samples))
  wanted = torch_vggish(
    torch_audio.vggish_state(TINY), examples.astype(np.float32)
  )
  assert wanted.shape == (12, 8)
  assert wanted.std() > 0.1 and (wanted < 0).any()
  found = network(tmp_path)(audio)
  np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
  np.testing.assert_allclose(
    network(tmp_path, 'vggish-relu')(audio),
    np.maximum(wanted, 0),
    rtol=0,
    atol=1e-4,
  )


@pytest.mark.slow
@pytest.mark.torch
def test_the_published_size_is_that_of_torch_through_its_file(tmp_path):
  config = vggish_weights.PUBLISHED
  state = torch_audio.vggish_state(config)
  assert state['embeddings.0.weight'].shape == (4096, 12288)
  audio = noise(2.0)
  examples = vggish_input.log_mel(vggish_input.cut(audio.samples))
  wanted = torch_vggish(state, examples.astype(np.float32))
  assert wanted.shape == (2, 128) and wanted.std() > 0.1
  heard = network(tmp_path, config=config)
  (tmp_path / 'vggish.safetensors').unlink()  # 289 MB, which pytest would keep.
  np.testing.assert_allclose(heard(audio), wanted, rtol=0, atol=1e-4)


def test_both_layouts_are_the_same_network():
  state = torch_audio.vggish_state(TINY)
  port = vggish_weights.read(state, TINY)
  checkpoint = vggish_weights.read(checkpoint_variables(state), TINY)
  jax.tree.map(np.testing.assert_array_equal, port, checkpoint)
  shapes = jax.eval_shape(
    vggish.Body(TINY).init, jax.random.key(0), np.zeros((1, 96, 64))
  )
  wanted = jax.tree.map(lambda s: s.shape, shapes['params'])
  assert jax.tree.map(np.shape, port) == wanted


def test_a_row_does_not_depend_on_the_rest_of_the_clip(tmp_path):
  heard = network(tmp_path)
  long = noise(13.0)
  rows = heard(long)
  assert rows.shape == (13, 8) and rows.dtype == np.float32
  start, stop = 11 * 15_360, 11 * 15_360 + 15_600
  alone = media.Audio(samples=long.samples[start:stop], rate_hz=RATE_HZ)
  np.testing.assert_array_equal(heard(alone), rows[11:12])


def test_a_clip_of_another_rate_is_resampled(tmp_path):
  def tone(rate_hz):
    phase = 2 * np.pi * 440 * np.arange(2 * rate_hz) / rate_hz
    samples = 0.3 * np.sin(phase).astype(np.float32)
    return media.Audio(samples=samples, rate_hz=rate_hz)

  heard = network(tmp_path)
  at_16, at_44 = heard(tone(16_000)), heard(tone(44_100))
  np.testing.assert_allclose(at_44[1], at_16[1], rtol=0.02, atol=0.02)


def test_a_clip_too_short_or_not_finite_is_refused(tmp_path):
  heard = network(tmp_path)
  with pytest.raises(ValueError, match=r'lasts 0\.9 s; wanted at least 0\.975'):
    heard(noise(0.9))
  bad = noise(2.0)
  bad.samples[7] = np.nan
  with pytest.raises(ValueError, match='not finite'):
    heard(bad)


def test_eight_bits_are_cut_off_as_in_the_release(tmp_path):
  extra = torch_audio.vggish_whitening(8)
  audio = noise(5.0)
  rows = network(tmp_path)(audio)
  bits = network(tmp_path, 'vggish-pca', extra=extra)(audio)
  vectors, means = extra['pca_eigen_vectors'], extra['pca_means']
  for row, bit in zip(rows, bits, strict=True):
    white = np.array([v @ (row - means) for v in vectors])
    scaled = (np.clip(white, -2, 2) + 2) * 63.75
    np.testing.assert_array_equal(bit, scaled.astype(np.uint8))
  assert len(np.unique(bits)) > 10


def test_the_whitening_of_the_port_and_of_the_release_are_one():
  released = torch_audio.vggish_whitening(8)
  port = {
    'pproc.pca_matrix': released['pca_eigen_vectors'],
    'pproc.pca_means': released['pca_means'][:, None],
  }
  ours = vggish_weights.read_whitening(released, TINY)
  theirs = vggish_weights.read_whitening(port, TINY)
  np.testing.assert_array_equal(ours.vectors, theirs.vectors)
  np.testing.assert_array_equal(ours.means, theirs.means)
  with pytest.raises(ValueError, match="no 'pca_eigen_vectors'"):
    vggish_weights.read_whitening({}, TINY)


def test_whitening_of_the_ledger_is_taken_where_the_file_has_none(
  tmp_path, monkeypatch
):
  monkeypatch.setenv(store.VARIABLE, str(tmp_path / 'weights'))
  with pytest.raises(store.WeightsError, match='vggish_pca_params.npz'):
    network(tmp_path, 'vggish-pca')
  folder = tmp_path / 'weights' / 'vggish-pca'
  folder.mkdir(parents=True)
  np.savez(folder / 'vggish_pca_params.npz', **torch_audio.vggish_whitening(8))
  apart = network(tmp_path, 'vggish-pca')
  audio = noise(3.0)
  together = network(
    tmp_path, 'vggish-pca', extra=torch_audio.vggish_whitening(8)
  )
  np.testing.assert_array_equal(apart(audio), together(audio))
  assert apart.digest != together.digest


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda s: s.pop('features.8.weight'), "no 'features.8.weight'"),
    (
      lambda s: s.update({'features.0.weight': np.zeros((3, 1, 3, 3))}),
      r'\(3, 1, 3, 3\); wanted floats of shape \(2, 1, 3, 3\)',
    ),
    (lambda s: s['embeddings.4.bias'].fill(np.inf), 'not finite'),
  ],
)
def test_wrong_weights_are_named(change, said):
  state = torch_audio.vggish_state(TINY)
  change(state)
  with pytest.raises(ValueError, match=said):
    vggish_weights.read(state, TINY)


def write_checkpoint(path, variables, version):
  import tensorflow as tf

  v1 = tf.compat.v1
  path.parent.mkdir()
  with tf.Graph().as_default(), v1.Session() as session:
    for name, value in {**variables, 'global_step': np.int64(3)}.items():
      v1.get_variable(name, initializer=value)
    session.run(v1.global_variables_initializer())
    saver = v1.train.Saver(write_version=version)
    saver.save(session, str(path), write_meta_graph=False)
  return path


def write_saved_model(path, variables):
  """As the authors' export: the variables of a graph, kept as they are made."""
  import tensorflow as tf

  module = tf.Module()
  module._variables = []

  def keep(create, **options):
    variable = create(**options)
    module._variables.append(variable)
    return variable

  def call(x):
    with tf.variable_creator_scope(keep):
      for name, value in variables.items():
        tf.compat.v1.get_variable(name, initializer=value)
    return x

  signature = (tf.TensorSpec([None], tf.float32),)
  module.call = tf.compat.v1.wrap_function(call, signature)
  tf.saved_model.save(module, str(path), signatures={})
  return path


@pytest.mark.data
@pytest.mark.parametrize('kind', ['version 1', 'version 2', 'SavedModel'])
def test_what_tensorflow_published_is_imported_and_hears_the_same(
  kind, tmp_path, monkeypatch
):
  import tensorflow as tf

  monkeypatch.setenv(store.VARIABLE, str(tmp_path / 'weights'))
  versions = tf.compat.v1.train.SaverDef
  variables = checkpoint_variables(torch_audio.vggish_state(TINY))
  path = tmp_path / 'given' / 'vggish_model.ckpt'
  if kind == 'SavedModel':
    write_saved_model(path, variables)
  else:
    version = versions.V1 if kind == 'version 1' else versions.V2
    write_checkpoint(path, variables, version)
  assert main.main(['weights', 'import', 'vggish', str(path)]) == 0
  file = store.Store().locate(ledger.find('vggish'))
  heard = vggish.load('vggish', file, TINY)
  audio = noise(3.0)
  np.testing.assert_array_equal(heard(audio), network(tmp_path)(audio))
  noted = json.loads((file.parent / 'SOURCE.json').read_text())
  assert noted['original_sha256'] and 'url' not in noted


@pytest.mark.data
def test_other_things_of_tensorflow_are_not_taken_for_vggish(
  tmp_path, monkeypatch, capsys
):
  import tensorflow as tf

  monkeypatch.setenv(store.VARIABLE, str(tmp_path / 'weights'))

  def refused(path, said, name='vggish'):
    assert main.main(['weights', 'import', name, str(path)]) == 2
    assert said in capsys.readouterr().err
    assert store.Store().find(ledger.find(name)) is None

  version = tf.compat.v1.train.SaverDef.V2
  other = {'resnet/conv1/weights': np.ones((3, 3), np.float32)}
  path = write_checkpoint(tmp_path / 'a' / 'model.ckpt', other, version)
  refused(path, "none is 'features.0.weight' or 'vggish/conv1/weights'")
  refused(path, 'read from model.safetensors alone', 'clip-vit-l14')
  path.with_name('model.ckpt.data-00000-of-00001').unlink()
  refused(path, 'cannot be converted: Error: ')
  refused(path.parent / 'nothing', 'is no file')
  # Another module that keeps its variables in a list of the same name.
  state = checkpoint_variables(torch_audio.vggish_state(TINY))
  state['vggish/conv2/weights'] = state['vggish/conv2/weights'][..., :-1]
  folder = write_saved_model(tmp_path / 'module', state)
  file = store.Store().take(ledger.find('vggish'), folder)
  with pytest.raises(
    ValueError,
    match=r"'_variables/2/.*shape \(3, 3, 2, 2\); wanted .*\(3, 3, 2, 3\)",
  ):
    vggish.load('vggish', file, TINY)
