"""Semantic encoders that are networks of transformers, run by PyTorch.

`w2v_bert` and `mert` are two. Their folders are read as data: the configuration
and the settings of the audio from json, the weights from safetensors. No code
of a repository is run, and nothing is downloaded.

PyTorch and transformers are the extra `hub`.
"""

from __future__ import annotations

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
# What masks frames in training, and is in the files of all these networks.
_UNUSED = 'masked_spec_embed'
# Weight normalisation, as files and as newer versions of PyTorch name it.
_FACTORS = {
  'weight_g': 'parametrizations.weight.original0',
  'weight_v': 'parametrizations.weight.original1',
}


class TorchEncoder:
  """One hidden state of a network of transformers: a `SemanticEncoder`.

  The network hears a stretch with silence before and after it, so that every
  frame is complete and is centred on the middle of its time. Neighbouring
  frames are averaged to the wanted rate: to take one of them would leave out
  what the others heard.

  Attributes:
    sample_rate_hz: Of the waveforms that the network hears.
    rate_hz: Of the averaged frames.
    dim: The width of the network.
    layer: After how many of its layers.
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
      network: A model of transformers whose `encoder.layers` are a list.
      extract: Its feature extractor.
      layer: Whose output is given, from 1; 0 is what enters the first.
      hop_samples: From frame to frame of the network.
      reach_samples: That a frame of its first layers covers.
      pool: How many neighbouring frames are averaged, >= 1.
      stretches: How long audio is cut.

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
    # The one after it stays: of the last, the network normalises the output.
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
      self, self._hear, audio, self._stretches
    )

  def _hear(self, samples: np.ndarray) -> np.ndarray:
    torch = hub.import_library('torch')
    half, rest = self._silence
    inputs = self._extract(
      np.pad(samples, (half, half + rest)),
      sampling_rate=self.sample_rate_hz,
      return_tensors='pt',
    )
    heard = inputs[self._network.main_input_name].to(self._device)
    exact = torch.backends.cudnn.flags(
      enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with torch.inference_mode(), exact:
      states = self._network(heard, output_hidden_states=True).hidden_states
    frames = states[self.layer][0].cpu().numpy()
    return frames.reshape(-1, self._pool, self.dim).mean(1)


def find(path: str | os.PathLike, source: str) -> pathlib.Path:
  """The folder with the three `FILES` of a repository.

  Args:
    path: Of the folder, or of the `model.safetensors` in it.
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
  """An object of settings.

  Args:
    file: Of json.
    wanted: Settings that this library can do something with: of each the
      values, the first of which holds when it is not stated.

  Returns:
    The settings.

  Raises:
    ValueError: The file is damaged, or a setting is another; names it.
  """
  try:
    settings = json.loads(file.read_text())
  except ValueError as e:
    raise ValueError(f'{file} is damaged or no json: {e}.') from e
  if not isinstance(settings, dict):
    raise ValueError(f'{file} is no object of settings.')
  for name, values in wanted.items():
    found = settings.get(name, next(iter(values)))
    if found not in values:
      few = ' or '.join(repr(v) for v in values)
      raise ValueError(f'{file} has {name} {found!r}; wanted {few}.')
  return settings


def read_weights(
  network: Any, file: pathlib.Path, computed: Collection[str] = ()
) -> None:
  """Puts the tensors of a safetensors file into a network.

  Args:
    network: A model of transformers, which is changed.
    file: Must hold each of its tensors and no other, in any float type.
    computed: Last parts of the names of tensors that a configuration
      determines: in a file they count for nothing.

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
