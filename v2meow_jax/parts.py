"""The parts of a system that are not stages: one table, one row per kind.

A `Part` names a kind, the stream that it gives, and its weights: data that gin
binds, that travels to workers and into a system's config.json. Its libraries
are imported when it is built.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import importlib
import inspect
import json
import os
import pathlib
from typing import Any
from typing import Literal

from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.files import copies
from v2meow_jax.files import paths
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import store

# How a video is read. Parts that were fitted here see small frames; networks of
# others resize frames themselves, of which 2 s of 1080 lines are 300 MB.
_OWN_PIECE_SECONDS, _OWN_MAX_SIDE = 10.0, 128
_PIECE_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
  """One row of the table.

  Either `load` or `network` builds the part; the latter gives a network alone,
  which the library completes by clusters, segments or checks.

  Attributes:
    name: Name of the kind, in recipes and in a system's config.json.
    role: Place in a system: 'style' has an extractor of music and one of text.
    reads: Medium that becomes the stream.
    artefacts: Names in `v2meow weights list` of weights that others published.
    load: 'module.function': (stream, weights, **settings) -> the part.
    network: 'module.function': (weights, **settings) -> a network.
    read: 'module.function' for parts that are trained here: (stream name, path,
      **settings) -> arrays and settings for `load` or `network`. The path is
      a run, or a file of a released system.
    has_weights: Whether it is built from weights; without, `load` takes the
      stream alone.
  """

  name: str
  role: Literal['extractor', 'style', 'codec']
  reads: Literal['video', 'audio', 'plan']
  artefacts: tuple[str, ...] = ()
  load: str | None = None
  network: str | None = None
  read: str | None = None
  has_weights: bool = True


def _row(role, reads, builder, name, function, *artefacts, read=None) -> Kind:
  """A row: the function that is its `load` or `network`, and its weights."""
  return Kind(
    name=name,
    role=role,
    reads=reads,
    artefacts=artefacts,
    read=read,
    **{builder: function},
  )


_picture = functools.partial(_row, 'extractor', 'video', 'load')
_music = functools.partial(_row, 'extractor', 'audio', 'network')
_style = functools.partial(_row, 'style', 'audio', 'network')
_codec = functools.partial(_row, 'codec', 'audio', 'network')

_EMBEDDED = 'extractors.embedded'
_FITTED = f'{_EMBEDDED}.fitted.read'
_TOWERS = 'extractors.trained_towers'
_TRAINED = 'codecs.trained'
_TOKENS = 'extractors.picture_tokens'
_PATCHES = 'extractors.network_patches'
_AUDIO = 'pretrained.audio'
_TEXT_MUSIC = 'pretrained.text_music'
_trained_codec = functools.partial(_codec, read=f'{_TRAINED}.read')
KINDS = {
  kind.name: kind
  for kind in (
    # Trained here.
    _picture(
      'appearance', f'{_EMBEDDED}.color_motion.Appearance', read=_FITTED
    ),
    _picture('motion', f'{_EMBEDDED}.color_motion.Motion', read=_FITTED),
    Kind(
      name='plan',
      role='extractor',
      reads='plan',
      load='extractors.planning.plan_stream.PlanStream',
      has_weights=False,
    ),
    Kind(
      name='patches',
      role='extractor',
      reads='video',
      load=f'{_EMBEDDED}.patches.Patches',
      has_weights=False,
    ),
    Kind(
      name='accents',
      role='extractor',
      reads='video',
      load=f'{_EMBEDDED}.accents.Accents',
      has_weights=False,
    ),
    Kind(
      name='onsets',
      role='extractor',
      reads='audio',
      load=f'{_EMBEDDED}.onsets.Onsets',
      has_weights=False,
    ),
    Kind(
      name='semantic_tokens',
      role='extractor',
      reads='audio',
      read=_FITTED,
      load=f'{_EMBEDDED}.semantic_tokens.SemanticTokens',
    ),
    Kind(
      name='hashed_style',
      role='style',
      reads='audio',
      read=f'{_EMBEDDED}.fitted.read_style',
      load=f'{_EMBEDDED}.joint_embedding.extractors',
    ),
    _style('towers', f'{_TOWERS}.build', read=f'{_TOWERS}.read'),
    _trained_codec('soundstream', f'{_TRAINED}.soundstream'),
    _trained_codec('embedded_codec', f'{_TRAINED}.embedded_codec'),
    # The same two without their quantisers.
    _trained_codec('soundstream_latents', f'{_TRAINED}.soundstream_latents'),
    _trained_codec('embedded_latents', f'{_TRAINED}.embedded_latents'),
    _trained_codec('vae_latents', f'{_TRAINED}.vae_latents'),
    _trained_codec('sines_latents', f'{_TRAINED}.sines_latents'),
    # Published by others: pictures.
    _picture('clip', 'extractors.clip.load', 'clip-vit-l14'),
    _picture('clip_patches', 'extractors.clip.load_patches', 'clip-vit-l14'),
    _picture(
      'dinov2_patches',
      f'{_PATCHES}.load_dinov2',
      'dinov2-base',
      'dinov2-large',
    ),
    _picture(
      'hiera_patches', f'{_PATCHES}.load_hiera', 'hiera-base', 'hiera-large'
    ),
    _picture(
      'videomae_patches',
      f'{_PATCHES}.load_videomae',
      'videomae2-base',
      'videomae2-large',
    ),
    _picture('i3d_flow', 'extractors.flow.load', 'i3d-flow'),
    _picture('vit_vqgan', f'{_TOKENS}.load_vit_vqgan', 'vit-vqgan-base'),
    _picture('maskgit_vqgan', f'{_TOKENS}.load_maskgit_vqgan', 'maskgit-vqgan'),
    # Music, whose frames are then clustered.
    _music(
      'musicfm',
      f'{_AUDIO}.musicfm_weights.load_encoder',
      'musicfm-fma',
      'musicfm-msd',
    ),
    _music('w2v_bert', f'{_AUDIO}.w2v_bert.load', 'w2v-bert-2'),
    _music('mert', f'{_AUDIO}.mert.load', 'mert-v1-95m', 'mert-v1-330m'),
    # Joint embeddings of text and music.
    _style('clap', f'{_TEXT_MUSIC}.clap.Clap', 'clap-music'),
    _style('musiccoca', f'{_TEXT_MUSIC}.musiccoca.MusicCoCa', 'musiccoca'),
    _style('muq_mulan', f'{_TEXT_MUSIC}.muq_mulan.MuQMuLan', 'muq-mulan'),
    # Codecs.
    _codec(
      'dac',
      'codecs.dac.dac.load_variant',
      'dac-16khz',
      'dac-24khz',
      'dac-44khz',
    ),
    _codec(
      'dac_latents', 'codecs.dac.dac.load_latents', 'dac-16khz', 'dac-24khz'
    ),
    _codec(
      'encodec',
      'codecs.encodec.encodec.load_variant',
      'encodec-24khz',
      'encodec-32khz',
    ),
  )
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """One part of a system: which, for which stream, from which weights.

  Attributes:
    kind: Name of a row of `KINDS`, such as 'clip'.
    stream: Name of the stream that it gives; 'acoustic' for a codec, 'latents'
      for an autoencoder.
    weights: Name in `v2meow weights list`, or path of a file or folder of the
      published layout; for a part that is trained here, its MODEL_DIR or file.
      All may lie in a bucket. '' for a kind that has none.
    settings: Arguments of the function that builds it, as JSON data.
  """

  kind: str
  stream: str
  weights: str = ''
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(
        f'no kind of part is called {self.kind!r}; there are {sorted(KINDS)}.'
      )
    # A plain dict of what gin or JSON gave, so that it can be written again.
    object.__setattr__(self, 'settings', dict(self.settings))

  @property
  def reads(self) -> str:
    """'video', 'audio' or 'plan'."""
    return KINDS[self.kind].reads

  @property
  def role(self) -> str:
    """'extractor', 'style' or 'codec'."""
    return KINDS[self.kind].role

  @property
  def has_weights(self) -> bool:
    """Whether it is built from weights."""
    return KINDS[self.kind].has_weights

  @property
  def is_own(self) -> bool:
    """Whether a system carries all of it: trained here, or without weights."""
    return KINDS[self.kind].read is not None or not self.has_weights

  def file(self) -> pathlib.Path:
    """Path of its weights; WeightsError says how to get what is missing."""
    if self.weights in {a.name for a in ledger.ARTEFACTS}:
      return store.Store().locate(ledger.find(self.weights))
    path = paths.path(self.weights)
    if not path.exists():
      raise store.WeightsError(
        f'the part {self.kind!r} of stream {self.stream!r} names weights'
        f' {self.weights!r}: neither a path nor one of `v2meow weights list`.'
      )
    # What is trained here is read from a bucket, what others published copied.
    return path if self.is_own else copies.local(path)

  def companions(self) -> list[pathlib.Path]:
    """Files beside `file()` that it is of no use without."""
    artefacts = [a for a in ledger.ARTEFACTS if a.name == self.weights]
    file = self.file()
    return [file.with_name(name) for a in artefacts for name in a.companions]

  def licence(self) -> dict[str, Any]:
    """Who published it, for those who publish what it helped to make.

    'weights' is its name; 'licence' is that of the weights, 'code_licence' that
    of the code that they were trained with.
    """
    artefacts = [a for a in ledger.ARTEFACTS if a.name == self.weights]
    if not artefacts:
      unknown = {'code_licence': 'not known', 'licence': 'not known'}
      return {'weights': self.weights, **unknown}
    return {
      'weights': self.weights,
      'source': artefacts[0].page,
      'code_licence': artefacts[0].code_licence,
      'licence': artefacts[0].weights_licence,
      'commercial': artefacts[0].commercial,
    }

  def build(self, stream: Any) -> Any:
    """An extractor or a codec, with its weights loaded.

    A style gives {'style': extractor of music, 'style_text': of a prompt}.

    Raises:
      ValueError: The weights are missing or of something else, the stream does
        not fit, or a setting is unknown.
      ImportError: A library that it runs in is missing; names the extra.
    """
    if load := KINDS[self.kind].load:
      return self._call(_function(load), stream)
    if self.role == 'extractor':
      return self._tokens(stream)
    network = self.network()
    if self.role == 'codec':
      check_codec(network, stream)
      return network
    from v2meow_jax.extractors import text_music  # pylint: disable=g-import-not-at-top

    return text_music.extractors(stream, network)

  def network(self) -> Any:
    """The network alone: a codec, a joint embedding, an encoder of music.

    Raises:
      ValueError: As `build`; or there is no such network.
      ImportError: As `build`.
    """
    return self._call(self._network_function())

  def encoder_identity(self) -> dict[str, Any]:
    """JSON data that distinguishes the encoder of music from others.

    'kind', 'weights', 'sha256' of them, and all 'settings'.
    """
    from v2meow_jax.files import atomic  # pylint: disable=g-import-not-at-top

    settings = self._settings_of_network()
    bound = inspect.signature(self._network_function()).bind(
      self.file(), **settings
    )
    bound.apply_defaults()
    identity = {
      'kind': self.kind,
      'weights': self.file().name,
      'sha256': atomic.sha256(self.file()),
      'settings': dict(list(bound.arguments.items())[1:]),
    }
    return json.loads(json.dumps(identity, default=dataclasses.asdict))

  def read(self) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and settings of a part that is trained here, to be released.

    Raises:
      ValueError: The run trained something else, or nothing yet.
    """
    if not self.has_weights:
      return {}, dict(self.settings)
    function = _function(KINDS[self.kind].read or '')
    return self._checked(function, self.stream, self.file(), **self.settings)

  def with_frames_at_once(self, most: int) -> Part:
    """This part, whose batches hold no more frames of a video than `most`.

    A batch is filled up to its size, so that one of a few frames would cost as
    much as a full one. The size changes results by rounding alone.
    """
    parameters = inspect.signature(self._function()).parameters
    if 'batch_size' not in parameters:
      return self
    size = self.settings.get('batch_size', parameters['batch_size'].default)
    return dataclasses.replace(
      self, settings={**self.settings, 'batch_size': min(size, most)}
    )

  def _tokens(self, stream: Any) -> Any:
    from v2meow_jax.extractors import clustered_tokens  # pylint: disable=g-import-not-at-top

    if 'clusters' not in self.settings:
      raise ValueError(
        f'settings of the part {self.kind!r} are {self.settings}: they lack'
        " 'clusters', the file that v2meow data fit writes."
      )
    params = clustered_tokens.read_clusters(
      self.settings['clusters'], stream.name, self.encoder_identity()
    )
    return clustered_tokens.ClusteredTokens(stream, self.network(), params)

  def _function(self) -> Callable[..., Any]:
    kind = KINDS[self.kind]
    return _function(kind.load or kind.network or '')

  def _network_function(self) -> Callable[..., Any]:
    path = KINDS[self.kind].network
    if path is None:
      raise ValueError(
        f'the part {self.kind!r} is no network that can be used alone; wanted'
        f' one of {sorted(k for k, v in KINDS.items() if v.network)}.'
      )
    return _function(path)

  def _settings_of_network(self) -> dict[str, Any]:
    return {k: v for k, v in self.settings.items() if k != 'clusters'}

  def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
    if not self.has_weights:
      return self._checked(function, *arguments, **self.settings)
    if self.is_own:
      weights, settings = self.read()
    else:
      weights, settings = self.file(), self._settings_of_network()
    return self._checked(function, *arguments, weights, **settings)

  def _checked(self, function: Callable[..., Any], *arguments, **settings):
    try:
      inspect.signature(function).bind(*arguments, **settings)
    except TypeError as e:
      raise ValueError(
        f'settings of the part {self.kind!r} are {settings}: {e}'
      ) from e
    return function(*arguments, **settings)


def stream_of(part: Part, table: Mapping[str, specs.Stream]) -> specs.Stream:
  """The stream that a part gives; ValueError unless the table has it."""
  if part.stream not in table:
    raise ValueError(
      f'the part {part.kind!r} is of a stream {part.stream!r}; there are'
      f' {sorted(table)}.'
    )
  return table[part.stream]


def check_codec(codec: Any, stream: specs.Stream) -> None:
  """Raises ValueError unless a codec writes what records and stages hold."""
  if codec.stream == stream:
    return
  stages.check_acoustic_rate(codec.stream.rate_hz)
  if isinstance(codec.stream, specs.FeatureSpec):
    raise ValueError(
      f'the autoencoder writes {codec.stream}; the stage or its records hold'
      f' {stream}. Give the --gin_file=networks/... that the records were made'
      ' with, which binds the latent_dim of stages.paper_streams or'
      ' stages.tiny_streams.'
    )
  raise ValueError(
    f'the codec writes {codec.stream}; records hold {stream}. Choose a codec of'
    ' that rate and depth, or bind acoustic_rate_hz, acoustic_codebook_size,'
    ' num_coarse_levels and num_fine_levels of stages.paper_streams, as'
    ' gin/networks/encodec.gin does.'
  )


def video_reading(parts: Sequence[Part]) -> dict[str, Any]:
  """How a video is read for some parts, in records as in generation.

  Args:
    parts: Parts of a system, of which those that read video count.

  Returns:
    'piece_seconds', the length of the stretches, and 'max_side', to which
    frames are shrunk; None: as they were decoded.
  """
  if all(part.is_own for part in parts if part.reads == 'video'):
    return {'piece_seconds': _OWN_PIECE_SECONDS, 'max_side': _OWN_MAX_SIDE}
  return {'piece_seconds': _PIECE_SECONDS, 'max_side': None}


def trained_here(
  *, features: str, style: str, codec: str | os.PathLike
) -> list[Part]:
  """The parts of the tiny system's kinds.

  Args:
    features: File that `v2meow data fit` wrote.
    style: MODEL_DIR of the style embedding, trained on the same features.
    codec: MODEL_DIR of the codec, of either kind that is trained here.

  Returns:
    A part for each stream.

  Raises:
    ValueError: `codec` is no run of a codec.
  """
  from v2meow_jax.codecs import trained  # pylint: disable=g-import-not-at-top

  rows = (
    ('appearance', 'appearance', features, {}),
    ('motion', 'motion', features, {}),
    ('plan', 'plan', '', {}),
    ('hashed_style', 'style', style, {'features': features}),
    ('semantic_tokens', 'semantic', features, {}),
    (trained.kind(codec), 'acoustic', str(codec), {}),
  )
  return [
    Part(kind=kind, stream=stream, weights=weights, settings=settings)
    for kind, stream, weights, settings in rows
  ]


def _function(path: str) -> Callable[..., Any]:
  module, _, name = path.rpartition('.')
  return getattr(importlib.import_module(f'v2meow_jax.{module}'), name)
