"""Published networks as data: named in a recipe or a system, built when needed.

A `Network` says which one, for which stream, from which weights; it travels to
workers and into a system's config.json. Nothing is imported before it is built.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import importlib
import inspect
import pathlib
from typing import Any

from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
  """One frozen network.

  Attributes:
    kind: Such as 'clip'; `published` has what builds each.
    stream: Name of the stream that it gives.
    weights: A name of `v2meow weights list`, or the path of a file or folder of
      the published layout.
    settings: Arguments of its function in `published`, as JSON data.
  """

  kind: str
  stream: str
  weights: str
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if self.kind not in _KINDS:
      raise ValueError(
        f'no network is called {self.kind!r}; there are {sorted(_KINDS)}.'
      )
    # A plain dict of what gin or JSON gave, so that it can be written again.
    object.__setattr__(self, 'settings', dict(self.settings))

  @property
  def reads(self) -> str:
    """'video', 'audio', 'style' (music or text), or 'codes' of a codec."""
    return _KINDS[self.kind][0]

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

  def companions(self) -> list[pathlib.Path]:
    """Files beside `file()` that it is of no use without."""
    found = [a for a in ledger.ARTEFACTS if a.name == self.weights]
    file = self.file()
    return [file.with_name(name) for a in found for name in a.companions]

  def licence(self) -> dict[str, Any]:
    """Whose it is, for those who publish what it helped to make.

    'weights' is its name; 'licence' is that of the weights, 'code_licence' that
    of the code that they were trained with.
    """
    found = [a for a in ledger.ARTEFACTS if a.name == self.weights]
    if not found:
      unknown = {'code_licence': 'not known', 'licence': 'not known'}
      return {'weights': self.weights, **unknown}
    return {
      'weights': self.weights,
      'source': found[0].page,
      'code_licence': found[0].code_licence,
      'licence': found[0].weights_licence,
      'commercial': found[0].commercial,
    }

  def build(self, stream: specs.Stream) -> Any:
    """The extractor, or the codec, with its weights loaded.

    Of a style: {'style': of music, 'style_text': of a prompt}.

    Raises:
      ValueError: The weights are missing or not of this network, the stream
        does not fit it, or a setting is unknown.
      ImportError: A library that it runs in is missing; names the extra.
    """
    return self._called(self._builder(), stream)

  def with_frames_at_once(self, most: int) -> Network:
    """This network of video, whose batches hold no more frames than `most`.

    A batch is filled up to its size, so that one of a few frames would cost as
    much as a full one. What a size gives is what another does, up to rounding.
    """
    default = (
      inspect.signature(self._builder()).parameters['batch_size'].default
    )
    size = min(self.settings.get('batch_size', default), most)
    return dataclasses.replace(
      self, settings={**self.settings, 'batch_size': size}
    )

  def _builder(self) -> Any:
    module, _, name = _KINDS[self.kind][1].rpartition('.')
    return getattr(importlib.import_module(f'{_HERE}.{module}'), name)

  def encoder(self) -> Any:
    """What hears music in a network of semantic tokens, before its clusters.

    Raises:
      ValueError: As `build`; or it has no clusters.
      ImportError: As `build`.
    """
    from v2meow_jax.published import semantic  # pylint: disable=g-import-not-at-top

    if self.kind not in semantic.ENCODERS:
      raise ValueError(
        f'the network {self.kind!r} has no clusters to fit; wanted one of'
        f' {sorted(semantic.ENCODERS)}.'
      )
    return self._called(
      semantic.ENCODERS[self.kind], settings=self._without_clusters()
    )

  def heard_by(self) -> dict[str, Any]:
    """What tells `encoder()` from others; see `semantic.heard_by`."""
    from v2meow_jax.published import semantic  # pylint: disable=g-import-not-at-top

    return semantic.heard_by(self.kind, self.file(), self._without_clusters())

  def _without_clusters(self) -> dict[str, Any]:
    return {k: v for k, v in self.settings.items() if k != 'clusters'}

  def _called(self, build, *arguments, settings=None) -> Any:
    settings = self.settings if settings is None else settings
    try:
      inspect.signature(build).bind(*arguments, self.file(), **settings)
    except TypeError as e:
      raise ValueError(
        f'settings of the network {self.kind!r} are {settings}: {e}'
      ) from e
    return build(*arguments, self.file(), **settings)


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
  if codec.stream == stream:
    return
  stages.check_acoustic_rate(codec.stream.rate_hz)
  raise ValueError(
    f'the codec writes {codec.stream}; records hold {stream}. Choose a codec of'
    ' that rate and depth, or bind acoustic_rate_hz, acoustic_codebook_size,'
    ' num_coarse_levels and num_fine_levels of stages.paper_streams, as'
    ' gin/networks/encodec.gin does.'
  )


_HERE = 'v2meow_jax.published'
# Kind -> what it reads, and the function that builds it: (stream, file,
# **settings) -> an extractor or a codec; of a style, both its extractors.
_KINDS = {
  'clip': ('video', 'video.clip_embedding'),
  'i3d_flow': ('video', 'video.i3d_flow'),
  'vit_vqgan': ('video', 'video.vit_vqgan_tokens'),
  'maskgit_vqgan': ('video', 'video.maskgit_vqgan_tokens'),
  'musicfm': ('audio', 'semantic.musicfm_tokens'),
  'w2v_bert': ('audio', 'semantic.w2v_bert_tokens'),
  'mert': ('audio', 'semantic.mert_tokens'),
  'clap': ('style', 'style.clap_embedding'),
  'musiccoca': ('style', 'style.musiccoca_embedding'),
  'muq_mulan': ('style', 'style.muq_mulan_embedding'),
  'towers': ('style', 'style.towers_embedding'),
  'dac': ('codes', 'codecs.dac_codec'),
  'encodec': ('codes', 'codecs.encodec_codec'),
}
