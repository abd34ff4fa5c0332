"""Makes the takes of a command, with progress, from where it stopped before."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import pathlib
import sys
from typing import Any

from v2meow_jax import progress as progress_lib
from v2meow_jax.files import full_disk
from v2meow_jax.files import paths
from v2meow_jax.files.films import scratch
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference.films import unfinished


@contextlib.contextmanager
def soundtracks(
  system: Any,
  requests: Mapping[pathlib.Path, requests_lib.Request],
  keys: Sequence[str],
  *,
  seconds: float,
  sampling: pipeline.Samplings | None = None,
  rows: int | None = None,
  resume: bool = False,
) -> Iterator[list[requests_lib.Soundtrack]]:
  """Soundtracks of requests, whose work is kept until the block ends.

  Args:
    system: Released system, loaded.
    requests: Requests by the paths of their outputs.
    keys: Digest of what acts on each, as `unfinished.key` gives it.
    seconds: Length of the video, in seconds.
    sampling: Options of the sampler, as in `System.run_batch`.
    rows: Number of windows in a call, as in `System.run_batch`.
    resume: Whether to go on with work that is kept.

  Yields:
    The soundtracks; whoever writes them does so in the block.
  """
  out = next(iter(requests))
  is_kept = seconds > unfinished.MIN_SECONDS and not paths.is_remote(out)
  outputs = dict(zip(requests, keys, strict=True)) if is_kept else {}

  def run(
    works: Sequence[unfinished.Unfinished],
  ) -> list[requests_lib.Soundtrack]:
    with shown(system, out.name, seconds * len(requests)) as on_progress:
      return system.run_batch(
        list(requests.values()),
        sampling=sampling,
        rows=rows,
        on_progress=on_progress,
        scratch=scratch.folder(out),
        kept=works,
      )

  left = [] if resume else [o for o in outputs if unfinished.is_kept(o)]
  try:
    with unfinished.opened(outputs, resume=resume) as works:
      for out in left:
        print(
          f'v2meow: {out} begins anew; --resume would go on with what an'
          ' interrupted command has left of it.',
          file=sys.stderr,
        )
      yield run(works)  # Not held here: the block may be long.
  except full_disk.FullDiskError as e:
    if not is_kept:
      raise
    advice = 'with room here, --resume goes on from what is kept'
    raise full_disk.FullDiskError(
      e.errno, f'{e.strerror}; {advice}', e.filename
    ) from e


@contextlib.contextmanager
def shown(
  system: Any, name: str, seconds: float
) -> Iterator[Callable[[str, float], None]]:
  """A bar that shows how far the parts of a system are, and the time left.

  Args:
    system: System whose `parts` each do all seconds.
    name: Name of what is made.
    seconds: Length of all videos together.

  Yields:
    Function to call with a part and the seconds that it has done.
  """
  done = dict.fromkeys(system.parts, 0.0)
  with progress_lib.share_bar(seconds * len(done), name) as bar:

    def show(part: str, new: float) -> None:
      # Windows reach beyond the end of a clip.
      new = min(new, seconds - done[part])
      done[part] += new
      bar.set_postfix_str(part, refresh=False)
      bar.update(min(new, bar.total - bar.n))

    yield show


def check_resumable(outputs: Sequence[pathlib.Path], resume: bool) -> None:
  """Raises ValueError to go on with work at an output in a bucket: none is kept."""
  for out in outputs:
    if resume and paths.is_remote(out):
      raise ValueError(
        f'the work at {out} is not kept, as it is in a bucket; write to this'
        ' machine to be able to --resume.'
      )
