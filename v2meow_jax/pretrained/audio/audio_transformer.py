"""AST (Gong et al. 2021, https://arxiv.org/abs/2104.01778): AudioSet classes.

The classifier for the Kullback-Leibler divergence and the inception score, run
by transformers. V2Meow's own, on a LEAF front end, was not released.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from jaxtyping import Float
import numpy as np
import safetensors

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.pretrained import hub
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import network

_FILE = 'model.safetensors'
_NUM_CLASSES = 527  # In AudioSet; a config.json may differ.
_HOP_SECONDS = 0.01  # Between frames of the spectrogram.
_FRAME_SECONDS = 0.025


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioTransformer:
  """Classifies windows of 10.24 s, one row each; see `network.windows`.

  A shorter window is filled up with zero frames, as the network was trained.
  AST was trained with a sigmoid for each class. AudioGen's divergence takes a
  softmax of the same logits, which is a distribution; see `output`.

  Attributes:
    name: Name of the network in reports.
    output: Meaning of a row: softmax over all classes, or a sigmoid of each.
    digest: SHA-256 of the weights.
    model: An `ASTForAudioClassification`.
    extractor: An `ASTFeatureExtractor`.
  """

  name: str
  output: network.Output
  digest: str
  model: Any
  extractor: Any

  @property
  def sample_rate_hz(self) -> int:
    """Sample rate of the feature extractor, in Hz."""
    return self.extractor.sampling_rate

  @property
  def dim(self) -> int:
    """Number of classes."""
    return self.model.config.num_labels

  def __call__(self, audio: media.Audio) -> Float[np.ndarray, 'rows dim']:
    """Rows of a clip of at least 25 ms."""
    rate_hz = self.sample_rate_hz
    samples = network.samples_at(
      audio, rate_hz, round(_FRAME_SECONDS * rate_hz)
    )
    hop_samples = round(_HOP_SECONDS * rate_hz)
    windows = network.windows(samples, self.extractor.max_length * hop_samples)
    return network.checked(self, np.stack([self._classify(w) for w in windows]))

  def _classify(self, window: np.ndarray) -> np.ndarray:
    import torch

    inputs = self.extractor(
      window, sampling_rate=self.sample_rate_hz, return_tensors='pt'
    )
    with torch.inference_mode():
      logits = self.model(**inputs).logits[0].double()
      if self.output == 'sigmoid':
        return torch.sigmoid(logits).numpy()
      return torch.softmax(logits, -1).numpy()


def load(name: str, path: pathlib.Path) -> AudioTransformer:
  """Loads the classifier from a folder, or from `model.safetensors` in it.

  Configurations beside the file are read; without them the network is the
  published MIT/ast-finetuned-audioset-10-10-0.4593.

  Args:
    name: `ast-softmax` or `ast-sigmoid`.
    path: Folder, or `model.safetensors` in it.

  Returns:
    The classifier.

  Raises:
    ValueError: The weights are not those of the configured network; names what
      differs.
  """
  transformers = hub.import_library('transformers')

  folder = path if path.is_dir() else path.parent
  file = folder / _FILE
  if not file.is_file():
    raise ValueError(f'{file} is not there; wanted the weights of {name}.')
  config_class = transformers.ASTConfig
  extractor_class = transformers.ASTFeatureExtractor
  if (folder / 'config.json').is_file():
    config = config_class.from_pretrained(folder, local_files_only=True)
  else:
    config = config_class()
    config.num_labels = _NUM_CLASSES
  extractor = (
    extractor_class.from_pretrained(folder, local_files_only=True)
    if (folder / 'preprocessor_config.json').is_file()
    else extractor_class()
  )
  try:
    # Classes by name and safetensors: nothing in the folder is run.
    model, info = transformers.ASTForAudioClassification.from_pretrained(
      folder,
      config=config,
      use_safetensors=True,
      local_files_only=True,
      dtype='float32',
      output_loading_info=True,
      # `_check` names them instead.
      ignore_mismatched_sizes=True,
    )
  except (OSError, RuntimeError, ValueError, safetensors.SafetensorError) as e:
    raise ValueError(f'{file} cannot be read as AST: {e}') from e
  _check(file, info, model.state_dict())
  return AudioTransformer(
    name=name,
    output='sigmoid' if name.endswith('sigmoid') else 'softmax',
    digest=atomic.sha256(file),
    model=model.eval(),
    extractor=extractor,
  )


def _check(
  file: pathlib.Path, info: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
  """Raises ValueError for tensors that transformers would draw at random."""
  wrong = [
    f'lacks {name!r}, wanted as floats of shape {list(wanted[name].shape)}'
    for name in sorted(info['missing_keys'])
  ]
  wrong += [
    f'has {name!r} of shape {list(shape)}, wanted {list(expected)}'
    for name, shape, expected in sorted(info['mismatched_keys'])
  ]
  wrong += [
    f'has {name!r}, which the network has not'
    for name in sorted(info['unexpected_keys'])
  ]
  if wrong:
    page = ledger.find('ast-audioset').page
    raise ValueError(
      f'{file} {wrong[0]}; {len(wrong)} of its tensors are not those of an'
      f' ASTForAudioClassification of its config.json: get {page} again.'
    )
