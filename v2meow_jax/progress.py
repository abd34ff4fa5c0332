"""Progress of long work: a bar on a terminal, now and then a line in a log."""

from __future__ import annotations

from collections.abc import Iterable
import sys
from typing import Any

import tqdm

_LIVE_SECONDS = 0.5
_LOG_SECONDS = 30.0


class _Lines:
  """Standard error, with a line for each state of a bar."""

  def write(self, text: str) -> None:
    sys.stderr.write(text.replace('\r', '\n'))

  def flush(self) -> None:
    sys.stderr.flush()


def bar(items: Iterable[Any] | None = None, **options: Any) -> tqdm.tqdm:
  """A tqdm bar on standard error.

  Args:
    items: To go through; None: call `update`.
    **options: Of tqdm: `total`, `unit`, `desc`, `initial`, `disable`.

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
