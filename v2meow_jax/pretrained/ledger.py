"""Lists published weights that this library reads, with source and licence.

The table is ledger.toml. Licences are as stated by the publishers; it is no
legal advice. docs/weights.md also lists weights that nothing here reads, and
compares stand-ins.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tomllib

_HUB = 'https://huggingface.co'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artefact:
  """One published file, and the small files that it needs.

  Attributes:
    name: Name in commands, and of its folder.
    what: Short description of the weights.
    url: Address of the file, at a fixed version where the publisher has
      versions.
    megabytes: Approximate size of the file, in MB.
    holds: Name of a tensor in the file, to recognise it by; 'TFL3' for a TFLite
      file.
    others: Tensor names of publications for TensorFlow that the reader also
      reads; these are imported, never fetched.
    lacks: Name of a tensor by which a larger network of the kind is told from it;
      None: there is none that is read.
    reader: Function that makes parameters from the file, 'module.function'.
    code_licence: Licence of the code that the network was trained with.
    weights_licence: Licence of the file.
    commercial: Whether the weights may be used commercially; None: not stated.
    sha256: SHA-256 of the file, if known for certain.
    git_blob: SHA-1 of the file in git, if a repository holds it.
    companions: Names of files beside it that its reader needs.
    elsewhere: Files of other hub repositories that the reader needs, from their
      cache or from a folder that a recipe names.
  """

  name: str
  what: str
  url: str
  megabytes: int
  holds: str
  reader: str
  code_licence: str
  weights_licence: str
  commercial: bool | None = None
  lacks: str | None = None
  others: tuple[str, ...] = ()
  sha256: str | None = None
  git_blob: str | None = None
  companions: tuple[str, ...] = ()
  elsewhere: tuple[str, ...] = ()

  @property
  def file_name(self) -> str:
    """Last part of the address."""
    return self.url.rpartition('/')[2]

  @property
  def hub_repository(self) -> str | None:
    """'owner/name' on the Hugging Face hub; None elsewhere."""
    if not self.url.startswith(f'{_HUB}/'):
      return None
    return '/'.join(self.url.removeprefix(f'{_HUB}/').split('/')[:2])

  @property
  def hub_file(self) -> tuple[str, str] | None:
    """Version and path of the file in its `hub_repository`."""
    if self.hub_repository is None:
      return None
    version, _, path = self.url.partition('/resolve/')[2].partition('/')
    return version, path

  @property
  def page(self) -> str:
    """Web page about it."""
    repository = self.hub_repository
    return f'{_HUB}/{repository}' if repository else self.url

  @property
  def beside(self) -> tuple[Artefact, ...]:
    """The companions, each as an artefact of the same name."""
    folder = self.url.rpartition('/')[0]
    return tuple(
      dataclasses.replace(
        self,
        url=f'{folder}/{name}',
        sha256=None,
        git_blob=None,
        companions=(),
      )
      for name in self.companions
    )

  @property
  def is_pickle(self) -> bool:
    """Whether the file needs conversion before reading, see `convert`."""
    return self.url.endswith(('.pt', '.pth', '.ckpt', '.bin'))


def _read(file: pathlib.Path) -> tuple[Artefact, ...]:
  artefacts = []
  for name, row in tomllib.loads(file.read_text(encoding='utf-8')).items():
    row |= {key: tuple(x) for key, x in row.items() if isinstance(x, list)}
    artefacts.append(Artefact(name=name, **row))
  return tuple(artefacts)


ARTEFACTS = _read(pathlib.Path(__file__).with_name('ledger.toml'))


def find(name: str) -> Artefact:
  """An artefact by its name; ValueError lists those there are."""
  for artefact in ARTEFACTS:
    if artefact.name == name:
      return artefact
  names = ', '.join(a.name for a in ARTEFACTS)
  raise ValueError(f'no weights are named {name!r}; there are {names}.')
