"""LAION-CLAP as a joint embedding of text and music, run by transformers.

Wu et al. 2023 (https://arxiv.org/abs/2211.06687): maps audio at 48 kHz in
segments of 10 s, and text, to 512 numbers each. Its weights for music are
https://huggingface.co/laion/larger_clap_music.
"""

from collections.abc import Sequence
import os
from typing import Any

import numpy as np

from v2meow_jax.pretrained import hub
from v2meow_jax.pretrained.audio import torch_encoder
from v2meow_jax.pretrained.text_music import segments

# Counts of positions and of batches.
_COMPUTED = (
  'position_ids',
  'token_type_ids',
  'relative_position_index',
  'num_batches_tracked',
)


class Clap:
  """The towers and projections of a `ClapModel`.

  The feature extractor gets segments of exactly 10 s, so that it never crops
  longer audio at random.

  Attributes:
    dim: Width of the joint space.
    sample_rate_hz: Sample rate of its waveforms, in Hz.
  """

  def __init__(self, source: str | os.PathLike, device: str = 'cpu'):
    """Reads a model and its processor.

    Args:
      source: Folder that has the published files, with safetensors; or one of
        those files; or the name of a repository in the cache of the Hugging
        Face hub.
      device: Device that PyTorch runs on.

    Raises:
      ImportError: PyTorch or transformers is missing.
      FileNotFoundError: The files are not there; says how to get them.
      ValueError: They are of another network; names what differs.
    """
    transformers = hub.import_library('transformers')
    self._torch = hub.import_library('torch')
    source = hub.folder_of(source)
    self._model = _read(transformers, source).to(device)
    self._processor: Any = hub.load_files(transformers.ClapProcessor, source)
    self._device = device
    config = self._model.config
    audio = self._processor.feature_extractor
    if config.audio_config.enable_fusion or audio.truncation == 'fusion':
      raise ValueError(
        f'{source} fuses a long recording with random crops of it, which gives'
        ' another vector every time; use one without, laion/larger_clap_music.'
      )
    if audio.max_length_s != segments.SECONDS:
      raise ValueError(
        f'{source} takes {audio.max_length_s} s; wanted {segments.SECONDS:g} s.'
      )
    self.dim = config.projection_dim
    self.sample_rate_hz = audio.sampling_rate
    # Positions of RoBERTa begin after the padding id.
    text = config.text_config
    self._max_tokens = text.max_position_embeddings - text.pad_token_id - 1

  def embed_music(self, waveforms: np.ndarray) -> np.ndarray:
    """float32[b, 10 * sample_rate_hz] -> float32[b, dim], unit rows."""
    inputs = self._processor.feature_extractor(
      list(waveforms), sampling_rate=self.sample_rate_hz, return_tensors='pt'
    )
    return self._run(
      self._model.get_audio_features, input_features=inputs['input_features']
    )

  def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
    """b texts -> float32[b, dim], unit rows; long texts are cut."""
    inputs = self._processor.tokenizer(
      list(texts),
      padding=True,
      truncation=True,
      max_length=self._max_tokens,
      return_tensors='pt',
    )
    return self._run(
      self._model.get_text_features,
      input_ids=inputs['input_ids'],
      attention_mask=inputs['attention_mask'],
    )

  def _run(self, network, **inputs) -> np.ndarray:
    with self._torch.inference_mode():
      inputs = {name: x.to(self._device) for name, x in inputs.items()}
      return network(**inputs).pooler_output.cpu().numpy()


def _read(transformers: Any, source: str | os.PathLike) -> Any:
  config = hub.load_files(transformers.ClapConfig, source)
  model = transformers.ClapModel(config)
  torch_encoder.read_weights(model, hub.find_weights(source), _COMPUTED)
  return model.eval()
