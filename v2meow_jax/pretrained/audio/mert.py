"""MERT v1 (Li et al. 2023, https://arxiv.org/abs/2306.00107): HuBERT on music.

https://huggingface.co/m-a-p/MERT-v1-95M and MERT-v1-330M, at 75 Hz and for
non-commercial use, run by PyTorch as transformers' HubertModel. The code in
their repositories is not run: it only adds a constant-Q transform and deep
normalisation (`modeling_MERT.py` there), which are refused here.
"""

import os

from v2meow_jax.pretrained import hub
from v2meow_jax.pretrained.audio import semantic_encoder
from v2meow_jax.pretrained.audio import torch_encoder

SOURCE = 'm-a-p/MERT-v1-95M'
# Settings that HubertModel supports. `attention_relax` does not matter: only
# deepnorm uses it, and a softmax undoes its effect on the logits.
_SUPPORTED = {
  'model_type': ['mert_model', 'hubert'],
  'feature_extractor_cqt': [False],
  'deepnorm': [False],
}

# ours: the network was trained on 5 s.
STRETCHES = semantic_encoder.Stretches(seconds=5.0, context_seconds=1.0)


def load(
  path: str | os.PathLike,
  *,
  layer: int = 7,
  pool: int = 3,
  stretches: semantic_encoder.Stretches = STRETCHES,
) -> torch_encoder.TorchEncoder:
  """Loads MERT as a semantic encoder at 24 kHz.

  Args:
    path: Folder with `torch_encoder.FILES` of a repository, or the
      model.safetensors in it.
    layer: Layer whose output is returned, 1 to 12 or 24; 0 is the input of the
      first. ours: 7, as Open MusicLM (https://github.com/zhvng/open-musiclm).
    pool: Number of frames of 75 Hz to average. ours: 3, for the paper's 25 Hz.
    stretches: Stretches to cut long audio into. Each is scaled to unit variance
      when the repository's settings say so.

  Returns:
    The encoder.

  Raises:
    ImportError: PyTorch or transformers are not installed.
    FileNotFoundError: A file is missing; says where to get it.
    ValueError: A file is damaged or of another network; names what differs.
  """
  transformers = hub.import_library('transformers')
  folder = torch_encoder.find(path, SOURCE)
  settings = torch_encoder.read_json(folder / torch_encoder.CONFIG, _SUPPORTED)
  known = transformers.HubertConfig().to_dict().keys() & settings.keys()
  config = transformers.HubertConfig.from_dict(
    {name: settings[name] for name in known - {'model_type', 'architectures'}}
    | {'mask_time_prob': 0.0, 'mask_feature_prob': 0.0}
  )
  audio = torch_encoder.read_json(
    folder / torch_encoder.AUDIO,
    {'feature_extractor_type': ['Wav2Vec2FeatureExtractor']},
  )
  network = transformers.HubertModel(config)
  torch_encoder.read_weights(network, folder / torch_encoder.WEIGHTS)
  # Each convolution widens the receptive field by the strides before it.
  reach, hop = 1, 1
  for size, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
    reach += (size - 1) * hop
    hop *= stride
  return torch_encoder.TorchEncoder(
    network,
    transformers.Wav2Vec2FeatureExtractor.from_dict(audio),
    layer=layer,
    hop_samples=hop,
    reach_samples=reach,
    pool=pool,
    stretches=stretches,
  )
