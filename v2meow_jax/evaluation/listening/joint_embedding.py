"""Makes networks of the metrics from joint embeddings of text and music."""

from collections.abc import Callable
import dataclasses
import pathlib

from jaxtyping import Float
import numpy as np

from v2meow_jax import media
from v2meow_jax import parts
from v2meow_jax import specs
from v2meow_jax.files import atomic
from v2meow_jax.pretrained import network

_WINDOW_SECONDS = 10.0  # As in `text_music.segments`, as they were trained.


@dataclasses.dataclass(frozen=True, kw_only=True)
class JointEmbedding:
  """A `network.JointNetwork` that embeds windows of 10 s, a row each.

  Attributes:
    name: Name in reports.
    sample_rate_hz: Sample rate of the extractor, in Hz.
    digest: Digest of the weights.
    dim: Width of the embedding.
    embed: Extractor of music, to float32[1, dim].
    embed_words: Extractor of text, to float32[1, dim].
  """

  name: str
  sample_rate_hz: int
  digest: str
  dim: int
  embed: Callable[[media.Audio], np.ndarray]
  embed_words: Callable[[str], np.ndarray]
  output: network.Output = dataclasses.field(default='embedding', init=False)

  def __call__(self, audio: media.Audio) -> Float[np.ndarray, 'rows dim']:
    """Embeds each window; see `network.AudioNetwork`."""
    rate_hz = self.sample_rate_hz
    samples = network.samples_at(audio, rate_hz)
    rows = [
      self.embed(media.Audio(samples=window, rate_hz=rate_hz))
      for window in network.windows(samples, round(_WINDOW_SECONDS * rate_hz))
    ]
    return network.checked(self, np.concatenate(rows))

  def embed_text(self, text: str) -> Float[np.ndarray, 'dim']:
    """Embeds a text in the space of the rows."""
    return network.checked(self, self.embed_words(text))[0]


def load(name: str, path: pathlib.Path) -> JointEmbedding:
  """Loads a joint embedding that others trained.

  Args:
    name: Name of its weights in `v2meow weights list`, such as `clap-music`.
    path: File or folder of its weights.

  Returns:
    The network.

  Raises:
    ValueError, FileNotFoundError, ImportError: See `pretrained.text_music`.
  """
  from v2meow_jax.extractors import text_music

  kind = next(k for k, row in parts.KINDS.items() if name in row.artefacts)
  joint = parts.Part(kind=kind, stream='style', weights=str(path)).network()
  stream = specs.FeatureSpec(name='style', dim=joint.dim, rate_hz=0.0)
  extractors = text_music.extractors(stream, joint)
  return JointEmbedding(
    name=name,
    sample_rate_hz=joint.sample_rate_hz,
    digest=atomic.sha256(path),
    dim=joint.dim,
    embed=extractors['style'],
    embed_words=extractors['style_text'],
  )
