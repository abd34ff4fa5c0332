"""Makes programs ready in threads while other work goes on."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import os

# Python traces one program at a time, and XLA compiles in parallel.
_MAX_THREADS = 4


@contextlib.contextmanager
def ahead(calls: Iterable[Callable[[], object]]) -> Iterator[None]:
  """Runs calls in threads while the block runs, and after it.

  Args:
    calls: Calls that make ready what will be needed, the first needed first.
      Whoever needs what one failed to make meets the failure again.
  """
  pool = futures.ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
  try:
    for call in calls:
      pool.submit(call)
    yield
  except BaseException:
    pool.shutdown(wait=False, cancel_futures=True)
    raise
  pool.shutdown(wait=False)
