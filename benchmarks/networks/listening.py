"""Networks that listen: MusicFM, those of the metrics, and two that torch runs.

Sound goes in where it can; VGGish and CNN14 are given their log-mel bands,
which numpy makes of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.networks import sides
from tests.fakes import torch_audio
from tests.fakes import torch_musicfm
from tests.fakes import torch_runner
from v2meow_jax.pretrained import hub


def musicfm_states(tiny: bool) -> sides.Sides:
  """MusicFM, all layers; the reference's Conformer is that of transformers."""
  from v2meow_jax import media
  from v2meow_jax.pretrained.audio import conformer
  from v2meow_jax.pretrained.audio import musicfm

  config = musicfm.PUBLISHED
  if tiny:
    config = musicfm.MusicFMConfig(
      num_bands=16,
      conv_channels=6,
      conformer=conformer.ConformerConfig(
        emb_dim=24, num_layers=3, num_heads=2, mlp_dim=40, kernel_size=7
      ),
    )
  seconds = 0.4 if tiny else 10.0
  samples = _noise(seconds, musicfm.SAMPLE_RATE_HZ)
  network = musicfm.MusicFM(config, config.conformer.num_layers)
  params = sides.parameters(network, samples[None, : musicfm.WINDOW_SAMPLES])
  encoder = musicfm.MusicFMEncoder(network, params)
  audio = media.Audio(samples=samples, rate_hz=musicfm.SAMPLE_RATE_HZ)

  def reference(device):
    state = torch_musicfm.musicfm_state(config)
    run = torch_musicfm.prepared(state, config, device)
    return lambda: run(samples)

  return sides.Sides(
    amount=seconds,
    unit='s',
    ours=lambda: encoder(audio),
    num_parameters=sides.count(params),
    reference=reference,
  )


def vggish_embedding(tiny: bool) -> sides.Sides:
  """VGGish's examples of ten seconds."""
  import jax

  from v2meow_jax.pretrained.audio import vggish
  from v2meow_jax.pretrained.audio import vggish_input
  from v2meow_jax.pretrained.audio import vggish_weights

  config = vggish_weights.PUBLISHED
  if tiny:
    config = vggish_weights.VggishConfig(
      channels=((2,), (3,), (4, 5), (3, 4)), hidden=(12, 9), dim=8
    )
  samples = _noise(10.0, vggish_input.SAMPLE_RATE_HZ)
  examples = vggish_input.log_mel(vggish_input.cut(samples)).astype(np.float32)
  params = jax.device_put(sides.parameters(vggish.Body(config), examples))

  def reference(device):
    state = torch_audio.vggish_state(config)
    run = torch_runner.prepared(torch_audio.vggish, state, config, device)
    return lambda: run(examples)

  return sides.Sides(
    amount=10.0,
    unit='s',
    ours=lambda: np.asarray(vggish.embed(config, params, examples)),
    num_parameters=sides.count(params),
    reference=reference,
  )


def panns_classes(tiny: bool) -> sides.Sides:
  """CNN14's window of ten seconds."""
  import jax

  from v2meow_jax.pretrained.audio import panns

  config = panns.PUBLISHED
  if tiny:
    config = panns.Cnn14Config(channels=(3, 4, 5, 4, 6, 8), num_classes=7)
  # A frame each 10 ms, and one more.
  bands = 60 * sides.random((1, 1001, panns.NUM_BANDS)) - 60
  params = jax.device_put(sides.parameters(panns.Cnn14(config), bands))

  def reference(device):
    state = torch_audio.panns_state(config)
    run = torch_runner.prepared(torch_audio.panns, state, config, device)
    return lambda: run(bands)

  return sides.Sides(
    amount=10.0,
    unit='s',
    ours=lambda: [np.asarray(x) for x in panns.apply(config, params, bands)],
    num_parameters=sides.count(params),
    reference=reference,
  )


def w2v_bert_states(tiny: bool) -> sides.Sides:
  """w2v-BERT 2.0 up to layer 17, as torch runs it."""
  from v2meow_jax.pretrained.audio import w2v_bert

  transformers = hub.import_library('transformers')
  sizes: dict[str, Any] = {'mask_time_prob': 0.0, 'mask_feature_prob': 0.0}
  if tiny:
    sizes |= {
      'hidden_size': 32,
      'intermediate_size': 48,
      'num_attention_heads': 2,
      'num_hidden_layers': 3,
    }
  network = transformers.Wav2Vec2BertModel(
    transformers.Wav2Vec2BertConfig.from_dict(sizes)
  )
  extract = transformers.SeamlessM4TFeatureExtractor(
    feature_size=80, num_mel_bins=80, stride=2, padding_value=1
  )
  return _in_torch(
    network,
    extract,
    layer=2 if tiny else 17,
    hop_samples=320,
    reach_samples=560,
    pool=2,
    stretches=w2v_bert.STRETCHES,
    seconds=1.0 if tiny else 10.0,
  )


def mert_states(large: bool, tiny: bool) -> sides.Sides:
  """MERT up to layer 7, as torch runs it."""
  from v2meow_jax.pretrained.audio import mert

  transformers = hub.import_library('transformers')
  sizes: dict[str, Any] = {'mask_time_prob': 0.0, 'mask_feature_prob': 0.0}
  if large:
    sizes |= {
      'hidden_size': 1024,
      'intermediate_size': 4096,
      'num_attention_heads': 16,
      'num_hidden_layers': 24,
      'do_stable_layer_norm': True,
    }
  if tiny:
    sizes |= {
      'conv_dim': [24] * 7,
      'hidden_size': 32,
      'intermediate_size': 48,
      'num_attention_heads': 2,
      'num_conv_pos_embedding_groups': 4,
      'num_conv_pos_embeddings': 16,
      'num_hidden_layers': 3,
    }
  return _in_torch(
    transformers.HubertModel(transformers.HubertConfig.from_dict(sizes)),
    transformers.Wav2Vec2FeatureExtractor(
      sampling_rate=24_000, do_normalize=True
    ),
    layer=2 if tiny else 7,
    hop_samples=320,
    reach_samples=400,
    pool=3,
    stretches=mert.STRETCHES,
    seconds=1.0 if tiny else 10.0,
  )


def _in_torch(network, extract, *, seconds, **settings) -> sides.Sides:
  """A network of transformers: its own reference, so there is no ratio."""
  from v2meow_jax import media
  from v2meow_jax.pretrained.audio import torch_encoder

  # Before the layers that are not needed are dropped.
  count = sum(p.numel() for p in network.parameters())
  encoder = torch_encoder.TorchEncoder(network, extract, **settings)
  audio = media.Audio(
    samples=_noise(seconds, encoder.sample_rate_hz),
    rate_hz=encoder.sample_rate_hz,
  )
  return sides.Sides(
    amount=seconds,
    unit='s',
    ours=lambda: encoder(audio),
    num_parameters=count,
  )


def _noise(seconds: float, rate_hz: int) -> np.ndarray:
  return 0.2 * sides.random((round(seconds * rate_hz),)) - np.float32(0.1)
