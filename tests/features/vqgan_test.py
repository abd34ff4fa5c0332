"""Codes equal those of MaskGIT's tokenizer, written again in torch."""

from flax import serialization
from flax import traverse_util
import jax
import numpy as np
import pytest

from v2meow_jax.features import vqgan
from v2meow_jax.weights import tensors

TINY = vqgan.VqganConfig(
  image_size=32,
  filters=8,
  channel_multipliers=(1, 2, 2),
  num_res_blocks=1,
  code_dim=6,
  codebook_size=40,
  num_groups=4,
)


def published_state(c, seed=0):
  """A random checkpoint in the published layout."""
  rng = np.random.default_rng(seed)

  def normal(*shape):
    fan_in = np.prod(shape[:-1])
    return rng.normal(0, fan_in**-0.5, shape).astype(np.float32)

  def norm(n):
    return {
      'scale': rng.uniform(0.5, 1.5, n).astype(np.float32),
      'bias': rng.normal(0, 0.2, n).astype(np.float32),
    }

  encoder = {'Conv_0': {'kernel': normal(3, 3, 3, c.filters)}}
  width, count = c.filters, 0
  for m in (*c.channel_multipliers, c.channel_multipliers[-1]):
    for _ in range(c.num_res_blocks):
      n = c.filters * m
      block = {
        'GroupNorm_0': norm(width),
        'Conv_0': {'kernel': normal(3, 3, width, n)},
        'GroupNorm_1': norm(n),
        'Conv_1': {'kernel': normal(3, 3, n, n)},
      }
      if n != width:
        block['Conv_2'] = {'kernel': normal(1, 1, n, n)}
      encoder[f'ResBlock_{count}'] = block
      width, count = n, count + 1
  encoder['GroupNorm_0'] = norm(width)
  bias = rng.normal(0, 0.2, c.code_dim).astype(np.float32)
  encoder['Conv_1'] = {'kernel': normal(1, 1, width, c.code_dim), 'bias': bias}
  codebook = rng.normal(0, 1, (c.codebook_size, c.code_dim))
  # Of one length: otherwise the shortest is the nearest to everything.
  codebook /= np.linalg.norm(codebook, axis=-1, keepdims=True)
  return {
    'params': {
      'encoder': encoder,
      'decoder': {'Conv_0': {'bias': np.zeros(1, np.float32)}},
      'quantizer': {'codebook': codebook.astype(np.float32)},
    }
  }


def flat(state):
  return traverse_util.flatten_dict(state, sep='/')


def torch_codes(state, c, images):
  """The published forward pass in torch: int[b, num_tokens]."""
  torch = pytest.importorskip('torch')
  functional = torch.nn.functional
  encoder = state['params']['encoder']

  def conv(x, p):
    kernel = torch.from_numpy(p['kernel']).permute(3, 2, 0, 1)
    bias = torch.from_numpy(p['bias']) if 'bias' in p else None
    return functional.conv2d(x, kernel, bias, padding='same')

  def normed(x, p):
    scale, bias = (torch.from_numpy(p[k]) for k in ('scale', 'bias'))
    x = functional.group_norm(x, c.num_groups, scale, bias, eps=1e-6)
    return functional.silu(x)

  def block(x, p):
    y = conv(normed(x, p['GroupNorm_0']), p['Conv_0'])
    y = conv(normed(y, p['GroupNorm_1']), p['Conv_1'])
    return y + (conv(y, p['Conv_2']) if 'Conv_2' in p else x)

  with torch.no_grad():
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    x = conv(x, encoder['Conv_0'])
    count, last = 0, len(c.channel_multipliers) - 1
    for i in range(len(c.channel_multipliers)):
      for _ in range(c.num_res_blocks):
        x = block(x, encoder[f'ResBlock_{count}'])
        count += 1
      if i < last:
        x = functional.avg_pool2d(x, 2)
    for _ in range(c.num_res_blocks):
      x = block(x, encoder[f'ResBlock_{count}'])
      count += 1
    x = conv(normed(x, encoder['GroupNorm_0']), encoder['Conv_1'])
    x = x.flatten(2).transpose(1, 2)
    codebook = torch.from_numpy(state['params']['quantizer']['codebook'])
    return torch.cdist(x, codebook[None]).argmin(-1).numpy()


def pictures(c, count=2):
  """Patches of one colour each, which differ more than noise does."""
  rng = np.random.default_rng(3)
  colors = rng.uniform(0, 1, (count, 16, 16, 3))
  size = c.image_size // 16
  return colors.repeat(size, 1).repeat(size, 2).astype(np.float32)


def codes(c, params, images):
  apply = jax.jit(vqgan.Vqgan(c).apply)
  return np.asarray(apply({'params': params}, images))


@pytest.mark.torch
def test_codes_are_those_of_torch_from_the_file(tmp_path):
  state = published_state(TINY)
  path = tmp_path / 'tokenizer_imagenet256_checkpoint'
  path.write_bytes(serialization.to_bytes(state))
  images = pictures(TINY, 8)
  found = codes(TINY, vqgan.read(tensors.load(path), TINY), images)
  wanted = torch_codes(state, TINY, images)
  assert len(np.unique(wanted)) > 10
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
@pytest.mark.torch
def test_the_published_size_is_that_of_torch():
  c = vqgan.VqganConfig()
  assert c.num_tokens == 256
  state = published_state(c)
  images = pictures(c, 1)
  found = codes(c, vqgan.read(flat(state), c), images)
  wanted = torch_codes(state, c, images)
  assert len(np.unique(wanted)) > 20
  # Of random codes two can be equally near, up to rounding.
  assert (found == wanted).mean() > 0.98


def test_wrong_weights_are_named():
  state = published_state(TINY)
  del state['params']['encoder']['ResBlock_1']['Conv_2']
  name = "no 'params/encoder/ResBlock_1/Conv_2/kernel'"
  with pytest.raises(ValueError, match=name):
    vqgan.read(flat(state), TINY)
