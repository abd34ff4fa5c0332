"""Prints tables, writes json and runs benchmarks with one-line errors."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import json
import os
import pathlib
import shlex
import subprocess
import sys
from typing import Any

from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.files import atomic


def parser(module: str, description: str, example: str):
  """Makes an argument parser with `--json`, and an example in --help.

  Args:
    module: Module of the benchmark, for `python -m`.
    description: Description in --help.
    example: A command line that works.

  Returns:
    An `argparse.ArgumentParser`.
  """
  made = argparse.ArgumentParser(
    prog=f'python -m {module}',
    description=description,
    epilog=f'example:\n  {example}',
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  made.add_argument('--json', metavar='FILE', help='also write the figures')
  return made


def add_system(parser: argparse.ArgumentParser) -> None:
  """Adds `--system` to the parser of a benchmark that measures one."""
  parser.add_argument(
    '--system',
    metavar='DIR',
    help='folder of a released system (default: the one of songs)',
  )


def add_scenes(
  parser: argparse.ArgumentParser, num: int, probe_per_genre: int
) -> None:
  """Adds what says which held-out scenes a benchmark judges, and by whom.

  Args:
    parser: Parser of the benchmark.
    num: Default number of scenes.
    probe_per_genre: Default number of clips of a genre.
  """
  add = parser.add_argument
  add(
    '--num', type=positive, default=num, help=f'held-out scenes (default {num})'
  )
  add('--seed', type=int, default=7, help='of scenes and draws (default 7)')
  add('--seconds', type=float, default=10.0, help='of a clip (default 10)')
  add(
    '--probe_per_genre',
    type=positive,
    default=probe_per_genre,
    help='clips per genre that the classifier is fitted on (default'
    f' {probe_per_genre})',
  )


def add_work(parser: argparse.ArgumentParser, default: str) -> None:
  """Adds `--work` to the parser of a benchmark that trains, and resumes."""
  parser.add_argument(
    '--work', default=default, help=f'of data and runs (default {default})'
  )


def work_folder(options: argparse.Namespace) -> pathlib.Path:
  """The folder of `--work`, made; refuses a `--json` that cannot be written."""
  check_json_path(options.json)
  work = pathlib.Path(options.work)
  work.mkdir(parents=True, exist_ok=True)
  return work


def positive(text: str) -> int:
  """Parses a whole number above 0, for argparse."""
  value = int(text)
  if value < 1:
    raise argparse.ArgumentTypeError(f'{value} is not above 0')
  return value


def check_json_path(path: str | None) -> None:
  """Refuses a `--json` that could not be written, before the work is done."""
  if path is not None:
    check_output('--json', path)


def check_output(option: str, path: str) -> None:
  """Refuses an output that could not be written, before the work is done.

  Args:
    option: Option that names it.
    path: File to write.

  Raises:
    ValueError: The folder does not exist or cannot be written.
  """
  folder = pathlib.Path(path).resolve().parent
  if not folder.is_dir() or not os.access(folder, os.W_OK):
    raise ValueError(
      f'{option} {path}: {folder} is not a folder that can be written; create'
      ' it or choose another.'
    )


def write_json(path: str | None, figures: dict[str, Any]) -> None:
  """Writes the figures with the versions of libraries; None: nothing."""
  if path is None:
    return
  text = json.dumps({**figures, 'versions': scores.libraries()}, indent=2)
  atomic.write_text(path, text + '\n')


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
  """Formats a text table; the first column flush left, the others right.

  >>> print(table(['level', 'error'], [[1, 2.5], [12, 1.25]]))
  level  error
  1        2.5
  12      1.25
  """
  cells = [[str(cell) for cell in row] for row in (header, *rows)]
  widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
  return '\n'.join(
    '  '.join(
      cell.rjust(width) if i else cell.ljust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in cells
  )


def progress(items: Sequence, what: str) -> Iterable:
  """Iterates with a progress bar on stderr."""
  from v2meow_jax import progress as progress_lib

  return progress_lib.bar(items, desc=what)


def verb(data_dir: pathlib.Path, *words: Any) -> None:
  """Runs a verb as a user would, on the records of a folder.

  Raises:
    ValueError: It failed, and said why.
  """
  argv = [sys.executable, '-m', 'v2meow_jax.cli.main', *map(str, words)]
  print('+', shlex.join(argv[3:]), flush=True)
  env = {**os.environ, 'V2MEOW_DATA_DIR': str(data_dir)}
  if subprocess.run(argv, env=env).returncode:
    raise ValueError(f'{shlex.join(argv)} failed; see above.')


def run(main: Callable[[], None]) -> int:
  """Runs a benchmark; a user's mistake becomes one line and exit code 2."""
  try:
    main()
  except (ValueError, OSError, ImportError) as e:
    print(f'error: {" ".join(str(e).split())}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    return 130
  return 0
