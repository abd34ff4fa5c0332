"""MusicFM equals torch and transformers on a file of the published layout.

See `tests.fakes.torch_musicfm`.
"""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import tiny_networks
from tests.fakes import torch_musicfm
from v2meow_jax import media
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import store
from v2meow_jax.pretrained.audio import conformer
from v2meow_jax.pretrained.audio import musicfm
from v2meow_jax.pretrained.audio import musicfm_weights
from v2meow_jax.pretrained.audio import semantic_encoder

pytestmark = pytest.mark.slow

TINY = tiny_networks.MUSICFM

# Of float32 against float32, of hidden states of about unit deviation.
TOLERANCE = 1e-4
DENSE = 'model.conformer.layers.1.ffn1.intermediate_dense.weight'


@pytest.fixture(scope='module')
def tensors():
  return torch_musicfm.musicfm_state(TINY)


@pytest.fixture(scope='module')
def folder(tensors, tmp_path_factory):
  path = tmp_path_factory.mktemp('musicfm')
  torch_musicfm.write(path, tensors)
  return path


@pytest.fixture(scope='module')
def encoder(folder):
  return musicfm_weights.load(folder, layer=2, config=TINY)


def music(seconds, rate_hz=24_000, seed=1):
  """Tones that change, over noise."""
  rng = np.random.default_rng(seed)
  time = np.arange(round(seconds * rate_hz)) / rate_hz
  pitch = 110 * 2 ** (np.floor(time * 4) % 7 / 3)
  samples = 0.2 * np.sin(2 * np.pi * np.cumsum(pitch) / rate_hz)
  samples += 0.02 * rng.standard_normal(len(time))
  return media.Audio(samples=samples.astype(np.float32), rate_hz=rate_hz)


@pytest.mark.torch
@pytest.mark.parametrize('num_samples', [960 * 40, 24_000 + 137])
def test_every_layer_equals_torch_through_the_published_files(
  tensors, tmp_path, num_samples
):
  artefact = dataclasses.replace(
    ledger.find('musicfm-fma'), sha256=None, git_blob=None
  )
  here = store.Store(path=tmp_path / 'weights')
  here.take(
    artefact, torch_musicfm.write(tmp_path / 'came', tensors, suffix='pt')
  )
  samples = music(num_samples / 24_000).samples
  wanted = torch_musicfm.prepared(tensors, TINY)(samples)
  assert len(wanted) == 4
  for layer, states in enumerate(wanted):
    assert states.std() > 0.3
    network = musicfm.MusicFM(TINY, layer)
    params = musicfm_weights.read(here.locate(artefact), network)
    got = jax.jit(network.apply)({'params': params}, samples[None])[0]
    np.testing.assert_allclose(got, states, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.torch
def test_the_full_network_equals_torch_through_a_file(tmp_path):
  tensors = torch_musicfm.musicfm_state(musicfm.PUBLISHED)
  file = torch_musicfm.write(tmp_path / 'full', tensors)
  samples = music(0.4).samples
  wanted = torch_musicfm.prepared(tensors, musicfm.PUBLISHED)(samples)[12]
  del tensors
  encoder = musicfm_weights.load(file, layer=12)
  shutil.rmtree(tmp_path / 'full')  # 1.3 GB, which pytest would keep.
  got = encoder(media.Audio(samples=samples, rate_hz=24_000))
  assert got.shape == (10, 1024) and wanted.std() > 0.3
  np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)


def test_the_full_network_has_as_many_parameters_as_its_file_has_bytes():
  samples = jnp.zeros((1, 2048))
  network = musicfm.MusicFM(musicfm.PUBLISHED, 12)
  shapes = jax.eval_shape(network.init, jax.random.key(0), samples)
  count = sum(x.size for x in jax.tree.leaves(shapes))
  dim, channels = 1024, 512
  # Of batch normalisation, which is folded here, and mean and std of bands.
  folded = 6 * channels * 4 + 12 * dim * 3 - 2
  positions = dim + 128 + dim * (dim // 16) * 128 + 32
  head = 4096 * dim + 4096 + dim
  quantizer = 512 * 16 + 4096 * 16
  counters = 18
  total = count + folded + positions + head + quantizer + counters
  # pretrained_fma.pt has 1,316,802,154 bytes; the rest names the tensors.
  assert 0 < 1_316_802_154 - 4 * total < 200_000


@pytest.mark.torch
def test_default_filters_and_window_are_those_of_the_published_front_end():
  import torch
  from transformers import audio_utils

  network = musicfm.LogMel(128)
  init = jax.jit(network.init)
  params = init(jax.random.key(0), jnp.zeros((1, 2048)))['params']
  filters = audio_utils.mel_filter_bank(
    num_frequency_bins=1025,
    num_mel_filters=128,
    min_frequency=0.0,
    max_frequency=12_000.0,
    sampling_rate=24_000,
    mel_scale='htk',
  )
  np.testing.assert_allclose(params['filters'], filters, rtol=0, atol=1e-5)
  window = torch.hann_window(2048).numpy()
  np.testing.assert_allclose(params['window'], window, rtol=0, atol=1e-6)


def test_rotary_positions_turn_by_their_frame_and_depend_on_distance_alone():
  x = np.zeros((1, 9, 8), np.float32)
  x[..., [0, 4]] = 1.0  # The first plane of each of two heads of four.
  turned = np.asarray(conformer.rotate(jnp.asarray(x), 2))
  np.testing.assert_allclose(turned[0, :, 0], np.cos(np.arange(9)), atol=1e-6)
  np.testing.assert_allclose(turned[0, :, 2], np.sin(np.arange(9)), atol=1e-6)
  np.testing.assert_array_equal(turned[..., :4], turned[..., 4:])
  products = turned[0, :, :4] @ turned[0, :, :4].T
  for distance in range(9):
    np.testing.assert_allclose(
      np.diagonal(products, distance), np.cos(distance), atol=1e-6
    )


@pytest.mark.parametrize('layer', [0, 2])
def test_a_click_changes_the_frames_of_its_time(folder, layer):
  encoder = musicfm_weights.load(folder, layer=layer, config=TINY)
  audio = music(6.0)
  clicked = audio.samples.copy()
  at = 3.32
  clicked[round(at * 24_000) :][:20] += 0.9
  frames = encoder(audio)
  change = encoder(dataclasses.replace(audio, samples=clicked)) - frames
  change = np.abs(change).sum(1)
  assert frames.shape == (150, 24)
  assert abs(np.argmax(change) - at * 25) <= 1
  if layer == 0:
    # A window of 85 ms, then blocks that reach 12 hops of 10 ms.
    changed = np.flatnonzero(change > 1e-4)
    assert np.abs(changed - at * 25).max() <= 6


def test_frames_do_not_depend_on_what_follows_a_stretch_later(folder):
  stretches = semantic_encoder.Stretches(seconds=1.2, context_seconds=0.2)
  encoder = musicfm_weights.load(
    folder, layer=2, config=TINY, stretches=stretches
  )
  audio = music(4.0)
  shorter = dataclasses.replace(audio, samples=audio.samples[: 24_000 * 3])
  frames, first = encoder(audio), encoder(shorter)
  assert frames.shape == (100, 24) and first.shape == (75, 24)
  np.testing.assert_array_equal(first[:45], frames[:45])
  assert np.abs(first[50:] - frames[50:75]).max() > 1e-3
  np.testing.assert_array_equal(encoder(audio), frames)
  # The first stretch is heard as that audio alone is.
  alone = dataclasses.replace(audio, samples=audio.samples[:28_800])
  np.testing.assert_array_equal(encoder(alone)[:25], frames[:25])


def test_audio_of_another_rate_gives_the_same_frames(encoder):
  slow = music(2.0, rate_hz=12_000)
  fast = media.Audio(
    samples=np.interp(
      np.arange(48_000) / 2, np.arange(24_000), slow.samples
    ).astype(np.float32),
    rate_hz=24_000,
  )
  assert encoder(slow).shape == encoder(fast).shape == (50, 24)


@pytest.mark.parametrize('num_samples', [0, 1, 959, 960, 1500, 2048])
def test_very_short_audio_has_its_frames(encoder, num_samples):
  audio = media.Audio(samples=np.zeros(num_samples, np.float32), rate_hz=24_000)
  frames = encoder(audio)
  assert frames.shape == (max(1, round(num_samples / 960)), 24)
  assert np.isfinite(frames).all()


def test_missing_files_say_what_to_download_and_where_to_put_it(
  folder, tmp_path
):
  with pytest.raises(FileNotFoundError) as e:
    musicfm_weights.load(tmp_path, config=TINY, layer=2)
  assert str(tmp_path / 'pretrained_fma.safetensors') in str(e.value)
  assert 'https://huggingface.co/minzwon/MusicFM' in str(e.value)
  assert 'v2meow weights import musicfm-fma' in str(e.value)
  shutil.copy(folder / 'pretrained_fma.safetensors', tmp_path)
  with pytest.raises(FileNotFoundError, match='no .*fma_stats.json.*download'):
    musicfm_weights.load(tmp_path, config=TINY, layer=2)


def test_two_variants_in_a_folder_are_told_apart_by_name(tensors, tmp_path):
  torch_musicfm.write(tmp_path, tensors, 'fma')
  file = torch_musicfm.write(tmp_path, tensors, 'msd')
  with pytest.raises(ValueError, match='name one'):
    musicfm_weights.load(tmp_path, config=TINY, layer=2)
  (tmp_path / 'msd_stats.json').write_text(
    json.dumps(torch_musicfm.STATISTICS | {'melspec_2048_mean': 1.0})
  )
  params = musicfm_weights.read(file, musicfm.MusicFM(TINY, 1))
  assert params['mel']['mean'] == 1.0
  assert params['mel']['std'] == 18.25


@pytest.mark.parametrize(
  'content, said',
  [
    ('{', 'fma_stats.json has no numbers'),
    ('[]', 'fma_stats.json has no numbers'),
    ('{"melspec_2048_mean": 1.0}', 'melspec_2048_std'),
    ('{"melspec_2048_mean": 1, "melspec_2048_std": 0}', 'above 0'),
    ('{"melspec_2048_mean": NaN, "melspec_2048_std": 1}', 'finite'),
  ],
)
def test_damaged_statistics_are_refused(tensors, tmp_path, content, said):
  torch_musicfm.write(tmp_path, tensors)
  (tmp_path / 'fma_stats.json').write_text(content)
  with pytest.raises(ValueError, match=said):
    musicfm_weights.load(tmp_path, config=TINY, layer=2)


def test_a_missing_tensor_is_named(tensors, tmp_path):
  torch_musicfm.write(
    tmp_path, {k: x for k, x in tensors.items() if k != DENSE}
  )
  with pytest.raises(ValueError, match=f'no .{DENSE}'):
    musicfm_weights.load(tmp_path, config=TINY, layer=2)
  # Of layers that are not run nothing is needed.
  musicfm_weights.load(tmp_path, config=TINY, layer=1)


def test_a_tensor_of_another_shape_is_named(tensors, tmp_path):
  torch_musicfm.write(tmp_path, {**tensors, DENSE: tensors[DENSE].T.copy()})
  with pytest.raises(ValueError, match=rf'{DENSE}.*\(24, 40\).*\(40, 24\)'):
    musicfm_weights.load(tmp_path, config=TINY, layer=2)


@pytest.mark.parametrize(
  'name',
  ['model.conformer.layers.3.ffn1.output_dense.bias', 'model.conv.linear.gain'],
)
def test_a_tensor_too_many_is_named(tensors, tmp_path, name):
  torch_musicfm.write(tmp_path, {**tensors, name: np.zeros(3, np.float32)})
  with pytest.raises(ValueError, match=rf'{name}.*\(3,\)'):
    musicfm_weights.load(tmp_path, config=TINY, layer=3)


def test_a_pickle_is_not_opened_and_says_what_converts_it(folder, tmp_path):
  file = tmp_path / 'pretrained_fma.pt'
  file.write_bytes(b'\x80')
  with pytest.raises(ValueError, match='v2meow weights import musicfm-fma'):
    musicfm_weights.load(file, config=TINY, layer=2)


def test_a_layer_that_is_not_there_is_refused(folder):
  for layer in (-1, 4):
    with pytest.raises(ValueError, match=f'layer is {layer}.* 0 to 3'):
      musicfm_weights.load(folder, config=TINY, layer=layer)


def test_sizes_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match='num_heads'):
    dataclasses.replace(TINY.conformer, num_heads=7)
  with pytest.raises(ValueError, match='multiple of 4'):
    dataclasses.replace(TINY, num_bands=18)
