"""Networks of `gin/prepare/pictures.gin`, tiny and random, in published files.

Streams and rates are those of the full size.
"""

import dataclasses
import math
import pathlib

from flax import serialization
from flax import traverse_util
import numpy as np
from safetensors import numpy as st

from tests.fakes import clap_files
from tests.fakes import random_system
from tests.fakes import tiny_networks
from tests.fakes import torch_vision
from v2meow_jax import stages
from v2meow_jax.pretrained.vision import i3d

# Bindings of stages that a test can afford to train: crops of two seconds, and
# nothing of what is half the time of a compilation.
COMPILED_AT_ONCE = (
  'DROPOUT_RATE = 0.0',
  "DTYPE = 'float32'",
  'REMAT = False',
  'SCAN_LAYERS = False',
  'FUSED_ATTENTION = False',
)
STAGES = (
  *random_system.TINY_STAGES,
  'stages.semantic.crop_seconds = 2.0',
  'stages.coarse.crop_seconds = 2.0',
  'stages.fine.crop_seconds = 1.0',
  'PREFIX_SHARE = 0.0',
)


def write(folder: pathlib.Path, **settings: dict[str, object]) -> pathlib.Path:
  """Writes the files of all networks, and a recipe that binds them.

  Args:
    folder: Empty folder.
    **settings: Settings of a part in place of those here, by its scope.

  Returns:
    Path of the recipe, to read after one of `gin/prepare`.
  """
  random_system.write_networks(folder, tiny=True)
  write_clap(folder / 'clap')
  pictures = _write_pictures(folder)
  every = {
    'clip': {'config': random_system.TINY_CLIP, 'batch_size': 64},
    'flow': {
      'config': random_system.TINY_I3D,
      'estimator': 'dis',
      'num_flows': i3d.MIN_FRAMES,
      'batch_size': 8,
    },
    'semantic': random_system.write_musicfm(folder / 'musicfm'),
    'style': {},
    'acoustic': {'config': random_system.TINY_DAC},
    **pictures,
    **settings,
  }
  weights = {
    'CLIP_WEIGHTS': 'clip',
    'FLOW_WEIGHTS': 'flow/flow_imagenet.safetensors',
    'SEMANTIC_WEIGHTS': 'musicfm/pretrained_fma.safetensors',
    'STYLE_WEIGHTS': 'clap',
    'CODEC_WEIGHTS': 'dac',
    'VIT_VQGAN_WEIGHTS': 'vit_vqgan.safetensors',
    'MASKGIT_VQGAN_WEIGHTS': 'tokenizer_imagenet256_checkpoint',
  }
  lines = [
    'from __gin__ import dynamic_registration',
    'from v2meow_jax import parts',
    *(f'{name}/parts.Part.settings = {s}' for name, s in every.items()),
    *(f"{name} = '{folder / file}'" for name, file in weights.items()),
  ]
  path = folder / 'tiny.gin'
  path.write_text('\n'.join(lines) + '\n')
  return path


def write_clap(folder: pathlib.Path) -> None:
  """A tiny model of the published width, and its processor."""
  import transformers

  sizes = {'projection_dim': 512, 'hidden_size': 16}
  layers = {'num_hidden_layers': 1, 'num_attention_heads': 2}
  text = {'vocab_size': 300, 'intermediate_size': 24, **sizes, **layers}
  audio = {'window_size': 4, 'patch_embeds_hidden_size': 8, **sizes}
  audio |= {'hidden_size': 64, 'depths': [1, 1, 1, 1]}
  audio |= {'num_attention_heads': [1, 1, 2, 2]}
  config = transformers.ClapConfig(
    text_config=text, audio_config=audio, projection_dim=512
  )
  transformers.ClapModel(config).save_pretrained(folder)
  processor = transformers.ClapFeatureExtractor(truncation='rand_trunc')
  processor.save_pretrained(folder)
  clap_files.write_tokenizer(folder)


def _write_pictures(folder: pathlib.Path) -> dict[str, dict[str, object]]:
  """Files and settings of both tokenizers, whose patches are a few pixels."""

  def sizes(name, config, pixels):
    stream = stages.PAPER[name]
    return dataclasses.replace(
      config,
      image_size=pixels * math.isqrt(stream.num_positions),
      codebook_size=stream.codebook_size,
    )

  one = dataclasses.replace(tiny_networks.VIT_VQGAN, patch_size=1)
  vit = sizes('vit_vqgan', one, 1)
  st.save_file(
    {
      name: np.asarray(array, np.float32)
      for name, array in torch_vision.vit_vqgan_state(vit).items()
    },
    folder / 'vit_vqgan.safetensors',
  )
  maskgit = sizes('maskgit_vqgan', tiny_networks.VQGAN, 4)
  state = torch_vision.vqgan_state(maskgit)
  nested = traverse_util.unflatten_dict(state, sep='/')
  (folder / 'tokenizer_imagenet256_checkpoint').write_bytes(
    serialization.msgpack_serialize(nested)
  )
  return {
    'vit_vqgan': {'config': dataclasses.asdict(vit)},
    'maskgit_vqgan': {'config': dataclasses.asdict(maskgit)},
  }
