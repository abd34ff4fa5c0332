"""Renders and exports the page of a study."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
from importlib import resources
import importlib.util
import json
import os
import pathlib
import re
import shutil
from typing import Any

import v2meow_jax
from v2meow_jax.files import atomic
from v2meow_jax.study import assignment
from v2meow_jax.study import protocol

TEXTS = ('consent', 'instructions', 'thanks')
ASSETS = {'study.css': 'text/css', 'study.js': 'text/javascript'}
# Nothing of other hosts, no inline scripts.
POLICY = (
  "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self';"
  " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
)
_NUM_BOOKLETS = 200  # ours: more than the participants of most studies.
_MAX_TEXT_BYTES = 100_000
_BOOKLETS = 'booklets.json'
_EXTRA = ('fastapi', 'jinja2', 'uvicorn')


def require_extra() -> None:
  """Raises ImportError unless the extra `study` is installed."""
  missing = [m for m in _EXTRA if importlib.util.find_spec(m) is None]
  if missing:
    raise ImportError(
      f'The pages of a study need {", ".join(missing)}:'
      f' {v2meow_jax.extra_command("study")}'
    )


def asset(name: str) -> str:
  """Reads a file of `web/`."""
  folder = resources.files('v2meow_jax.study') / 'web'
  return (folder / name).read_text('utf-8')


def write_texts(site: pathlib.Path) -> None:
  """Writes SITE/pages, for the organiser to edit."""
  (site / 'pages').mkdir()
  for name in TEXTS:
    (site / 'pages' / f'{name}.txt').write_text(asset(f'{name}.txt'), 'utf-8')


def read_texts(site: pathlib.Path) -> dict[str, str]:
  """Reads the texts of SITE/pages; StudyError for one that cannot be read."""
  texts = {}
  for name in TEXTS:
    path = site / 'pages' / f'{name}.txt'
    try:
      if path.stat().st_size > _MAX_TEXT_BYTES:
        raise protocol.StudyError(
          f'{path}: larger than {_MAX_TEXT_BYTES} bytes; shorten it.'
        )
      texts[name] = path.read_text('utf-8').strip()
    except (OSError, UnicodeDecodeError) as error:
      raise protocol.StudyError(
        f'{path}: cannot be read ({error}); wanted text in UTF-8.'
      ) from error
  return texts


def placeholders(texts: Mapping[str, str]) -> list[str]:
  """Lists the bracketed parts that the organiser has to fill in."""
  return [p for t in texts.values() for p in re.findall(r'\[[^\]]+\]', t)]


def consent_digest(texts: Mapping[str, str]) -> str:
  """Computes a short digest of the consent text."""
  return hashlib.sha256(texts['consent'].encode()).hexdigest()[:16]


def shown(study: protocol.Study, trial: protocol.Trial) -> dict[str, Any]:
  """Describes a trial for the page, without naming systems."""
  left, right = study.shown(trial)
  return {
    'left': f'media/{left}.mp4',
    'right': f'media/{right}.mp4',
    'wanted': trial.wanted,
    'required_seconds': round(study.required_seconds(trial), 3),
  }


def render(
  study: protocol.Study,
  texts: Mapping[str, str],
  *,
  exported: dict[str, Any] | None = None,
) -> str:
  """Renders the html of the page, which loads study.css and study.js.

  Args:
    study: The study.
    texts: Texts of SITE/pages.
    exported: Data of a copy without a server; None: there is a server.

  Returns:
    The html.

  Raises:
    ImportError: The extra `study` is not installed.
  """
  require_extra()
  import jinja2  # pylint: disable=g-import-not-at-top

  environment = jinja2.Environment(autoescape=True)
  environment.filters['paragraphs'] = lambda text: re.split(r'\n\s*\n', text)
  return environment.from_string(asset('study.html')).render(
    title=study.title,
    texts=texts,
    consent=consent_digest(texts),
    total=study.num_comparisons + study.num_checks,
    clip_seconds=max(clip.seconds for clip in study.clips.values()),
    policy=POLICY,
    exported=exported,
  )


def export(site: str | os.PathLike, out: str | os.PathLike) -> pathlib.Path:
  """Writes a copy of the study that needs no server.

  Any web host can serve the folder, and a browser can open it from a disk.
  Answers stay in the browser, and at the end are saved as a file, which the
  organiser puts into SITE/answers.

  Args:
    site: Folder of the study.
    out: New folder.

  Returns:
    Path of the page.

  Raises:
    StudyError: The study is damaged, or `out` is there already.
  """
  site, out = pathlib.Path(site), pathlib.Path(os.path.abspath(out))
  study, texts = protocol.load(site), read_texts(site)
  if out.exists():
    raise protocol.StudyError(f'{out}: is there already; name a new folder.')
  trials = read_booklets(site)
  if not trials:
    trials = assignment.booklets(study, _NUM_BOOKLETS)
    plain = [[dataclasses.asdict(t) for t in booklet] for booklet in trials]
    atomic.write_text(
      site / _BOOKLETS, json.dumps({'study': study.id, 'booklets': plain})
    )
  exported = {
    'format': protocol.FORMAT,
    'study': study.id,
    'booklets': [[shown(study, t) for t in booklet] for booklet in trials],
  }
  with atomic.replacing_folder(out, marker='index.html') as folder:
    temp = pathlib.Path(folder)
    (temp / 'media').mkdir()
    for token in study.files:
      name = f'media/{token}.mp4'
      _link(site / name, temp / name)
    for name in ASSETS:
      (temp / name).write_text(asset(name), 'utf-8')
    (temp / 'index.html').write_text(
      render(study, texts, exported=exported), 'utf-8'
    )
  return out / 'index.html'


def read_booklets(site: pathlib.Path) -> Sequence[Sequence[protocol.Trial]]:
  """Reads the trials of an exported copy; empty when there is none."""
  path = site / _BOOKLETS
  if not path.exists():
    return []
  try:
    booklets = json.loads(path.read_text('utf-8'))['booklets']
    return [[protocol.Trial(**trial) for trial in b] for b in booklets]
  except (ValueError, KeyError, TypeError) as error:
    raise protocol.StudyError(
      f'{path}: damaged ({error}); restore a backup.'
    ) from error


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
  """Makes a hard link, or a copy where that fails."""
  try:
    os.link(source, target)
  except OSError:
    shutil.copy2(source, target)
