"""Shows progress of long work: a bar on a terminal, lines in a log."""

from collections.abc import Iterable
import sys
from typing import Any

import tqdm

_LIVE_SECONDS = 0.5
_LOG_SECONDS = 30.0
_SHARE = (
  '{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}'
)
_COUNT = '{desc}: {n_fmt} {unit}s, {elapsed}{postfix}'


class _Lines:
  """Writes each state of a bar as a line on standard error."""

  def write(self, text: str) -> None:
    # What else writes to it begins a line of its own.
    if line := text.strip('\r\n'):
      sys.stderr.write(line + '\n')

  def flush(self) -> None:
    sys.stderr.flush()


def bar(items: Iterable[Any] | None = None, **options: Any) -> tqdm.tqdm:
  """Makes a tqdm bar on standard error.

  Args:
    items: Items to iterate over; None: call `update`.
    **options: Options of tqdm: `total`, `unit`, `desc`, `initial`, `disable`,
      `bar_format`.

  Returns:
    The bar, which is iterable and a context manager.
  """
  if options.get('total') is None and not hasattr(items, '__len__'):
    options = {'bar_format': _COUNT, 'unit': 'item', **options}
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


def share_bar(total: float, desc: str) -> tqdm.tqdm:
  """Makes a bar that shows a share and the time left, and no numbers.

  Args:
    total: Sum of what `update` will get.
    desc: Name of what is made.

  Returns:
    The bar, whose postfix says what is at work.
  """
  return bar(total=total, desc=desc, bar_format=_SHARE)
