"""Runs networks of transformers as semantic encoders, in PyTorch.

`w2v_bert` and `mert` are two. Configuration and audio settings are read from
json, weights from safetensors. No code of a repository is run, and nothing is
downloaded.

PyTorch and transformers are the extra `hub`.
"""

from collections.abc import Collection
from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

import numpy as np

from v2meow_jax import media
from v2meow_jax.pretrained import hub
from v2meow_jax.pretrained.audio import semantic_encoder

WEIGHTS, CONFIG, AUDIO = FILES = (
  hub.WEIGHTS,
  'config.json',
  'preprocessor_config.json',
)
# Masks frames in training; in the files of all these networks.
_UNUSED = 'masked_spec_embed'
# Weight normalisation, as files and as newer versions of PyTorch name it.
_FACTORS = {
  'weight_g': 'parametrizations.weight.original0',
  'weight_v': 'parametrizations.weight.original1',
}


class TorchEncoder:
  """One hidden state of a network of transformers: a `SemanticEncoder`.

  A stretch is padded with silence on both sides, so that every frame is
  complete and centred on the middle of its time. Neighbouring frames are
  averaged down to the wanted rate.

  Attributes:
    sample_rate_hz: Sample rate of the network, in Hz.
    rate_hz: Averaged frames a second.
    dim: Width of the network.
    layer: Number of layers before the hidden state.
  """

  def __init__(
    self,
    network: Any,
    extract: Any,
    *,
    layer: int,
    hop_samples: int,
    reach_samples: int,
    pool: int,
    stretches: semantic_encoder.Stretches,
  ):
    """Drops the layers that are not needed, and puts the rest on the device.

    Args:
      network: Model of transformers whose `encoder.layers` are a list.
      extract: Feature extractor of the network.
      layer: Layer whose output is returned, from 1; 0 is the input of the
        first.
      hop_samples: Samples from frame to frame of the network.
      reach_samples: Samples under one frame of its first layers.
      pool: Number of neighbouring frames to average, >= 1.
      stretches: Stretches to cut long audio into.

    Raises:
      ValueError: There is no such layer, or `pool` is less than 1.
    """
    layers = network.encoder.layers
    if not 0 <= layer <= len(layers):
      raise ValueError(f'layer is {layer}; the network has 0 to {len(layers)}.')
    if pool < 1:
      raise ValueError(f'pool is {pool}; wanted at least 1.')
    torch = hub.import_library('torch')
    self.sample_rate_hz = extract.sampling_rate
    self.rate_hz = self.sample_rate_hz / (hop_samples * pool)
    self.dim = network.config.hidden_size
    self.layer = layer
    # The next one stays, because the network normalises the output of its last.
    del layers[layer + 1 :]
    self._device = 'cuda' if torch.cuda.is_available() else 'cpu'
    self._network = network.eval().to(self._device)
    self._extract = extract
    self._pool = pool
    self._silence = divmod(reach_samples - hop_samples, 2)
    self._stretches = stretches

  def __call__(self, audio: media.Audio) -> np.ndarray:
    """float32[frames, dim]."""
    return semantic_encoder.in_stretches(
      self, self._run, audio, self._stretches
    )

  def _run(self, samples: np.ndarray) -> np.ndarray:
    torch = hub.import_library('torch')
    half, rest = self._silence
    inputs = self._extract(
      np.pad(samples, (half, half + rest)),
      sampling_rate=self.sample_rate_hz,
      return_tensors='pt',
    )
    values = inputs[self._network.main_input_name].to(self._device)
    exact = torch.backends.cudnn.flags(
      enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with torch.inference_mode(), exact:
      states = self._network(values, output_hidden_states=True).hidden_states
    frames = states[self.layer][0].cpu().numpy()
    return frames.reshape(-1, self._pool, self.dim).mean(1)


def find(path: str | os.PathLike, source: str) -> pathlib.Path:
  """The folder with the three `FILES` of a repository.

  Args:
    path: Folder, or `model.safetensors` in it.
    source: Repository of the Hugging Face hub that publishes them.

  Returns:
    The folder.

  Raises:
    FileNotFoundError: A file is missing; says where to get it.
  """
  folder = pathlib.Path(path)
  folder = folder.parent if folder.name == WEIGHTS else folder
  for name in FILES:
    if not (folder / name).is_file():
      raise FileNotFoundError(
        f'there is no {folder / name}; download'
        f' https://huggingface.co/{source}/resolve/main/{name} and put it'
        f' there, beside the others of {", ".join(FILES)}.'
      )
  return folder


def read_json(
  file: pathlib.Path, wanted: Mapping[str, Collection[Any]]
) -> dict:
  """Reads a json object of settings.

  Args:
    file: Json file of settings.
    wanted: Supported values of each setting; the first holds when it is not
      stated.

  Returns:
    The settings.

  Raises:
    ValueError: The file is damaged, or a setting is another; names it.
  """
  try:
    settings = json.loads(file.read_bytes())
  except ValueError as e:
    raise ValueError(f'{file} is damaged or no json: {e}.') from e
  if not isinstance(settings, dict):
    raise ValueError(f'{file} is no object of settings.')
  for name, values in wanted.items():
    value = settings.get(name, next(iter(values)))
    if value not in values:
      few = ' or '.join(repr(v) for v in values)
      raise ValueError(f'{file} has {name} {value!r}; wanted {few}.')
  return settings


def read_weights(
  network: Any, file: pathlib.Path, computed: Collection[str] = ()
) -> None:
  """Puts the tensors of a safetensors file into a network.

  Args:
    network: Model of transformers to change.
    file: File with each of its tensors and no other, in any float type.
    computed: Last parts of the names of tensors that follow from the
      configuration and are ignored in a file.

  Raises:
    ValueError: The file is damaged, lacks a tensor, or has one too many or of
      another shape; names it.
  """

  def needed(tensors):
    left_out = {_UNUSED, *computed}
    return {
      name: x
      for name, x in tensors.items()
      if name.rpartition('.')[2] not in left_out
    }

  tensors = needed(hub.load_tensors(file))
  everything = network.state_dict()
  wanted = needed(everything)
  state = {}
  for name, tensor in tensors.items():
    module, _, leaf = name.rpartition('.')
    newer = f'{module}.{_FACTORS.get(leaf, leaf)}'
    key = newer if newer in wanted else name
    if key not in wanted:
      raise ValueError(
        f'{file} has {name!r} of shape {list(tensor.shape)}, which'
        f' {type(network).__name__} of its config.json has not.'
      )
    if tensor.shape != wanted[key].shape or not tensor.is_floating_point():
      raise ValueError(
        f'{file} has {name!r} as {tensor.dtype} of shape {list(tensor.shape)};'
        f' wanted floats of shape {list(wanted[key].shape)}.'
      )
    state[key] = tensor.float()
  for key in wanted.keys() - state.keys():
    raise ValueError(
      f'{file} lacks {key!r}, wanted as floats of shape'
      f' {list(wanted[key].shape)}.'
    )
  network.load_state_dict(everything | state, assign=True)
