"""Joint embeddings of text and music: each from its file, both its extractors."""

from __future__ import annotations

import os

from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import text_music
from v2meow_jax.inference import towers
from v2meow_jax.pretrained import hub
from v2meow_jax.pretrained.text_music import clap
from v2meow_jax.pretrained.text_music import muq_mulan
from v2meow_jax.pretrained.text_music import musiccoca

Extractors = dict[str, extractor.Extractor]


def clap_embedding(
  stream: specs.FeatureSpec, file: os.PathLike, *, device: str = 'cpu'
) -> Extractors:
  """LAION-CLAP, on a device of PyTorch."""
  network = clap.Clap(hub.folder_of(file), device)
  return text_music.extractors(stream, network)


def musiccoca_embedding(
  stream: specs.FeatureSpec, file: os.PathLike
) -> Extractors:
  """MusicCoCa of Magenta RealTime."""
  return text_music.extractors(stream, musiccoca.MusicCoCa(file))


def muq_mulan_embedding(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  muq: str | None = None,
  text: str | None = None,
) -> Extractors:
  """MuQ-MuLan; `muq` and `text` are folders of the networks it is made of."""
  network = muq_mulan.MuQMuLan(file, muq=muq, text=text)
  return text_music.extractors(stream, network)


def towers_embedding(
  stream: specs.FeatureSpec, file: os.PathLike
) -> Extractors:
  """Towers that were trained here and frozen into a folder."""
  return text_music.extractors(stream, towers.load(os.fspath(file)))
