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
def ahead(
  calls: Iterable[Callable[[], object]],
  later: Iterable[Callable[[], object]] = (),
) -> Iterator[None]:
  """Runs calls in threads while the block runs, and after it.

  Args:
    calls: Calls that make ready what will be needed, the first needed first.
      Whoever needs what one failed to make meets the failure again.
    later: Calls that begin when all others have ended, as nobody waits for them.
  """
  pool = futures.ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
  try:
    needed = [pool.submit(call) for call in calls]
    for call in later:
      pool.submit(_after, needed, call)
    yield
  except BaseException:
    pool.shutdown(wait=False, cancel_futures=True)
    raise
  pool.shutdown(wait=False)


def _after(
  others: list[futures.Future[object]], call: Callable[[], object]
) -> None:
  futures.wait(others)
  call()
