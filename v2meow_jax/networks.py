"""Published networks as data: named in a recipe or a system, built when needed.

A `Network` says which one, for which stream, from which weights; it travels to
workers and into a system's config.json. Nothing is imported before it is built.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from v2meow_jax import specs
from v2meow_jax.weights import ledger
from v2meow_jax.weights import store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
  """One frozen network.

  Attributes:
    kind: A key of `KINDS`.
    stream: Name of the stream that it gives.
    weights: A name of `v2meow weights list`, or the path of a file or folder of
      the published layout.
    settings: Arguments of the kind's builder, as JSON data; `config`, where it
      is one of them, are sizes other than the published ones.
  """

  kind: str
  stream: str
  weights: str
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(
        f'no network is called {self.kind!r}; there are {sorted(KINDS)}.'
      )
    # A plain dict of what gin or JSON gave, so that it can be written again.
    object.__setattr__(self, 'settings', dict(self.settings))

  @property
  def reads(self) -> str:
    """'video', 'audio', or 'codes' for a codec, which reads and writes."""
    return KINDS[self.kind].reads

  def file(self) -> pathlib.Path:
    """Where its weights are; WeightsError says how to get what is missing."""
    if self.weights in {a.name for a in ledger.ARTEFACTS}:
      return store.Store().locate(ledger.find(self.weights))
    path = pathlib.Path(self.weights).expanduser()
    if not path.exists():
      raise store.WeightsError(
        f'the network {self.kind!r} of stream {self.stream!r} names weights'
        f' {self.weights!r}: neither a path nor one of `v2meow weights list`.'
      )
    return path

  def licence(self) -> dict[str, Any]:
    """Whose its weights are, for those who publish what it helped to make."""
    found = [a for a in ledger.ARTEFACTS if a.name == self.weights]
    if not found:
      return {'weights': self.weights, 'licence': 'not known'}
    return {
      'weights': self.weights,
      'source': found[0].page,
      'licence': found[0].weights_licence,
      'commercial': found[0].commercial,
    }

  def build(self, stream: specs.Stream) -> Any:
    """The extractor, or the codec, with its weights loaded.

    Raises:
      ValueError: The weights are missing or not of this network, the stream
        does not fit it, or a setting is unknown.
      ImportError: A library that it runs in is missing; names the extra.
    """
    try:
      return KINDS[self.kind].build(stream, self.file(), **self.settings)
    except TypeError as e:
      raise ValueError(
        f'settings of the network {self.kind!r} are {self.settings}: {e}'
      ) from e


def stream_of(
  network: Network, table: Mapping[str, specs.Stream]
) -> specs.Stream:
  """The stream that a network gives; ValueError unless the table has it."""
  if network.stream not in table:
    raise ValueError(
      f'the network {network.kind!r} is of a stream {network.stream!r}; there'
      f' are {sorted(table)}.'
    )
  return table[network.stream]


def check_codec(codec: Any, stream: specs.Stream) -> None:
  """Raises ValueError unless a codec writes what records and stages hold."""
  if codec.stream != stream:
    raise ValueError(
      f'the codec writes {codec.stream}; records hold {stream}. Choose a codec'
      ' of that rate and depth, or change the streams in stages.py.'
    )


def _clip(stream, file, *, config=None, batch_size=32):
  from v2meow_jax.features import clip  # pylint: disable=g-import-not-at-top
  from v2meow_jax.features import clip_weights  # pylint: disable=g-import-not-at-top

  sizes = clip.TowerConfig(**config) if config else clip.VIT_L_14
  params = clip_weights.read(file, sizes)
  return clip.ImageEmbedding(stream, sizes, params, batch_size=batch_size)


def _i3d_flow(
  stream, file, *, config=None, estimator='tv_l1', num_flows=24, batch_size=4
):
  from v2meow_jax.features import flow  # pylint: disable=g-import-not-at-top
  from v2meow_jax.features import i3d  # pylint: disable=g-import-not-at-top
  from v2meow_jax.features import i3d_weights  # pylint: disable=g-import-not-at-top
  from v2meow_jax.weights import tensors  # pylint: disable=g-import-not-at-top

  estimators = {'tv_l1': flow.tv_l1, 'dis': flow.dis}
  if estimator not in estimators:
    raise ValueError(
      f'the flow estimator is {estimator!r}; wanted one of'
      f' {sorted(estimators)}.'
    )
  sizes = i3d.I3DConfig(**config or {})
  return flow.I3DFlow(
    stream,
    i3d_weights.read(tensors.load(file), sizes),
    sizes,
    estimators[estimator],
    num_flows,
    batch_size,
  )


def _vit_vqgan(stream, file, *, config=None, batch_size=8):
  from v2meow_jax.features import picture_tokens  # pylint: disable=g-import-not-at-top
  from v2meow_jax.features import vit_vqgan  # pylint: disable=g-import-not-at-top
  from v2meow_jax.weights import tensors  # pylint: disable=g-import-not-at-top

  sizes = vit_vqgan.VitVqganConfig(**config or {})
  return picture_tokens.PictureTokens(
    stream,
    vit_vqgan.VitVqgan(sizes),
    vit_vqgan.read(tensors.load(file), sizes),
    batch_size=batch_size,
  )


def _maskgit_vqgan(stream, file, *, config=None, batch_size=8):
  from v2meow_jax.features import picture_tokens  # pylint: disable=g-import-not-at-top
  from v2meow_jax.features import vqgan  # pylint: disable=g-import-not-at-top
  from v2meow_jax.weights import tensors  # pylint: disable=g-import-not-at-top

  sizes = vqgan.VqganConfig(**config or {})
  return picture_tokens.PictureTokens(
    stream,
    vqgan.Vqgan(sizes),
    vqgan.read(tensors.load(file), sizes),
    batch_size=batch_size,
  )


def _dac(stream, file, *, variant='16khz', config=None):
  from v2meow_jax.codecs import dac  # pylint: disable=g-import-not-at-top
  from v2meow_jax.codecs import dac_network  # pylint: disable=g-import-not-at-top

  published = {
    '16khz': dac.DAC_16KHZ,
    '24khz': dac.DAC_24KHZ,
    '44khz': dac.DAC_44KHZ,
  }
  sizes = dac_network.DacConfig(**config) if config else published[variant]
  codec = dac.load(file, sizes)
  check_codec(codec, stream)
  return codec


def _encodec(stream, file, *, variant='24khz', config=None):
  from v2meow_jax.codecs import encodec  # pylint: disable=g-import-not-at-top
  from v2meow_jax.codecs import encodec_network  # pylint: disable=g-import-not-at-top

  published = {
    '24khz': encodec.ENCODEC_24KHZ,
    '32khz': encodec.ENCODEC_32KHZ,
  }
  sizes = (
    encodec_network.EncodecConfig(**config) if config else published[variant]
  )
  codec = encodec.load(file, sizes)
  check_codec(codec, stream)
  return codec


@dataclasses.dataclass(frozen=True)
class Kind:
  """What a kind of network reads, and what builds one.

  Attributes:
    reads: 'video', 'audio' or 'codes'.
    build: (stream, file, **settings) -> an extractor or a codec.
  """

  reads: str
  build: Callable[..., Any]


KINDS = {
  'clip': Kind('video', _clip),
  'i3d_flow': Kind('video', _i3d_flow),
  'vit_vqgan': Kind('video', _vit_vqgan),
  'maskgit_vqgan': Kind('video', _maskgit_vqgan),
  'dac': Kind('codes', _dac),
  'encodec': Kind('codes', _encodec),
}
