"""The networks that `benchmarks.extractors` times: a row of `NETWORKS` each.

A row is a function of `tiny`, whether sizes are those of a quick check instead
of the published ones, to the `sides.Sides` of a network. It imports what it
needs when it is called. Weights are random, of the published shapes.

CLAP, MuQ-MuLan, AST and MusicCoCa have no row: they are made of published files
alone, and what runs is the torch or the TFLite of their publishers, so that
there is nothing of ours to compare. w2v-BERT and MERT are run by torch too;
their rows tell what preparing a clip costs, and have no ratio.
"""

from __future__ import annotations

from collections.abc import Callable
import functools

import numpy as np

from benchmarks.networks import codecs
from benchmarks.networks import listening
from benchmarks.networks import sides
from tests.fakes import torch_runner
from tests.fakes import torch_vision
from v2meow_jax.pretrained import hub

_SHORT_SIDE, _LONG_SIDE = 256, 456  # Of a video of 16:9, as flow is read.


def clip_tower(tiny: bool) -> sides.Sides:
  """CLIP's image tower; the reference is that of `transformers`."""
  from v2meow_jax import specs
  from v2meow_jax.extractors import clip as clip_stream
  from v2meow_jax.pretrained.vision import clip

  config = clip.VIT_L_14
  if tiny:
    config = clip.ImageTowerConfig(
      image_size=28,
      patch_size=7,
      emb_dim=16,
      num_layers=2,
      num_heads=2,
      mlp_dim=40,
      projection_dim=12,
    )
  side = config.image_size
  images = np.rint(255 * sides.random((4, side, side, 3))).astype(np.uint8)
  params = sides.parameters(clip.ImageTower(config), images.astype(np.float32))
  stream = specs.FeatureSpec(
    name='clip', dim=config.projection_dim, rate_hz=1.0
  )
  extractor = clip_stream.ImageEmbedding(
    stream, config, params, batch_size=len(images)
  )

  def reference(device):
    import torch

    transformers = hub.import_library('transformers')

    tower = transformers.CLIPVisionModelWithProjection(
      transformers.CLIPVisionConfig(
        hidden_size=config.emb_dim,
        intermediate_size=config.mlp_dim,
        projection_dim=config.projection_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        image_size=side,
        patch_size=config.patch_size,
      )
    )
    tower = tower.eval().to(device)
    mean, std = (torch.tensor(x, device=device) for x in (clip.MEAN, clip.STD))

    def run():
      with torch.inference_mode():
        pixels = (torch.tensor(images, device=device) / 255 - mean) / std
        return tower(pixels.permute(0, 3, 1, 2)).image_embeds.cpu()

    return run

  return sides.Sides(
    amount=len(images),
    unit='frames',
    ours=lambda: extractor.outputs(images),
    num_parameters=sides.count(params),
    reference=reference,
  )


def i3d_flow(tiny: bool) -> sides.Sides:
  """I3D over the flow of one second; without the estimation of the flow."""
  from v2meow_jax import specs
  from v2meow_jax.extractors import flow
  from v2meow_jax.pretrained.vision import i3d

  config = i3d.I3DConfig()
  if tiny:
    blocks = tuple((name, (2, 3, 4, 2, 3, 1)) for name, _ in config.blocks)
    config = i3d.I3DConfig(stem=(4, 3, 6), blocks=blocks)
  num_flows = i3d.MIN_FRAMES if tiny else 24
  fields = 2 * sides.random((1, num_flows, flow.CROP, flow.CROP, 2)) - 1
  params = sides.parameters(i3d.I3D(config), fields)
  stream = specs.FeatureSpec(name='flow', dim=config.dim, rate_hz=1.0)
  extractor = flow.I3DFlow(
    stream=stream, params=params, config=config, num_flows=num_flows
  )
  return sides.Sides(
    amount=num_flows / flow.FRAME_RATE_HZ,
    unit='s',
    ours=lambda: extractor.outputs(fields),
    num_parameters=sides.count(params),
    reference=_in_torch(
      torch_vision.i3d, torch_vision.i3d_state, config, fields
    ),
  )


def _in_torch(forward, state, config, inputs):
  def reference(device):
    run = torch_runner.prepared(forward, state(config), config, device)
    return lambda: run(inputs)

  return reference


def optical_flow(estimator: str, tiny: bool) -> sides.Sides:
  """An estimator of OpenCV, on gray frames as I3D's flow is made of."""
  from v2meow_jax.extractors import flow

  size = (32, 48) if tiny else (_SHORT_SIDE, _LONG_SIDE)
  # Blocks that move by two pixels a frame.
  still = sides.random((size[0] // 8, size[1] // 8)).repeat(8, 0).repeat(8, 1)
  frames = np.stack([np.roll(still, 2 * i, axis=1) for i in range(4)])
  gray = np.rint(255 * frames).astype(np.uint8)
  calculate = getattr(flow, estimator)
  return sides.Sides(
    amount=len(gray) - 1, unit='frames', ours=lambda: calculate(gray)
  )


def vit_vqgan_tokens(tiny: bool) -> sides.Sides:
  """ViT-VQGAN's encoder and codes."""
  from v2meow_jax.pretrained.vision import vit_vqgan

  config = vit_vqgan.VitVqganConfig()
  if tiny:
    config = vit_vqgan.VitVqganConfig(
      image_size=32,
      emb_dim=24,
      num_layers=2,
      num_heads=3,
      head_dim=8,
      mlp_dim=40,
      code_dim=6,
      codebook_size=50,
    )
  return _picture_tokens(
    vit_vqgan.VitVqgan(config),
    torch_vision.vit_vqgan,
    torch_vision.vit_vqgan_state,
  )


def vqgan_tokens(tiny: bool) -> sides.Sides:
  """MaskGIT's VQGAN encoder and codes."""
  from v2meow_jax.pretrained.vision import vqgan

  config = vqgan.VqganConfig()
  if tiny:
    config = vqgan.VqganConfig(
      image_size=32,
      filters=8,
      channel_multipliers=(1, 2, 2),
      num_res_blocks=1,
      code_dim=6,
      codebook_size=40,
      num_groups=4,
    )
  return _picture_tokens(
    vqgan.Vqgan(config), torch_vision.vqgan, torch_vision.vqgan_state
  )


def _picture_tokens(network, forward, state) -> sides.Sides:
  from v2meow_jax import specs
  from v2meow_jax.extractors import picture_tokens

  config = network.config
  side = config.image_size
  images = np.rint(255 * sides.random((2, side, side, 3))).astype(np.uint8)
  pixels = images.astype(np.float32) / 255
  params = sides.parameters(network, pixels)
  stream = specs.TokenSpec(
    name='picture',
    codebook_size=config.codebook_size,
    num_positions=config.num_tokens,
    rate_hz=1.0,
  )
  extractor = picture_tokens.PictureTokens(
    stream, network, params, batch_size=len(images)
  )
  return sides.Sides(
    amount=len(images),
    unit='frames',
    ours=lambda: extractor.outputs(images),
    num_parameters=sides.count(params),
    reference=_in_torch(forward, state, config, pixels),
  )


NETWORKS: dict[str, Callable[[bool], sides.Sides]] = {
  'clip-vit-l14': clip_tower,
  'flow-tv-l1': functools.partial(optical_flow, 'tv_l1'),
  'flow-dis': functools.partial(optical_flow, 'dis'),
  'i3d-flow': i3d_flow,
  'vit-vqgan': vit_vqgan_tokens,
  'maskgit-vqgan': vqgan_tokens,
  **{
    f'{kind}-{rate}khz-{way}': functools.partial(
      make, way, f'{kind.upper()}_{rate}KHZ'
    )
    for kind, rate, make in (
      ('dac', 16, codecs.dac_way),
      ('dac', 24, codecs.dac_way),
      ('dac', 44, codecs.dac_way),
      ('encodec', 24, codecs.encodec_way),
      ('encodec', 32, codecs.encodec_way),
    )
    for way in ('encode', 'decode')
  },
  'musicfm': listening.musicfm_states,
  'w2v-bert-2': listening.w2v_bert_states,
  'mert-v1-95m': functools.partial(listening.mert_states, False),
  'mert-v1-330m': functools.partial(listening.mert_states, True),
  'vggish': listening.vggish_embedding,
  'panns-cnn14-16khz': listening.panns_classes,
}
