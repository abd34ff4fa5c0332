"""Shows progress of long work: a bar on a terminal, lines in a log."""

from collections.abc import Iterable
import sys
from typing import Any

import tqdm

_LIVE_SECONDS = 0.5
_LOG_SECONDS = 30.0


class _Lines:
  """Writes each state of a bar as a line on standard error."""

  def write(self, text: str) -> None:
    sys.stderr.write(text.replace('\r', '\n'))

  def flush(self) -> None:
    sys.stderr.flush()


def bar(items: Iterable[Any] | None = None, **options: Any) -> tqdm.tqdm:
  """Makes a tqdm bar on standard error.

  Args:
    items: Items to iterate over; None: call `update`.
    **options: Options of tqdm: `total`, `unit`, `desc`, `initial`, `disable`.

  Returns:
    The bar, which is iterable and a context manager.
  """
  if sys.stderr.isatty():
    return tqdm.tqdm(
      items, dynamic_ncols=True, mininterval=_LIVE_SECONDS, **options
    )
  return tqdm.tqdm(
    items,
    file=_Lines(),
    mininterval=_LOG_SECONDS,
    maxinterval=_LOG_SECONDS,
    **options,
  )
