"""A frame's codes are its network's, of the square that the network reads."""

import jax
import numpy as np
import pytest

from tests.fakes import tiny_networks
from tests.fakes import torch_vision
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import picture_tokens
from v2meow_jax.extractors import resampling
from v2meow_jax.pretrained.vision import vit_vqgan
from v2meow_jax.pretrained.vision import vqgan

pytestmark = pytest.mark.slow


def stream(config, **changes):
  return specs.TokenSpec(
    **{
      'name': 'picture',
      'codebook_size': config.codebook_size,
      'rate_hz': 1.0,
      'num_positions': config.num_tokens,
      **changes,
    }
  )


def video(seconds):
  rng = np.random.default_rng(0)
  times = np.arange(0, seconds, 0.25)
  colors = rng.integers(0, 256, (len(times), 5, 7, 3), np.uint8)
  frames = colors.repeat(9, 1).repeat(9, 2)
  return media.Video(frames=frames, times=times, seconds=seconds)


@pytest.mark.parametrize(
  ('config', 'module', 'network', 'state'),
  [
    (
      tiny_networks.VIT_VQGAN,
      vit_vqgan,
      vit_vqgan.VitVqgan,
      torch_vision.vit_vqgan_state,
    ),
    (tiny_networks.VQGAN, vqgan, vqgan.Vqgan, torch_vision.vqgan_state),
  ],
)
def test_codes_of_a_frame_a_second(config, module, network, state):
  params = module.read(state(config), config)
  extractor = picture_tokens.PictureTokens(
    stream(config), network(config), params, batch_size=2
  )
  clip = video(3.0)
  found = extractor(clip)
  shown = clip.frames[[2, 6, 10]]
  images = resampling.center_square(shown, config.image_size, 'bilinear')
  apply = jax.jit(network(config).apply)
  wanted = apply({'params': params}, images.astype(np.float32) / 255)
  assert found.dtype == np.int32
  assert len(np.unique(found)) > 5
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
  'changes', [{'num_positions': 4}, {'codebook_size': 8192}]
)
def test_a_stream_of_other_sizes_is_refused(changes):
  config = tiny_networks.VQGAN
  with pytest.raises(ValueError, match='Vqgan gives 64 of 40'):
    picture_tokens.PictureTokens(
      stream(config, **changes), vqgan.Vqgan(config), {}
    )
