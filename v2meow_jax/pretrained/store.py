"""Keeps, fetches, imports and verifies published weights on this machine."""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import v2meow_jax
from v2meow_jax.files import atomic
from v2meow_jax.files import copies
from v2meow_jax.files import paths
from v2meow_jax.pretrained import convert
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import tensors

VARIABLE = 'V2MEOW_WEIGHTS_DIR'
_RECORD = 'SOURCE.json'


class WeightsError(ValueError):
  """Weights are missing, or differ from the published ones."""


def default_dir() -> pathlib.Path:
  """$V2MEOW_WEIGHTS_DIR, or a folder in the user's cache."""
  folder = os.environ.get(VARIABLE)
  if folder:
    return paths.path(folder)
  return paths.user_cache() / 'weights'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Store:
  """A folder with a subfolder for each artefact.

  Attributes:
    path: Folder of weights, here or in a bucket; ~ is the user's home.

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
    """Folder of an artefact."""
    return self.path / artefact.name

  def file(self, artefact: ledger.Artefact) -> pathlib.Path:
    """File that readers read: the conversion of a pickle, else the original."""
    file = self.folder(artefact) / artefact.file_name
    return file.with_suffix('.safetensors') if artefact.is_pickle else file

  def find(self, artefact: ledger.Artefact) -> pathlib.Path | None:
    """Finds the file, here or in the hub's cache, with all its companions."""
    file = self.file(artefact)
    candidates = [file if file.is_file() else None]
    if not artefact.is_pickle:
      candidates.append(_in_hub_cache(artefact))
    for path in filter(None, candidates):
      if all((path.parent / name).is_file() for name in artefact.companions):
        return path
    return None

  def locate(self, artefact: ledger.Artefact) -> pathlib.Path:
    """Finds the file; WeightsError says how to get what is missing.

    What lies in a bucket is copied to this machine, with what is beside it.
    """
    file = self._found(artefact)
    return copies.local(file.parent) / file.name

  def _found(self, artefact: ledger.Artefact) -> pathlib.Path:
    file = self.find(artefact)
    if file:
      return file
    raise WeightsError(
      f'the weights {artefact.name!r} are not at {self.file(artefact)}: v2meow'
      f' weights fetch {artefact.name}, or {_by_hand(artefact)}.'
    )

  def fetch(self, artefact: ledger.Artefact) -> pathlib.Path:
    """Downloads an artefact unless it is here, and converts a pickle.

    Args:
      artefact: Artefact to fetch.

    Returns:
      The file that readers read.

    Raises:
      WeightsError: The download differs from the published file.
      OSError: The server cannot be reached.
    """
    if found := self.find(artefact):
      return found
    if artefact.is_pickle:
      convert.require()
    folder = self.folder(artefact)
    with _no_empty_folder(folder), contextlib.ExitStack() as stack:
      downloads = folder
      if paths.is_remote(folder):
        temp = stack.enter_context(tempfile.TemporaryDirectory())
        downloads = pathlib.Path(temp)
      for companion in artefact.beside:
        file = _download(companion, downloads)
        name = companion.file_name
        file = file.replace(downloads / name)
        if downloads is not folder:
          atomic.copy(file, folder / name)
      download = _download(artefact, downloads)
      try:
        return self._keep(artefact, download)
      finally:
        download.unlink(missing_ok=True)

  def take(self, artefact: ledger.Artefact, file: os.PathLike) -> pathlib.Path:
    """Imports a file that was downloaded by other means: copies or converts.

    Args:
      artefact: Artefact that the file is.
      file: File to import, which stays as it is; for a pickle also its
        conversion, or a checkpoint (`convert.tensorflow_files`) if one was
        published. Its companions lie beside it.

    Returns:
      The file that readers read.

    Raises:
      WeightsError: There is no such file, it differs from the published one, or
        a companion is missing.
    """
    source = copies.local(file)
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
    """Compares the file with what was fetched or published.

    Args:
      artefact: Artefact to verify.

    Returns:
      The result, as a sentence.

    Raises:
      WeightsError: It is missing, or changed since.
    """
    file = self._found(artefact)
    record = self.folder(artefact) / _RECORD
    if file.parent == record.parent and record.is_file():
      _check_noted(record, file, artefact.companions)
      result = 'as fetched'
    else:
      _check_content(artefact, self.locate(artefact))
      if not artefact.is_pickle:
        _check_published(artefact, file, 'delete it and ')
      result = 'complete'
    if artefact.sha256 or artefact.git_blob:
      return result
    return f'{result}; no published digest of it is known'

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
    # Beside the original, as they may not have been copied yet.
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
  """Removes a new folder and its parent if the block fails and they are empty."""
  new = [f for f in (folder, folder.parent) if not f.exists()]
  try:
    yield
  except BaseException:
    for parent in new:
      with contextlib.suppress(OSError):  # There are files in it.
        parent.rmdir()
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
  """Raises WeightsError unless files match their record."""
  advice = f'delete {file.parent} and fetch it again.'
  try:
    source = json.loads(record.read_bytes())
    digests = {file: source['sha256']}
    digests |= {file.with_name(n): source['companions'][n] for n in companions}
  except (ValueError, KeyError, TypeError) as e:
    raise WeightsError(f'{record} is damaged; {advice}') from e
  for path, wanted in digests.items():
    digest = atomic.sha256(path)
    if digest != wanted:
      raise WeightsError(
        f'{path} has sha256 {digest}; when it was fetched it had {wanted}:'
        f' {advice}'
      )


def _check_published(
  artefact: ledger.Artefact, file: pathlib.Path, first: str = ''
) -> None:
  """Raises WeightsError unless a file has the published digests.

  Args:
    artefact: Artefact that the file should be.
    file: File to check, which may be the user's own.
    first: Advice to put before that of fetching it again.
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
  """Raises WeightsError unless a file is readable and has a known tensor.

  Args:
    artefact: Artefact that the file should be.
    file: File to check.
    given: Original of the file, for errors.
  """
  given = given or file
  try:
    names = tensors.names(file)
  except ValueError as e:
    reason = str(e).replace(str(file), str(given))
    raise WeightsError(f'this is not {artefact.name}: {reason}.') from e
  if artefact.lacks in names:
    raise WeightsError(
      f'this is not {artefact.name}: {given} has {artefact.lacks!r}, as a larger'
      ' network of its kind.'
    )
  known = (artefact.holds, *artefact.others)
  if not set(known).intersection(names):
    raise WeightsError(
      f'this is not {artefact.name}: of the {len(names)} tensors of {given}'
      f' ({", ".join(sorted(names)[:3])}, ...) none is'
      f' {" or ".join(map(repr, known))}.'
    )


def _in_hub_cache(artefact: ledger.Artefact) -> pathlib.Path | None:
  """Finds an artefact in the cache of the Hugging Face hub.

  Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
  """
  repository, place = artefact.hub_repository, artefact.hub_file
  if repository is None or place is None:
    return None
  version, name = place
  home = pathlib.Path.home() / '.cache' / 'huggingface'
  home = pathlib.Path(os.environ.get('HF_HOME') or home)
  cache = pathlib.Path(os.environ.get('HF_HUB_CACHE') or home / 'hub')
  model = cache / f'models--{repository.replace("/", "--")}'
  named = model / 'refs' / version
  commit = named.read_text('utf-8').strip() if named.is_file() else version
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
      f'fetching weights needs pooch: {v2meow_jax.extra_command("weights")}'
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
