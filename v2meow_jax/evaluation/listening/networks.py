"""Loads the networks of the metrics by name.

>>> from v2meow_jax.evaluation.listening import networks
>>> network = networks.load('tiny-style')  # doctest: +SKIP
>>> rows = network(audio)  # float32[rows, network.dim]  # doctest: +SKIP

A name fixes all that a score depends on besides the weights: `vggish` and
`vggish-relu` are one file and two different distances. `pretrained.network`
defines a network.
"""

import dataclasses
import importlib
import importlib.util
import os
import pathlib

from v2meow_jax.files import copies
from v2meow_jax.files import paths
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import network
from v2meow_jax.pretrained import store

_HERE = 'v2meow_jax'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
  """A network that can be loaded by name.

  Attributes:
    name: Name of the network.
    what: Description for readers.
    loader: 'module.function' that takes the name and the path of the weights,
      or None for those that ship.
    artefacts: Names in the ledger of its files; the loader gets the first.
    folder: Folder of its weights in the store, if they are no single file.
    url: Address of the contents of `folder`.
    modules: Modules needed besides the base installation.
    extra: Extra that installs them.
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
    """Finds its weights; None when they ship with the library.

    Raises:
      WeightsError: They are not on this machine.
    """
    files = [store.Store().locate(ledger.find(a)) for a in self.artefacts]
    if self.folder is None:
      return files[0] if files else None
    folder = store.default_dir() / self.folder
    if not folder.is_dir():
      raise store.WeightsError(
        f'the weights of {self.name!r} are not at {folder}: download {self.url}'
        ' and unpack it there, or give its folder as the weights.'
      )
    return copies.local(folder)

  def build(self, path: pathlib.Path | None) -> network.AudioNetwork:
    """Loads the network from its weights; see `load`."""
    module, _, function = self.loader.rpartition('.')
    return getattr(importlib.import_module(module), function)(self.name, path)


def missing(name: str) -> str | None:
  """Explains why a network cannot be loaded here; None when it can."""
  entry = find(name)
  try:
    entry.check_modules()
    entry.locate()
  except (ImportError, store.WeightsError) as e:
    return str(e)
  return None


def load(
  name: str, weights: str | os.PathLike | None = None
) -> network.AudioNetwork:
  """Loads a network.

  Args:
    name: Name in `ENTRIES`.
    weights: File or folder of the weights; None: where `v2meow weights` keeps
      them.

  Returns:
    The network.

  Raises:
    ValueError: No network has this name, or the weights are not its own.
    ImportError: A package is missing.
    WeightsError: Weights are missing.
  """
  entry = find(name)
  entry.check_modules()
  if weights is None:
    return entry.build(entry.locate())
  path = paths.path(weights)
  if not path.exists():
    raise store.WeightsError(f'the weights of {name!r} are not at {path}.')
  return entry.build(copies.local(path))


def describe(name: str) -> str:
  """Describes a network for readers of its figures; others by their name."""
  return next((e.what for e in ENTRIES if e.name == name), name)


def find(name: str) -> Entry:
  """Finds an entry by its name; ValueError for an unknown one."""
  for entry in ENTRIES:
    if entry.name == name:
      return entry
  names = ', '.join(e.name for e in ENTRIES)
  raise ValueError(f'no network is named {name!r}; there are {names}.')


ENTRIES = (
  Entry(
    name='tiny-style',
    what="this project's own; not comparable with any published figure",
    loader=f'{_HERE}.evaluation.controls.system_style.load',
  ),
  *(
    Entry(
      name=name,
      what=f'{what}, audio and text every 10 s: MCC, CLAP score',
      loader=f'{_HERE}.evaluation.listening.joint_embedding.load',
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
