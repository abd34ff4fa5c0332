"""VGGish (Hershey et al. 2017, https://arxiv.org/abs/1609.09430), 0.96 s a row.

The network of the Frechet audio distance. Implementations end it in different
places, so that their distances differ; each ending has a name here:

- `vggish`: the output of the embedding layer, before ReLU and whitening,
  as the hub's google/vggish/1 and the current code of its authors
  (https://github.com/tensorflow/models/tree/master/research/audioset/vggish,
  vggish_export_tfhub.py). V2Meow, MusicLM and MSD report FAD on that one.
- `vggish-relu`: after a ReLU, as torchvggish and the authors' first code.
- `vggish-pca`: `vggish`, whitened and in 8 bits, as the embeddings that came
  with AudioSet. Cut off, not rounded, as the authors do; torchvggish rounds.
"""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
from typing import Any

from flax import linen as nn
import jax
from jaxtyping import Float
import numpy as np

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import network
from v2meow_jax.pretrained import store
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.audio import vggish_input
from v2meow_jax.pretrained.audio import vggish_weights

# ours: examples at once, ten seconds of music; a fixed number, so that a row
# does not depend on the length of its clip.
_BATCH = 10


class Body(nn.Module):
  """The convolutions and the dense layers up to the embedding.

  Attributes:
    config: Sizes.
  """

  config: vggish_weights.VggishConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, 96, 64] -> float32[b, dim], before any activation."""
    x = x[..., None]
    for group in self.config.convolutions:
      for name, _, features in group:
        x = nn.relu(nn.Conv(features, (3, 3), padding='SAME', name=name)(x))
      x = nn.max_pool(x, (2, 2), (2, 2), padding='SAME')
    x = x.reshape(len(x), -1)
    *hidden, last = self.config.dense
    for name, _, features in hidden:
      x = nn.relu(nn.Dense(features, name=name)(x))
    name, _, features = last
    return nn.Dense(features, name=name)(x)


@functools.partial(jax.jit, static_argnums=0)
def embed(
  config: vggish_weights.VggishConfig,
  params: Mapping[str, Any],
  examples: jax.Array,
) -> jax.Array:
  """`Body` of examples, float32[b, 96, 64] -> float32[b, dim]."""
  # In full: accelerators would round the factors of a float32 product.
  with jax.default_matmul_precision('float32'):
    return Body(config).apply({'params': params}, examples)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vggish:
  """VGGish with one of its endings; a row is 0.96 s.

  The last rest of less than 0.975 s is dropped, as by the authors. (MSD pads
  clips to whole seconds, which does not change those of ten seconds.)

  Attributes:
    name: Name of the ending, see above.
    params: Parameters of `Body`.
    whitening: Whitening, for `vggish-pca` only.
    digest: SHA-256 of the weights.
    config: Sizes.
  """

  name: str
  params: Mapping[str, Any]
  whitening: vggish_weights.Whitening | None
  digest: str
  config: vggish_weights.VggishConfig
  sample_rate_hz: int = dataclasses.field(
    default=vggish_input.SAMPLE_RATE_HZ, init=False
  )
  output: network.Output = dataclasses.field(default='embedding', init=False)

  @property
  def dim(self) -> int:
    """Width of the embedding."""
    return self.config.dim

  def __call__(self, audio: media.Audio) -> Float[np.ndarray, 'rows dim']:
    """Rows of a clip of at least 0.975 s."""
    samples = network.samples_at(
      audio, self.sample_rate_hz, vggish_input.EXAMPLE_SAMPLES
    )
    cut = vggish_input.cut(samples)
    rows = [
      self._embed(cut[start : start + _BATCH])
      for start in range(0, len(cut), _BATCH)
    ]
    return network.checked(self, self._ended(np.concatenate(rows)))

  def _embed(self, cut: np.ndarray) -> np.ndarray:
    examples = vggish_input.log_mel(cut).astype(np.float32)
    padded = np.pad(examples, ((0, _BATCH - len(examples)), (0, 0), (0, 0)))
    return np.asarray(embed(self.config, self.params, padded))[: len(examples)]

  def _ended(self, rows: np.ndarray) -> np.ndarray:
    if self.whitening is not None:
      return quantised(self.whitening, rows)
    return np.maximum(rows, 0) if self.name == 'vggish-relu' else rows


def quantised(
  whitening: vggish_weights.Whitening, rows: Float[np.ndarray, 'rows dim']
) -> Float[np.ndarray, 'rows dim']:
  """Whitens rows and maps [-2, 2] to whole numbers from 0 to 255.

  Equal to vggish_postprocess.py of the authors.
  """
  white = (rows - whitening.means) @ whitening.vectors.T
  return np.floor((np.clip(white, -2.0, 2.0) + 2.0) * (255.0 / 4.0))


def load(
  name: str,
  path: pathlib.Path,
  config: vggish_weights.VggishConfig = vggish_weights.PUBLISHED,
) -> Vggish:
  """Loads one of the three networks from a file.

  Args:
    name: `vggish`, `vggish-relu` or `vggish-pca`.
    path: Weights, see `vggish_weights.read`. For `vggish-pca` the file may also
      have the whitening; otherwise that of the ledger is read.
    config: Sizes.

  Returns:
    The network.

  Raises:
    ValueError: The file holds other weights.
    WeightsError: The whitening is not here.
  """
  state = tensors.load(path)
  digest, whitening = atomic.sha256(path), None
  if name == 'vggish-pca':
    released = state
    if not vggish_weights.has_whitening(state):
      other = store.Store().locate(ledger.find('vggish-pca'))
      released = tensors.load(other)
      digest = f'{digest}+{atomic.sha256(other)}'
    whitening = vggish_weights.read_whitening(released, config)
  return Vggish(
    name=name,
    params=jax.device_put(vggish_weights.read(state, config)),
    whitening=whitening,
    digest=digest,
    config=config,
  )
