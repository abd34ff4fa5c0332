"""Joint embeddings of text and music, as networks of the metrics.

The one of the embedded system hears without a download and on any machine. It
is this project's own: compare checkpoints with it, and nothing with published
figures. The others are published.
"""

from __future__ import annotations

import dataclasses
import pathlib

from jaxtyping import Float
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor as extractor_lib
from v2meow_jax.extractors import text_music
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.files import atomic
from v2meow_jax.pretrained import network

_WINDOW_SECONDS = 10.0  # As `features.segments`, which it was trained on.


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractorNetwork:
  """A static extractor (one vector a clip) that listens window by window.

  Attributes:
    name: For reports.
    sample_rate_hz: That the extractor wants.
    digest: Of its weights.
    extractor: Its stream has `rate_hz=0`.
    window_seconds: That a row is of; see `network.windows`.
    text_extractor: Of the same space; its stream has `rate_hz=0` too.
  """

  name: str
  sample_rate_hz: int
  digest: str
  extractor: extractor_lib.Extractor
  window_seconds: float
  text_extractor: extractor_lib.Extractor
  output: network.Output = dataclasses.field(default='embedding', init=False)

  @property
  def dim(self) -> int:
    """Of the stream."""
    return self.extractor.stream.dim

  def __call__(self, audio: media.Audio) -> Float[np.ndarray, 'rows dim']:
    """See `network.Network`."""
    rate_hz = self.sample_rate_hz
    samples = network.samples_at(audio, rate_hz)
    rows = [
      self.extractor(media.Audio(samples=window, rate_hz=rate_hz))
      for window in network.windows(
        samples, round(self.window_seconds * rate_hz)
      )
    ]
    return network.checked(self, np.concatenate(rows))

  def embed_text(self, text: str) -> Float[np.ndarray, 'dim']:
    """See `network.JointNetwork`."""
    return network.checked(self, self.text_extractor(text))[0]


def load_published(name: str, path: pathlib.Path) -> ExtractorNetwork:
  """A published joint embedding.

  Args:
    name: `clap-music`, `musiccoca` or `muq-mulan`.
    path: File or folder of its weights.

  Returns:
    The network.

  Raises:
    ValueError, FileNotFoundError, ImportError: See its module in `features`.
  """
  from v2meow_jax.pretrained import hub
  from v2meow_jax.pretrained.text_music import clap
  from v2meow_jax.pretrained.text_music import muq_mulan
  from v2meow_jax.pretrained.text_music import musiccoca

  kinds = {
    'clap-music': clap.Clap,
    'musiccoca': musiccoca.MusicCoCa,
    'muq-mulan': muq_mulan.MuQMuLan,
  }
  joint = kinds[name](hub.folder_of(path))
  stream = specs.FeatureSpec(name='style', dim=joint.dim, rate_hz=0.0)
  pair = text_music.extractors(stream, joint)
  return ExtractorNetwork(
    name=name,
    sample_rate_hz=joint.sample_rate_hz,
    digest=atomic.sha256(path),
    extractor=pair['style'],
    window_seconds=_WINDOW_SECONDS,
    text_extractor=pair['style_text'],
  )


def load(name: str, path: pathlib.Path | None) -> ExtractorNetwork:
  """The style embedding of a system.

  Args:
    name: `tiny-style`.
    path: Folder of another system, which then names the network; None: the
      embedded one.

  Returns:
    The network.

  Raises:
    weights_io.DamagedSystem: The folder is no whole system.
  """
  from v2meow_jax.inference import system

  loaded = system.load(path)
  return ExtractorNetwork(
    name=f'{loaded.config["name"]}-style' if path else name,
    sample_rate_hz=style_features.SAMPLE_RATE_HZ,
    digest=loaded.digest,
    extractor=loaded.extractors['style'],
    window_seconds=_WINDOW_SECONDS,
    text_extractor=loaded.extractors['style_text'],
  )
