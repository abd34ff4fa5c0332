"""The networks that listen for the metrics, by name.

>>> from v2meow_jax.evaluation.listening import networks
>>> network = networks.load('tiny-style')  # doctest: +SKIP
>>> rows = network(audio)  # float32[rows, network.dim]  # doctest: +SKIP

A name says all that a score depends on besides the weights: `vggish` and
`vggish-relu` are one file and two different distances. What a network is and
what it is given: `network`.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import pathlib

from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import network
from v2meow_jax.pretrained import store

_HERE = 'v2meow_jax'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
  """A network that can be loaded by name.

  Attributes:
    name: Of the network.
    what: It is, for people.
    loader: Function of the name and of the path of the weights, or None for
      those that ship; 'module.function'.
    artefacts: Of the ledger, whose files it needs; the loader gets the first.
    folder: Below the folder of weights, for what is no single file.
    url: Of what belongs into `folder`.
    modules: That it needs besides the base installation.
    extra: That installs them.
  """

  name: str
  what: str
  loader: str
  artefacts: tuple[str, ...] = ()
  folder: str | None = None
  url: str | None = None
  modules: tuple[str, ...] = ()
  extra: str | None = None

  def check_modules(self) -> None:
    """Raises ImportError unless all packages are installed."""
    absent = [m for m in self.modules if importlib.util.find_spec(m) is None]
    if absent:
      raise ImportError(
        f'the network {self.name!r} needs {" and ".join(absent)}: python -m pip'
        f" install -c requirements.lock -e '.[{self.extra}]'"
      )

  def locate(self) -> pathlib.Path | None:
    """Its weights on this machine; None when they ship with the library.

    Raises:
      WeightsError: They are not here; it says how to get them.
    """
    files = [store.Store().locate(ledger.find(a)) for a in self.artefacts]
    if self.folder is None:
      return files[0] if files else None
    folder = store.default_dir() / self.folder
    if not folder.is_dir():
      raise store.WeightsError(
        f'the weights of {self.name!r} are not at {folder}: download {self.url}'
        ' and unpack it there, or name its folder as the weights.'
      )
    return folder

  def build(self, path: pathlib.Path | None) -> network.Network:
    """The network from its weights; see `load`."""
    module, _, function = self.loader.rpartition('.')
    return getattr(importlib.import_module(module), function)(self.name, path)


def missing(name: str) -> str | None:
  """Why a network cannot be loaded on this machine; None when it can."""
  entry = find(name)
  try:
    entry.check_modules()
    entry.locate()
  except (ImportError, store.WeightsError) as e:
    return str(e)
  return None


def load(
  name: str, weights: str | os.PathLike | None = None
) -> network.Network:
  """A network, ready to listen.

  Args:
    name: One of `ENTRIES`.
    weights: File, or folder where the network is one; None: where `v2meow
      weights` keeps them.

  Returns:
    The network.

  Raises:
    ValueError: No network has this name, or the weights are not its own.
    ImportError: A package is missing; says which extra installs it.
    WeightsError: Weights are missing; says where from and where to put them.
  """
  entry = find(name)
  entry.check_modules()
  if weights is None:
    return entry.build(entry.locate())
  path = pathlib.Path(weights)
  if not path.exists():
    raise store.WeightsError(f'the weights of {name!r} are not at {path}.')
  return entry.build(path)


def describe(name: str) -> str:
  """What a network is, for people who read its figures; of others, its name."""
  return next((e.what for e in ENTRIES if e.name == name), name)


def find(name: str) -> Entry:
  """An entry by its name; ValueError lists those there are."""
  for entry in ENTRIES:
    if entry.name == name:
      return entry
  names = ', '.join(e.name for e in ENTRIES)
  raise ValueError(f'no network is named {name!r}; there are {names}.')


ENTRIES = (
  Entry(
    name='tiny-style',
    what="this project's own; not comparable with any published figure",
    loader=f'{_HERE}.evaluation.listening.style_network.load',
  ),
  *(
    Entry(
      name=name,
      what=f'{what}, audio and text every 10 s: MCC, CLAP score',
      loader=f'{_HERE}.evaluation.listening.style_network.load_published',
      artefacts=(name,),
      modules=modules,
      extra='hub',
    )
    for name, what, modules in (
      ('clap-music', 'LAION-CLAP for music', ('torch', 'transformers')),
      ('musiccoca', 'MusicCoCa', ('ai_edge_litert', 'sentencepiece')),
      ('muq-mulan', 'MuQ-MuLan', ('torch', 'transformers')),
    )
  ),
  Entry(
    name='vggish',
    what='VGGish before its last ReLU, as google/vggish/1: the usual FAD',
    loader=f'{_HERE}.pretrained.audio.vggish.load',
    artefacts=('vggish',),
  ),
  Entry(
    name='vggish-relu',
    what='VGGish after its last ReLU, as torchvggish gives it',
    loader=f'{_HERE}.pretrained.audio.vggish.load',
    artefacts=('vggish',),
  ),
  Entry(
    name='vggish-pca',
    what='VGGish whitened and in 8 bits, as the AudioSet release has it',
    loader=f'{_HERE}.pretrained.audio.vggish.load',
    artefacts=('vggish', 'vggish-pca'),
  ),
  Entry(
    name='trill',
    what='TRILL, layer `embedding`, every 0.167 s: the second FAD of V2Meow',
    loader=f'{_HERE}.pretrained.audio.trill.load',
    folder='trill',
    url='https://tfhub.dev/google/nonsemantic-speech-benchmark/trill/3',
    modules=('tensorflow',),
    extra='data',
  ),
  *(
    Entry(
      name=f'ast-{output}',
      what=f'AST, 527 AudioSet classes every 10.24 s, {output}',
      loader=f'{_HERE}.pretrained.audio.audio_transformer.load',
      artefacts=('ast-audioset',),
      modules=('torch', 'transformers'),
      extra='hub',
    )
    for output in ('softmax', 'sigmoid')
  ),
  *(
    Entry(
      name=f'panns-{output}',
      what=f'CNN14 of PANNs at 16 kHz, every 10 s, {output}',
      loader=f'{_HERE}.pretrained.audio.panns.load',
      artefacts=('panns-cnn14-16khz',),
    )
    for output in ('embedding', 'softmax', 'sigmoid')
  ),
)
