"""Where published weights lie on this machine; fetches and verifies them."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

from v2meow_jax.files import atomic
from v2meow_jax.pretrained import convert
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import tensors

VARIABLE = 'V2MEOW_WEIGHTS_DIR'
_RECORD = 'SOURCE.json'


class WeightsError(ValueError):
  """Weights are missing, or are not what was published."""


def default_dir() -> pathlib.Path:
  """$V2MEOW_WEIGHTS_DIR, or a folder in the user's cache."""
  given = os.environ.get(VARIABLE)
  if given:
    return pathlib.Path(given)
  cache = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(cache) / 'v2meow' / 'weights'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Store:
  """A folder with a folder for each artefact.

  Attributes:
    path: Of the folder; ~ is the user's home.

  Raises:
    WeightsError: `path` is no folder.
  """

  path: pathlib.Path = dataclasses.field(default_factory=default_dir)

  def __post_init__(self):
    path = self.path.expanduser()
    if path.exists() and not path.is_dir():
      raise WeightsError(
        f'weights lie in a folder, and {path} is a file: name the folder with'
        f' --weights_dir or ${VARIABLE}; to take in a file that you have,'
        ' v2meow weights import NAME FILE.'
      )
    object.__setattr__(self, 'path', path)

  def folder(self, artefact: ledger.Artefact) -> pathlib.Path:
    """Where the file of an artefact belongs."""
    return self.path / artefact.name

  def file(self, artefact: ledger.Artefact) -> pathlib.Path:
    """The file that readers read: a pickle's conversion, else the original."""
    file = self.folder(artefact) / artefact.file_name
    return file.with_suffix('.safetensors') if artefact.is_pickle else file

  def find(self, artefact: ledger.Artefact) -> pathlib.Path | None:
    """The file here or in the hub's cache; None when it is in neither.

    Nor when what belongs beside it is missing.
    """
    file = self.file(artefact)
    candidates = [file if file.is_file() else None]
    if not artefact.is_pickle:
      candidates.append(_in_hub_cache(artefact))
    for found in filter(None, candidates):
      if all((found.parent / name).is_file() for name in artefact.companions):
        return found
    return None

  def locate(self, artefact: ledger.Artefact) -> pathlib.Path:
    """As `find`; WeightsError says how to get what is missing."""
    found = self.find(artefact)
    if found:
      return found
    raise WeightsError(
      f'the weights {artefact.name!r} are not at {self.file(artefact)}: v2meow'
      f' weights fetch {artefact.name}, or {_by_hand(artefact)}.'
    )

  def fetch(self, artefact: ledger.Artefact) -> pathlib.Path:
    """Downloads an artefact unless it is here, and converts a pickle.

    Args:
      artefact: What to get.

    Returns:
      The file that readers read.

    Raises:
      WeightsError: What came is not what was published.
      OSError: The server cannot be reached.
    """
    found = self.find(artefact)
    if found:
      return found
    if artefact.is_pickle:
      convert.require()
    folder = self.folder(artefact)
    with _no_empty_folder(folder):
      for companion in artefact.beside:
        file = _download(companion, folder)
        file.replace(folder / companion.file_name)
      download = _download(artefact, folder)
      try:
        return self._keep(artefact, download)
      finally:
        download.unlink(missing_ok=True)

  def take(self, artefact: ledger.Artefact, file: os.PathLike) -> pathlib.Path:
    """Takes in a file that was downloaded by other means: copies or converts.

    Args:
      artefact: What it is.
      file: Of the user, which stays as it is; of a pickle also its conversion,
        or what `convert.tensorflow_files` knows, where that was published too.
        Its companions lie beside it.

    Returns:
      The file that readers read.

    Raises:
      WeightsError: There is no such file, it is not what was published, or a
        companion is missing.
    """
    source = pathlib.Path(file)
    if not (source.is_file() or convert.tensorflow_files(source)):
      raise WeightsError(f'{source} is no file; wanted {artefact.file_name}.')
    for name in artefact.companions:
      companion = source.with_name(name)
      if not companion.is_file():
        raise WeightsError(
          f'there is no {companion}, which {artefact.name} needs beside its'
          f' weights: {_by_hand(artefact)}.'
        )
    with _no_empty_folder(self.folder(artefact)):
      file = self._keep(artefact, source)
    for name in artefact.companions:
      atomic.copy(source.with_name(name), file.with_name(name))
    return file

  def verify(self, artefact: ledger.Artefact) -> str:
    """Compares the bytes with those that were fetched: what was found.

    Args:
      artefact: What to verify.

    Returns:
      A sentence.

    Raises:
      WeightsError: It is missing, or changed since.
    """
    file = self.locate(artefact)
    record = self.folder(artefact) / _RECORD
    if file.parent == record.parent and record.is_file():
      _check_noted(record, file, artefact.companions)
      found = 'as it came'
    else:
      _check_content(artefact, file)
      if not artefact.is_pickle:
        _check_published(artefact, file, 'delete it and ')
      found = 'complete'
    if artefact.sha256 or artefact.git_blob:
      return found
    return f'{found}; no published digest of it is known'

  def _keep(self, artefact, original: pathlib.Path) -> pathlib.Path:
    checkpoint = convert.tensorflow_files(original)
    if checkpoint and not artefact.others:
      raise WeightsError(
        f'{original} is a checkpoint of TensorFlow; {artefact.name} is read'
        f' from {artefact.file_name} alone.'
      )
    pickled = artefact.is_pickle and original.suffix != '.safetensors'
    converts = pickled or bool(checkpoint)
    if converts:
      convert.require('tensorflow' if checkpoint else 'torch')
    # No digest of other publications is known.
    if not checkpoint and (converts or not artefact.is_pickle):
      _check_published(artefact, original)
    file = self.file(artefact)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(file) as temp:
      partial = pathlib.Path(temp)
      if converts:
        convert.to_safetensors(original, partial)
      else:
        shutil.copyfile(original, partial)
      _check_content(artefact, partial, original)
    source: dict[str, Any] = {'sha256': atomic.sha256(file)}
    # Beside the original as beside the file, whether they have been copied yet.
    source['companions'] = {
      name: atomic.sha256(original.with_name(name))
      for name in artefact.companions
    }
    if checkpoint:
      source['original_sha256'] = {p.name: atomic.sha256(p) for p in checkpoint}
    else:
      source['url'] = artefact.url
      if converts:
        source['original_sha256'] = atomic.sha256(original)
    record = file.parent / _RECORD
    atomic.write_text(record, json.dumps(source, indent=1) + '\n')
    return file


@contextlib.contextmanager
def _no_empty_folder(folder: pathlib.Path) -> Iterator[None]:
  """What fails leaves no empty folder, nor one around it, that was not there."""
  made = [f for f in (folder, folder.parent) if not f.exists()]
  try:
    yield
  except BaseException:
    for empty in made:
      with contextlib.suppress(OSError):  # There are files in it.
        empty.rmdir()
    raise


def _git_blob(file: pathlib.Path) -> str:
  """The SHA-1 by which git names a file's content."""
  digest = hashlib.sha1(f'blob {file.stat().st_size}\0'.encode())
  with file.open('rb') as f:
    while piece := f.read(1 << 20):
      digest.update(piece)
  return digest.hexdigest()


def _check_noted(
  record: pathlib.Path, file: pathlib.Path, companions: Sequence[str]
) -> None:
  """Raises WeightsError unless files are what their record noted."""
  advice = f'delete {file.parent} and fetch it again.'
  try:
    source = json.loads(record.read_text())
    noted = {file: source['sha256']}
    noted |= {file.with_name(n): source['companions'][n] for n in companions}
  except (ValueError, KeyError, TypeError) as e:
    raise WeightsError(f'{record} is damaged; {advice}') from e
  for path, wanted in noted.items():
    found = atomic.sha256(path)
    if found != wanted:
      raise WeightsError(
        f'{path} has sha256 {found}; when it came it had {wanted}: {advice}'
      )


def _check_published(
  artefact: ledger.Artefact, file: pathlib.Path, first: str = ''
) -> None:
  """Raises WeightsError unless a file has the digests that are known of it.

  Args:
    artefact: What it should be.
    file: To look at; maybe the user's, which nobody is told to delete.
    first: What to do before it is got again.
  """
  for kind, wanted, compute in (
    ('sha256', artefact.sha256, atomic.sha256),
    ("git's SHA-1", artefact.git_blob, _git_blob),
  ):
    found = compute(file) if wanted else None
    if found != wanted:
      raise WeightsError(
        f'{file} has {kind} {found}; {artefact.name} was published with'
        f' {wanted}: {first}get {artefact.url} again.'
      )


def _check_content(
  artefact: ledger.Artefact,
  file: pathlib.Path,
  given: pathlib.Path | None = None,
) -> None:
  """Raises WeightsError unless a file is readable and has what it should.

  Args:
    artefact: What it should be.
    file: To look at.
    given: What it is a copy of, for errors.
  """
  given = given or file
  try:
    names = tensors.names(file)
  except ValueError as e:
    reason = str(e).replace(str(file), str(given))
    raise WeightsError(f'this is not {artefact.name}: {reason}.') from e
  known = (artefact.holds, *artefact.others)
  if not set(known).intersection(names):
    raise WeightsError(
      f'this is not {artefact.name}: of the {len(names)} tensors of {given}'
      f' ({", ".join(sorted(names)[:3])}, ...) none is'
      f' {" or ".join(map(repr, known))}.'
    )


def _in_hub_cache(artefact: ledger.Artefact) -> pathlib.Path | None:
  """Of the layout of https://huggingface.co/docs/huggingface_hub/guides/manage-cache."""
  repository, place = artefact.hub_repository, artefact.hub_file
  if repository is None or place is None:
    return None
  version, name = place
  home = pathlib.Path.home() / '.cache' / 'huggingface'
  home = pathlib.Path(os.environ.get('HF_HOME') or home)
  cache = pathlib.Path(os.environ.get('HF_HUB_CACHE') or home / 'hub')
  model = cache / f'models--{repository.replace("/", "--")}'
  named = model / 'refs' / version
  commit = named.read_text().strip() if named.is_file() else version
  file = model / 'snapshots' / commit / name
  return file if file.is_file() else None


def _by_hand(artefact: ledger.Artefact) -> str:
  urls = [companion.url for companion in artefact.beside]
  beside = f', beside it {", ".join(urls)},' if urls else ''
  return (
    f'download {artefact.url} ({artefact.megabytes} MB){beside} elsewhere and'
    f' v2meow weights import {artefact.name} FILE'
  )


def _download(artefact: ledger.Artefact, folder: pathlib.Path) -> pathlib.Path:
  try:
    import pooch
  except ImportError as e:
    raise ImportError(
      'fetching weights needs pooch: python -m pip install -c requirements.lock'
      " -e '.[weights]'"
    ) from e
  digest = f'sha256:{artefact.sha256}' if artefact.sha256 else None
  try:
    file = pooch.retrieve(
      artefact.url,
      known_hash=digest,
      fname=f'download-{artefact.file_name}',
      path=folder,
      progressbar=True,
    )
  except ValueError as e:  # Another digest.
    raise WeightsError(f'{artefact.url}: {e}') from e
  except OSError as e:
    raise OSError(
      f'{artefact.name} could not be fetched: {e}. Or {_by_hand(artefact)}.'
    ) from e
  return pathlib.Path(file)
