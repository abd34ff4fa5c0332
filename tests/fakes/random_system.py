"""A system of the paper's streams with random weights, in published layouts."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

from tests.fakes import tiny_networks
from tests.fakes import torch_musicfm
from tests.fakes import torch_vision

STAGES = ('semantic', 'coarse', 'fine')
# Sizes of the same structure that a test can afford.
TINY_CLIP = {
  'image_size': 28,
  'patch_size': 7,
  'emb_dim': 16,
  'num_layers': 2,
  'num_heads': 2,
  'mlp_dim': 40,
  'projection_dim': 768,
}
TINY_I3D = {
  'stem': [4, 3, 6],
  'blocks': [
    [f'Mixed_{name}', [2, 3, 4, 2, 3, 1]]
    for name in ('3b', '3c', '4b', '4c', '4d', '4e', '4f', '5b')
  ]
  + [['Mixed_5c', [384, 2, 384, 2, 128, 128]]],
}
TINY_DAC = {
  'source': 'descript/dac_16khz',
  'sample_rate_hz': 16_000,
  'num_levels': 12,
  'strides': [2, 4, 5, 8],
  'encoder_channels': 2,
  'decoder_channels': 32,
}
TINY_STAGES = (
  'NUM_LAYERS = 1',
  'NUM_HEADS = 2',
  'EMB_DIM = 16',
  'HEAD_DIM = 8',
  'MLP_DIM = 32',
)


def write_networks(folder: pathlib.Path, tiny: bool) -> list[Any]:
  """Random weights in published layouts, and the parts that name them.

  Args:
    folder: Gets a folder for each network.
    tiny: Whether all but the streams is small.

  Returns:
    `parts.Part`s of CLIP, I3D flow and DAC at 16 kHz.
  """
  from safetensors import numpy as st

  from v2meow_jax import parts
  from v2meow_jax.pretrained.vision import i3d

  clip_sizes = TINY_CLIP if tiny else None
  dac_sizes = TINY_DAC if tiny else None
  i3d_sizes = TINY_I3D if tiny else {}
  clip_model(clip_sizes).save_pretrained(folder / 'clip')
  dac_model(dac_sizes).save_pretrained(folder / 'dac')
  (folder / 'flow').mkdir()
  state = torch_vision.i3d_state(i3d.I3DConfig(**i3d_sizes))
  flow = folder / 'flow' / 'flow_imagenet.safetensors'
  st.save_file({k: v.astype(np.float32) for k, v in state.items()}, flow)
  flow_settings = {'config': i3d_sizes, 'estimator': 'dis'}
  if tiny:
    flow_settings['num_flows'] = i3d.MIN_FRAMES
  made = (
    ('clip', 'clip', folder / 'clip', {'config': clip_sizes}),
    ('i3d_flow', 'flow', flow, flow_settings),
    ('dac', 'acoustic', folder / 'dac', {'config': dac_sizes}),
  )
  return [
    parts.Part(kind=k, stream=s, weights=str(w), settings=settings)
    for k, s, w, settings in made
  ]


def write_musicfm(folder: pathlib.Path) -> dict[str, Any]:
  """A tiny model and random clusters of its frames: its settings in a recipe."""
  from v2meow_jax import parts
  from v2meow_jax.extractors import clustered_tokens

  torch_musicfm.write(
    folder, torch_musicfm.musicfm_state(tiny_networks.MUSICFM)
  )
  settings = {'layer': 2, 'config': dataclasses.asdict(tiny_networks.MUSICFM)}
  clusters = folder / 'clusters.safetensors'
  rng = np.random.default_rng(0)
  dim = tiny_networks.MUSICFM.conformer.emb_dim
  clustered_tokens.write_clusters(
    clusters,
    {
      'mean': np.zeros(dim, np.float32),
      'std': np.ones(dim, np.float32),
      'centroids': rng.standard_normal((1024, dim), np.float32),
    },
    parts.Part(
      kind='musicfm',
      stream='semantic',
      weights=str(folder / 'pretrained_fma.safetensors'),
      settings=settings,
    ).encoder_identity(),
  )
  return {**settings, 'clusters': str(clusters)}


def clip_model(sizes: dict[str, int] | None) -> Any:
  import transformers

  sizes = sizes or {
    'image_size': 224,
    'patch_size': 14,
    'emb_dim': 1024,
    'num_layers': 24,
    'num_heads': 16,
    'mlp_dim': 4096,
    'projection_dim': 768,
  }
  return transformers.CLIPVisionModelWithProjection(
    transformers.CLIPVisionConfig(
      hidden_size=sizes['emb_dim'],
      intermediate_size=sizes['mlp_dim'],
      projection_dim=sizes['projection_dim'],
      num_hidden_layers=sizes['num_layers'],
      num_attention_heads=sizes['num_heads'],
      image_size=sizes['image_size'],
      patch_size=sizes['patch_size'],
    )
  )


def dac_model(sizes: dict[str, Any] | None) -> Any:
  import transformers

  sizes = sizes or {
    **TINY_DAC,
    'encoder_channels': 64,
    'decoder_channels': 1536,
  }
  return transformers.DacModel(
    transformers.DacConfig(
      encoder_hidden_size=sizes['encoder_channels'],
      decoder_hidden_size=sizes['decoder_channels'],
      downsampling_ratios=sizes['strides'],
      n_codebooks=sizes['num_levels'],
      sampling_rate=sizes['sample_rate_hz'],
    )
  )


def random_stages(
  tiny: bool, search_paths: Sequence[str] = ('gin',)
) -> Iterator[tuple[dict[str, Any], Any, int]]:
  """Description, random parameters and step of each stage, one at a time."""
  rng = np.random.default_rng(0)
  for name in STAGES:
    files = ('runs/train.gin', f'stages/{name}.gin')
    bindings = TINY_STAGES if tiny else ()
    yield *random_stage(rng, files, bindings, search_paths), 0


def random_stage(
  rng: np.random.Generator,
  files: Sequence[str],
  bindings: Sequence[str],
  search_paths: Sequence[str] = ('gin',),
) -> tuple[dict[str, Any], Any]:
  """Description and random parameters of the stage that a recipe trains."""
  from flax import linen as nn
  import jax

  from v2meow_jax import experiments
  from v2meow_jax.inference import restore

  model = experiments.load_model(files, bindings, search_paths)
  description = restore.released(model.describe())
  model = restore.build_model(description)
  shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_batch(1))
  params = jax.tree.map(
    lambda leaf: (
      rng.standard_normal(leaf.shape, np.float32) * np.float32(0.02)
    ).astype(np.float16),
    nn.unbox(shapes['params']),
  )
  return description, params


def write_system(folder: pathlib.Path, tiny: bool) -> pathlib.Path:
  """Weights and a system that names them: the system's folder."""
  from v2meow_jax.inference import export

  parts = write_networks(folder, tiny)
  return export.pack(
    str(folder / 'system'),
    stages=random_stages(tiny),
    parts=parts,
    name='random weights',
    weights='float16',
    licence='random numbers',
  )
