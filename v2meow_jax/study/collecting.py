"""Collects all answers to a study, of the server and of exported copies."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib

from v2meow_jax.study import answers
from v2meow_jax.study import pages
from v2meow_jax.study import protocol
from v2meow_jax.study import screening
from v2meow_jax.study import storage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collected:
  """All answers to a study.

  Attributes:
    kept: Raters that count.
    excluded: Reasons for leaving out raters, by code.
    rejected: Reasons for rejecting files, by name.
    num_silent: Number of participants who joined and answered nothing.
  """

  kept: Sequence[answers.Rater]
  excluded: Mapping[str, Sequence[str]]
  rejected: Mapping[str, str]
  num_silent: int


def collect(
  site: pathlib.Path,
  study: protocol.Study,
  rules: screening.Rules,
  *,
  keep_all: bool,
) -> Collected:
  """Reads all answers there are.

  Args:
    site: Folder of the study, with answers.sqlite, answers/*.json, or both.
    study: The study.
    rules: Rules for leaving out raters.
    keep_all: Whether to keep those too.

  Returns:
    All answers.

  Raises:
    StudyError: answers.sqlite or booklets.json is damaged, or of another study.
  """
  raters, rejected = [], {}
  if (site / storage.FILE_NAME).exists():
    raters += storage.Storage(site / storage.FILE_NAME, study).raters()
  booklets = pages.read_booklets(site)
  codes = {rater.code for rater in raters}
  for path in sorted((site / 'answers').glob('*.json')):
    try:
      rater = answers.read_file(path, study, booklets)
      if rater.code in codes:
        raise protocol.StudyError(f'the answers of {rater.code} once more')
    except (protocol.StudyError, OSError) as error:
      rejected[path.name] = str(error)
      continue
    codes.add(rater.code)
    raters.append(rater)
  answering = [r for r in raters if r.answers]
  excluded = {
    r.code: reasons
    for r in answering
    if (reasons := screening.reasons(r, study, rules))
  }
  return Collected(
    kept=[r for r in answering if keep_all or r.code not in excluded],
    excluded=excluded,
    rejected=rejected,
    num_silent=len(raters) - len(answering),
  )
