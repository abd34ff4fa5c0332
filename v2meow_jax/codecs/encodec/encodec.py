"""EnCodec at 24 and 32 kHz, with its published weights.

`load` reads the files of https://huggingface.co/facebook. Codes and waveforms
equal those of `transformers.EncodecModel`. `ENCODEC_24KHZ` is causal;
`ENCODEC_32KHZ` is MusicGen's codec, whose weights may not be used commercially.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

from etils import epath
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
import numpy as np

from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import pieces
from v2meow_jax.codecs import pretrained
from v2meow_jax.codecs.encodec import encodec_layers
from v2meow_jax.codecs.encodec import encodec_network

ENCODEC_24KHZ = encodec_network.EncodecConfig(
  source='facebook/encodec_24khz',
  sample_rate_hz=24_000,
  num_levels=32,
  codebook_size=1024,
  strides=(2, 4, 5, 8),
  base_channels=32,
  causal=True,
  shortcut_conv=True,
)
ENCODEC_32KHZ = encodec_network.EncodecConfig(
  source='facebook/encodec_32khz',
  sample_rate_hz=32_000,
  num_levels=4,
  codebook_size=2048,
  strides=(4, 4, 5, 8),
  base_channels=64,
  causal=False,
  shortcut_conv=False,
)

# Published averages that only training needs.
_UNUSED = ('inited', 'cluster_size', 'embed_avg')


class Encodec(nn.Module):
  """Encoder, quantiser and decoder."""

  config: encodec_network.EncodecConfig

  def setup(self):
    """Builds the three parts."""
    self.encoder = encodec_network.Encoder(self.config)
    self.quantizer = encodec_network.Quantizer(self.config)
    self.decoder = encodec_network.Decoder(self.config)

  def __call__(self, waveform: arrays.Waveform) -> arrays.Waveform:
    """Reconstructs from all levels."""
    state = _initial_state(self.config, waveform.shape[0])
    return _DECODER.whole(self, _ENCODER.whole(self, waveform, state), state)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Way:
  # Encoding or decoding: functions of an `Encodec` before, in and after its LSTM.
  before: Callable[..., Array]
  recurrent: Callable[..., tuple[Array, Array]]
  after: Callable[..., Array]

  def whole(self, module, x, state):
    return self.after(
      module, self.recurrent(module, self.before(module, x), state)[0]
    )


_ENCODER = _Way(
  before=lambda module, waveform: module.encoder.before(waveform),
  recurrent=lambda module, x, state: module.encoder.recurrent(x, state),
  after=lambda module, x: module.quantizer.encode(module.encoder.after(x)),
)
_DECODER = _Way(
  before=lambda module, codes: module.decoder.before(
    module.quantizer.decode(codes)
  ),
  recurrent=lambda module, x, state: module.decoder.recurrent(x, state),
  after=lambda module, x: module.decoder.after(x),
)
_WAYS = {'encode': _ENCODER, 'decode': _DECODER}


class EncodecCodec(pretrained.PublishedCodec[encodec_network.EncodecConfig]):
  """An EnCodec with its weights.

  In pieces, the LSTM runs through all frames once, a little ahead: only a window
  of its output is stored.
  """

  def _whole(self, way, x):
    return _whole(self.config, _WAYS[way], self._variables, x)

  def _in_pieces(self, way, x, piece_frames):
    c = self.config
    batch_size, num_frames = x.shape[:2]
    # Context of a frame in the parts before and after the LSTM.
    if way == 'encode':
      before, after = c.encoder_reach_frames, c.edge_reach_frames
    else:
      before, after = c.edge_reach_frames, c.decoder_reach_frames
    parts, state = _WAYS[way], _initial_state(c, batch_size)
    sources = pieces.windows(num_frames, piece_frames, *before)
    written, first = np.empty((batch_size, 0, c.top_channels), np.float32), 0
    for window, piece, inside in pieces.windows(
      num_frames, piece_frames, *after
    ):
      while first + written.shape[1] < window.stop:
        source, new, where = next(sources)
        y, state = _advance(
          c,
          parts,
          new.stop - new.start,
          self._variables,
          jnp.asarray(x[:, source]),
          where.start,
          state,
        )
        written = np.concatenate([written, np.asarray(y)], axis=1)
      written, first = written[:, window.start - first :], window.start
      y = _finish(
        c, parts, self._variables, written[:, : window.stop - window.start]
      )
      # [b, samples] -> [b, frames, samples], and codes as they are
      y = np.asarray(y).reshape(batch_size, window.stop - window.start, -1)
      yield piece, y[:, inside]


def load(
  path: epath.PathLike, config: encodec_network.EncodecConfig
) -> EncodecCodec:
  """Loads an EnCodec, such as `ENCODEC_24KHZ`; see `pretrained.read_params`."""
  params = pretrained.read_params(path, config, Encodec(config), _UNUSED)
  return EncodecCodec(config, params)


def _initial_state(config, batch_size):
  layers = encodec_layers.NUM_LSTM_LAYERS
  return jnp.zeros((layers, 2, batch_size, config.top_channels))


# Codes should not depend on the device.
_precisely = functools.partial(jax.default_matmul_precision, 'highest')


@functools.partial(jax.jit, static_argnums=(0, 1))
def _whole(config, way, variables, x):
  with _precisely():
    state = _initial_state(config, x.shape[0])
    return Encodec(config).apply(variables, x, state, method=way.whole)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _advance(config, way, num_frames, variables, x, first, state):
  """Runs the LSTM over `num_frames` new frames of a window."""
  if way is _ENCODER:
    x = x.reshape(x.shape[0], -1)
  with _precisely():
    module = Encodec(config)
    x = module.apply(variables, x, method=way.before)
    x = jax.lax.dynamic_slice_in_dim(x, first, num_frames, axis=1)
    return module.apply(variables, x, state, method=way.recurrent)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _finish(config, way, variables, x):
  with _precisely():
    return Encodec(config).apply(variables, x, method=way.after)


_VARIANTS = {'24khz': ENCODEC_24KHZ, '32khz': ENCODEC_32KHZ}


def load_variant(
  path: epath.PathLike,
  *,
  variant: str = '24khz',
  config: Mapping[str, Any] | None = None,
) -> EncodecCodec:
  """An EnCodec of a published size, such as '24khz', or of the sizes in `config`."""
  sizes = pretrained.sizes(
    encodec_network.EncodecConfig, _VARIANTS, variant, config
  )
  return load(path, sizes)
