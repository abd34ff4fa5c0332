"""Runs every verb many times, in forks of one process, and looks at their ends.

What commands import is imported once; each fork then is a command, with all
threads of its own, up to the end of its process. Four run at once.

  python -m tests.fakes.endings FOLDER --times 20

runs each with an error and interrupted at its start, and those that take no
time with success; `--in-full` also those that take long, and interrupts these
all along their way (an hour on two cores; `--only batch` runs one verb). What
is measured is time in which this process was let run, as the commands are.
"""

import argparse
import atexit
import collections
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent import futures
import dataclasses
import faulthandler
import gc
import importlib
import itertools
import json
import os
import pathlib
import select
import shlex
import signal
import statistics
import sys
import threading
import time
from typing import NoReturn
import warnings

# The libraries of all verbs, which take most of the time of a short command.
_IMPORTED = (
  'v2meow_jax.cli.main',
  'v2meow_jax.data.batches',
  'v2meow_jax.evaluation.reports.runner',
  'v2meow_jax.explain.influence_plot',
  'v2meow_jax.inference.export',
  'v2meow_jax.inference.system',
  'v2meow_jax.jobs.generate.job',
  'v2meow_jax.jobs.prepare.prepare',
  'v2meow_jax.study.app',
  'v2meow_jax.training.loop',
  'librosa',
)
REFUSED = (
  'train --gin_file=runs/train.gin --gin_file=stages/semantic.gin'
  ' --gin_file=tiny.gin',
  'generate {folder}/missing.mp4 -o {out}.wav',
  'plan {folder}/missing.mp4 -o {out}.json',
  'rank {folder}/missing.mp4 a.wav b.wav --system tiny',
  'explain {folder}/missing.mp4 -o {out}.png',
  'batch {folder}/missing.jsonl -o {out}',
  'data synth /proc/none --num 1',
  'data fit {folder}/missing.jsonl -o {out}.safetensors',
  'data prepare {folder}/missing.jsonl {out}',
  'export {out} --stages missing --features a --style b --codec c',
  'evaluate --generated {folder}/missing --reference {folder}/missing',
  'licenses {folder}/missing',
  'weights verify missing',
  'study serve {folder}/missing',
  'experiments --gin_file=missing.gin',
  'doctor {folder}/missing',
)
DONE = (
  'licenses',
  'weights list',
  'data synth {out} --num 1 --seconds 1',
)
LONG = (
  'train --gin_file=runs/train.gin --gin_file=codecs/tiny.gin --gin.BATCH_SIZE=2'
  ' --gin.WARMUP_STEPS=1 --gin.TRAIN_STEPS=2'
  """ --gin.MANIFEST="'{manifest}'" --gin.MODEL_DIR="'{out}'" """,
  'generate {clip} -o {out}.wav',
  'plan {clip} -o {out}.json',
  'explain {clip} -o {out}.png',
  'batch {folder}/clips.jsonl -o {out}',
  'data synth {out} --num 8 --seconds 2 --workers 2',
  'export {out} --system tiny',
  'data fit {manifest} -o {out}.safetensors --num 2',
  'data prepare {folder}/held_out.jsonl {out}',
  'evaluate --generated {world} --reference {world} -o {out}',
  'experiments',
  'doctor',
)
# What these start ends in threads or processes: tf.data and orbax, Beam, workers.
THREADED = ('train', 'data prepare', 'batch')
# Ends take less than this many times the way to the last line.
MOST_OF_START = 2.0
# A silent command that uses less than this share of a core hangs.
_AT_WORK = 0.02
_WAYS = ('error', 'success', 'Ctrl-C')
_USER_ERROR, _INTERRUPTED, _TRY_AGAIN = 2, 130, 75
_AT_ONCE = 4
_TICK_SECONDS = 0.01
_EARLY_STEP = 0.02  # seconds from one early Ctrl-C to the next
_MOST_OF_TICK = 0.2


@dataclasses.dataclass(frozen=True)
class Run:
  """A command that is to be run.

  Attributes:
    command: Words of the command.
    interrupted_after: Seconds after which it gets a Ctrl-C; None: none.
    is_stuck: Whether threads and exit functions that never end run in it.
  """

  command: str
  interrupted_after: float | None = None
  is_stuck: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
  """How a command ended.

  Attributes:
    command: Words of the command.
    code: Exit code; minus a signal's number when it was killed.
    output: What it printed.
    seconds: Time from its start to its last line, imports left out.
    share: Time from its last line to the end of its process, as a share of the
      time that its imports and its way to the last line took.
  """

  command: str
  code: int
  output: str
  seconds: float
  share: float


@dataclasses.dataclass
class _Child:
  command: str
  interrupted_at: float | None
  pid: int
  pipe: int
  start: float
  last: float
  output: bytes = b''
  used: float = 0.0  # CPU seconds when it was asked last whether it hangs
  most: float = MOST_OF_START  # share at which it is asked next
  is_open: bool = True


class _Clock:
  """Time in which this process was let run, in seconds.

  A machine that is busy or a shell that stops this process stops the commands
  as well: what passes between two looks counts up to a bound.
  """

  def __init__(self):
    self._last, self._seconds = time.monotonic(), 0.0

  def now(self) -> float:
    now = time.monotonic()
    self._seconds += min(now - self._last, _MOST_OF_TICK)
    self._last = now
    return self._seconds


def _cpu_seconds(pid: int) -> float:
  """What a process and those that it started have computed so far."""
  family, ticks = {pid}, 0
  for folder in sorted(pathlib.Path('/proc').glob('[0-9]*'), key=_number):
    try:
      words = (folder / 'stat').read_text().rpartition(')')[2].split()
    except OSError:
      continue  # It has ended.
    if _number(folder) in family or int(words[1]) in family:
      family.add(_number(folder))
      ticks += sum(map(int, words[11:15]))
  return ticks / os.sysconf('SC_CLK_TCK')


def _number(folder: pathlib.Path) -> int:
  return int(folder.name)


class Zygote:
  """A process in which everything is imported and no thread runs."""

  def __init__(self):
    """Imports the libraries."""
    start = time.monotonic()
    for name in _IMPORTED:
      importlib.import_module(name)
    self.import_seconds = time.monotonic() - start
    self._clock = _Clock()
    gc.freeze()  # Children do not copy what they look at to collect it.
    # JAX warns of forks from processes with threads, of which there are none.
    warnings.filterwarnings(
      'ignore', message='os.fork', category=RuntimeWarning
    )

  def run(self, runs: Iterable[Run]) -> Iterator[Ending]:
    """Runs commands, four at once; those that hang are killed.

    Args:
      runs: Commands, and what befalls them.

    Yields:
      Endings, in the order in which they came.
    """
    waiting, running = collections.deque(runs), []
    while waiting or running:
      while waiting and len(running) < _AT_ONCE:
        running.append(self._start(waiting.popleft()))
      select.select(
        [c.pipe for c in running if c.is_open], [], [], _TICK_SECONDS
      )
      for child in list(running):
        if (ending := self._look(child)) is not None:
          os.close(child.pipe)
          running.remove(child)
          yield ending

  def _start(self, run: Run) -> _Child:
    received, sent = os.pipe()
    sys.stdout.flush()
    if not (pid := os.fork()):
      os.close(received)
      os.dup2(sent, 1)
      os.dup2(sent, 2)
      _become(run.command, run.is_stuck)
    os.close(sent)
    os.set_blocking(received, False)
    now, after = self._clock.now(), run.interrupted_after
    at = None if after is None else now + after
    return _Child(run.command, at, pid, received, now, now)

  def _look(self, child: _Child) -> Ending | None:
    """Reads, interrupts or ends a child; how it ended, if it did."""
    ended, status = os.waitpid(child.pid, os.WNOHANG)
    now = self._clock.now()
    while child.is_open:
      try:
        more = os.read(child.pipe, 1 << 16)
      except BlockingIOError:
        break
      child.is_open = bool(more)
      if more:
        child.output, child.last = child.output + more, now
    if child.interrupted_at is not None and now >= child.interrupted_at:
      child.interrupted_at = None
      if not ended:
        os.kill(child.pid, signal.SIGINT)
    seconds = child.last - child.start
    before = self.import_seconds + seconds
    share = (now - child.last) / before
    if not ended and child.output and self._hangs(child, share, before):
      os.kill(child.pid, signal.SIGKILL)
      ended, status = os.waitpid(child.pid, 0)
    if not ended:
      return None
    code = os.waitstatus_to_exitcode(status)
    return Ending(
      command=child.command,
      code=code,
      output=child.output.decode(errors='replace'),
      seconds=seconds,
      share=share,
    )

  def _hangs(self, child: _Child, share: float, before: float) -> bool:
    """Whether it was silent for long and has not even computed."""
    if share < child.most:
      return False
    used, child.used = child.used, _cpu_seconds(child.pid)
    child.most = share + MOST_OF_START
    return child.used - used < _AT_WORK * MOST_OF_START * before


def _become(command: str, is_stuck: bool) -> NoReturn:
  """Turns this process into the command `v2meow`; never returns."""
  from v2meow_jax.cli import ending
  from v2meow_jax.cli import main

  # Shells have it ignored in what runs beside them.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  # Those of the parent know the places of a file. Lines come as on a terminal.
  sys.stdout, sys.stderr = (
    open(fd, 'w', buffering=1, closefd=False) for fd in (1, 2)
  )
  faulthandler.enable()
  if is_stuck:
    ending._SECONDS = 0.5
    threading.Thread(target=time.sleep, args=(1000,)).start()
    futures.ThreadPoolExecutor().submit(time.sleep, 1000)
    atexit.register(time.sleep, 1000)
  sys.argv = ['v2meow', *shlex.split(command)]
  try:
    main.run()
  except KeyboardInterrupt:
    os._exit(_INTERRUPTED)  # It came before the first line of the command.


@dataclasses.dataclass(frozen=True)
class _Round:
  way: str
  command: str
  codes: set[int]  # that it may end with


def _rounds(in_full: bool) -> list[_Round]:
  """Every verb, with every way to end."""
  rounds = [_Round('error', c, {_USER_ERROR}) for c in REFUSED]
  rounds += [_Round('success', c, {0}) for c in DONE + LONG * in_full]
  # A trainer that was asked to stop wants to be started again.
  either = {0, _INTERRUPTED, _TRY_AGAIN}
  return rounds + [_Round('Ctrl-C', c, either) for c in LONG]


def _endings(
  zygote: Zygote, this: _Round, words: Iterator[str], times: int, in_full: bool
) -> list[Ending]:
  """How the runs of a round end, and one with threads that never end."""
  if this.way != 'Ctrl-C':
    runs = [Run(next(words), is_stuck=i == 0) for i in range(times + 1)]
    return list(zygote.run(runs))
  step = _EARLY_STEP
  if in_full:  # All along the way that as many take beside one another.
    wholes = zygote.run(Run(next(words)) for _ in range(_AT_ONCE))
    step = max(whole.seconds for whole in wholes) / times
  return list(
    zygote.run(Run(next(words), 0.05 + step * i) for i in range(times))
  )


def _materials(zygote: Zygote, folder: str) -> dict[str, str]:
  """Makes clips and their lists; names of these for commands."""
  world = f'data synth {folder}/world --num 10 --seconds 2'
  list(zygote.run([Run(world)]))
  with open(f'{folder}/clips.jsonl', 'w') as file:
    json.dump({'id': 'a', 'path': 'world/clips/000000.mp4'}, file)
  # Clips of 2 s train nothing, and can be evaluated.
  rows = pathlib.Path(folder, 'world/manifest.jsonl').read_text().splitlines()
  with open(f'{folder}/held_out.jsonl', 'w') as file:
    for row in map(json.loads, rows):
      row |= {'path': f'world/{row["path"]}', 'split': 'validation'}
      print(json.dumps(row), file=file)
  return {
    'folder': folder,
    'world': f'{folder}/world/clips',
    'manifest': f'{folder}/world/manifest.jsonl',
    'clip': f'{folder}/world/clips/000000.mp4',
  }


def main() -> int:
  """Runs all commands, prints a line for each, and returns 1 if any hangs."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('folder', help='empty folder to work in')
  parser.add_argument('--times', type=int, default=20)
  parser.add_argument(
    '--times-of-plain', type=int, help='of verbs that start no threads'
  )
  parser.add_argument('--in-full', action='store_true')
  parser.add_argument('--only', default='', help='how commands begin')
  parser.add_argument('--way', choices=_WAYS, help='only with this end')
  args = parser.parse_args()
  os.environ['V2MEOW_DATA_DIR'] = args.folder
  zygote, wrong, count = Zygote(), 0, itertools.count()
  names = _materials(zygote, args.folder)
  for this in _rounds(args.in_full):
    is_wanted = args.way in (None, this.way)
    if not (is_wanted and this.command.startswith(args.only)):
      continue
    words = (
      this.command.format(**names, out=f'{args.folder}/{number}')
      for number in count
    )
    times = args.times
    if args.times_of_plain and not this.command.startswith(THREADED):
      times = args.times_of_plain
    endings = _endings(zygote, this, words, times, args.in_full)
    worst = max(endings, key=lambda e: e.share)
    row = {
      'way': this.way,
      'verb': worst.command.split()[0],
      'codes': collections.Counter(e.code for e in endings),
      'seconds': round(statistics.median(e.seconds for e in endings), 2),
      'worst_share': round(worst.share, 3),
      'command': worst.command,
    }
    print(json.dumps(row), flush=True)
    wrongs = [
      e for e in endings if e.code not in this.codes or e.share > MOST_OF_START
    ]
    if wrongs:
      print(wrongs[0].output)
    wrong += bool(wrongs)
  return min(wrong, 1)


if __name__ == '__main__':
  sys.exit(main())
