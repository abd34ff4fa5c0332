"""w2v-BERT 2.0 (Barrault et al. 2023, https://arxiv.org/abs/2312.05187).

The published relative of the paper's own semantic network: a Conformer of 24
layers at 50 Hz, trained on speech (https://huggingface.co/facebook/
w2v-bert-2.0, MIT), run by PyTorch.
"""

import os

from v2meow_jax.pretrained import hub
from v2meow_jax.pretrained.audio import semantic_encoder
from v2meow_jax.pretrained.audio import torch_encoder

SOURCE = 'facebook/w2v-bert-2.0'
# Frames of Mel bands, which are taken in pairs.
_HOP_SAMPLES = 160
_WINDOW_SAMPLES = 400

# ours: 5 s are 250 frames; memory grows with the square of a stretch.
STRETCHES = semantic_encoder.Stretches(seconds=30.0, context_seconds=5.0)


def load(
  path: str | os.PathLike,
  *,
  layer: int = 17,
  pool: int = 2,
  stretches: semantic_encoder.Stretches = STRETCHES,
) -> torch_encoder.TorchEncoder:
  """Loads w2v-BERT 2.0 as a semantic encoder at 16 kHz.

  Args:
    path: Folder with `torch_encoder.FILES` of the repository, or the
      model.safetensors in it.
    layer: Layer whose output is returned, 1 to 24; 0 is the input of the first.
      ours: 17, which MaskGCT (https://arxiv.org/abs/2409.00750) makes its
      tokens of.
    pool: Number of frames of 50 Hz to average. ours: 2, for the paper's 25 Hz.
    stretches: Stretches to cut long audio into. Each Mel band is standardised
      over a stretch.

  Returns:
    The encoder.

  Raises:
    ImportError: PyTorch or transformers are not installed.
    FileNotFoundError: A file is missing; says where to get it.
    ValueError: A file is damaged or of another network; names what differs.
  """
  transformers = hub.import_library('transformers')
  folder = torch_encoder.find(path, SOURCE)
  settings = torch_encoder.read_json(
    folder / torch_encoder.CONFIG, {'model_type': ['wav2vec2-bert']}
  )
  config = transformers.Wav2Vec2BertConfig.from_dict(
    settings | {'mask_time_prob': 0.0, 'mask_feature_prob': 0.0}
  )
  audio = torch_encoder.read_json(
    folder / torch_encoder.AUDIO,
    {'feature_extractor_type': ['SeamlessM4TFeatureExtractor']},
  )
  extract = transformers.SeamlessM4TFeatureExtractor.from_dict(audio)
  network = transformers.Wav2Vec2BertModel(config)
  torch_encoder.read_weights(network, folder / torch_encoder.WEIGHTS)
  hop_samples = _HOP_SAMPLES * extract.stride
  return torch_encoder.TorchEncoder(
    network,
    extract,
    layer=layer,
    hop_samples=hop_samples,
    reach_samples=hop_samples - _HOP_SAMPLES + _WINDOW_SAMPLES,
    pool=pool,
    stretches=stretches,
  )
