"""Codes equal those of the published network, written again in torch."""

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from v2meow_jax.features import vit_vqgan
from v2meow_jax.weights import tensors

TINY = vit_vqgan.VitVqganConfig(
  image_size=32,
  patch_size=8,
  emb_dim=24,
  num_layers=2,
  num_heads=3,
  head_dim=8,
  mlp_dim=40,
  code_dim=6,
  codebook_size=50,
)


def published_state(c, seed=0):
  """Random tensors under the published names."""
  rng = np.random.default_rng(seed)
  shapes = {
    'encoder.to_patch_embedding.0.weight': (
      c.emb_dim, 3, c.patch_size, c.patch_size,
    ),
    'encoder.to_patch_embedding.0.bias': (c.emb_dim,),
    'encoder.en_pos_embedding': (1, c.num_tokens, c.emb_dim),
    'encoder.transformer.norm.weight': (c.emb_dim,),
    'encoder.transformer.norm.bias': (c.emb_dim,),
    'pre_quant.weight': (c.code_dim, c.emb_dim),
    'pre_quant.bias': (c.code_dim,),
    'quantizer.embedding.weight': (c.codebook_size, c.code_dim),
    'decoder.de_pos_embedding': (1, 4),
  }  # fmt: skip
  width = c.num_heads * c.head_dim
  for i in range(c.num_layers):
    layer = f'encoder.transformer.layers.{i}'
    shapes |= {
      f'{layer}.0.norm.weight': (c.emb_dim,),
      f'{layer}.0.norm.bias': (c.emb_dim,),
      f'{layer}.0.fn.to_qkv.weight': (3 * width, c.emb_dim),
      f'{layer}.0.fn.to_out.weight': (c.emb_dim, width),
      f'{layer}.0.fn.to_out.bias': (c.emb_dim,),
      f'{layer}.1.norm.weight': (c.emb_dim,),
      f'{layer}.1.norm.bias': (c.emb_dim,),
      f'{layer}.1.fn.net.0.weight': (c.mlp_dim, c.emb_dim),
      f'{layer}.1.fn.net.0.bias': (c.mlp_dim,),
      f'{layer}.1.fn.net.2.weight': (c.emb_dim, c.mlp_dim),
      f'{layer}.1.fn.net.2.bias': (c.emb_dim,),
    }
  state = {}
  for name, shape in shapes.items():
    # Places and pixels count, so that there are many codes.
    fan_in = np.prod(shape[1:]) if 'pos_embedding' not in name else 1
    scale = 2 * fan_in**-0.5 if len(shape) > 1 else 0.1
    state[name] = rng.normal(0, scale, shape).astype(np.float32)
  return state


def torch_codes(state, c, images):
  """The published forward pass in torch: int[b, num_tokens]."""
  torch = pytest.importorskip('torch')
  functional = torch.nn.functional
  t = {name: torch.from_numpy(x) for name, x in state.items()}

  def norm(x, name):
    weight, bias = t[f'{name}.weight'], t[f'{name}.bias']
    return functional.layer_norm(x, (c.emb_dim,), weight, bias)

  def linear(x, name):
    return functional.linear(x, t[f'{name}.weight'], t.get(f'{name}.bias'))

  with torch.no_grad():
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    patch = 'encoder.to_patch_embedding.0'
    x = functional.conv2d(
      pixels, t[f'{patch}.weight'], t[f'{patch}.bias'], stride=c.patch_size
    )
    x = x.flatten(2).transpose(1, 2) + t['encoder.en_pos_embedding']
    for i in range(c.num_layers):
      layer = f'encoder.transformer.layers.{i}'
      y = linear(norm(x, f'{layer}.0.norm'), f'{layer}.0.fn.to_qkv')
      q, k, v = (
        part.unflatten(-1, (c.num_heads, c.head_dim)).transpose(1, 2)
        for part in y.chunk(3, -1)
      )
      weights = (q @ k.transpose(-1, -2) * c.head_dim**-0.5).softmax(-1)
      y = (weights @ v).transpose(1, 2).flatten(2)
      x = x + linear(y, f'{layer}.0.fn.to_out')
      y = linear(norm(x, f'{layer}.1.norm'), f'{layer}.1.fn.net.0')
      x = x + linear(torch.tanh(y), f'{layer}.1.fn.net.2')
    z = linear(norm(x, 'encoder.transformer.norm'), 'pre_quant')
    z = functional.normalize(z, dim=-1)
    codes = functional.normalize(t['quantizer.embedding.weight'], dim=-1)
    return torch.cdist(z, codes[None]).argmin(-1).numpy()


def pictures(c, count=2):
  """Patches of one colour each, which differ more than noise does."""
  rng = np.random.default_rng(3)
  colors = rng.uniform(0, 1, (count, 16, 16, 3))
  size = c.image_size // 16
  return colors.repeat(size, 1).repeat(size, 2).astype(np.float32)


def codes(c, params, images):
  apply = jax.jit(vit_vqgan.VitVqgan(c).apply)
  return np.asarray(apply({'params': params}, images))


@pytest.mark.torch
def test_codes_are_those_of_torch_from_its_file(tmp_path):
  state = published_state(TINY)
  safetensors_numpy.save_file(state, tmp_path / 'vit.safetensors')
  params = vit_vqgan.read(tensors.load(tmp_path / 'vit.safetensors'), TINY)
  images = pictures(TINY, 8)
  found = codes(TINY, params, images)
  wanted = torch_codes(state, TINY, images)
  assert len(np.unique(wanted)) > 10
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
@pytest.mark.torch
def test_the_published_size_is_that_of_torch():
  c = vit_vqgan.VitVqganConfig()
  assert c.num_tokens == 1024
  state = published_state(c)
  images = pictures(c, 1)
  found = codes(c, vit_vqgan.read(state, c), images)
  wanted = torch_codes(state, c, images)
  assert len(np.unique(wanted)) > 100
  # Of 8,192 random codes two can be equally near, up to rounding.
  assert (found == wanted).mean() > 0.995


def test_the_parameters_are_those_of_the_network():
  shapes = jax.eval_shape(
    vit_vqgan.VitVqgan(TINY).init, jax.random.key(0), pictures(TINY)
  )
  params = vit_vqgan.read(published_state(TINY), TINY)
  wanted = jax.tree.map(lambda s: s.shape, shapes['params'])
  assert jax.tree.map(np.shape, params) == wanted


def test_wrong_weights_are_named():
  state = published_state(TINY)
  del state['encoder.transformer.layers.1.0.fn.to_out.bias']
  with pytest.raises(ValueError, match="no 'encoder.transformer.layers.1.0.fn"):
    vit_vqgan.read(state, TINY)
  state = published_state(TINY)
  state['quantizer.embedding.weight'] = np.zeros((3, 6))
  with pytest.raises(ValueError, match=r'shape \(3, 6\), wanted \(50, 6\)'):
    vit_vqgan.read(state, TINY)
