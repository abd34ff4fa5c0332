"""`v2meow study`: builds, serves, exports and analyses a listening study."""

import argparse
import errno
import json
import socket
import sys

from v2meow_jax.cli import flags

_MAX_PORT = 65535


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds `build`, `serve`, `export` and `analyse`."""
  parser.description = (
    "The paper's listening study: the same video under two soundtracks, two"
    ' questions, five points. docs/study.md walks through one.'
  )
  kinds = parser.add_subparsers(dest='kind', required=True)
  _add_build(kinds)
  _add_serve(kinds)
  export = kinds.add_parser(
    'export',
    help='make a copy that needs no server',
    description=(
      'Writes the pages and clips into OUT, for any web host. Answers stay in'
      " the participant's browser, which saves them as a file at the end; put"
      ' the files that come back into SITE/answers.'
    ),
    epilog='example: v2meow study export my_study -o public',
  )
  export.add_argument('site', metavar='SITE', help='folder of the study')
  export.add_argument(
    '-o', '--output', required=True, metavar='OUT', help='new folder'
  )
  _add_analyse(kinds)


def run(args: argparse.Namespace) -> None:
  """Calls what the second word of the verb names."""
  kinds = {
    'build': _build,
    'serve': _serve,
    'export': _export,
    'analyse': _analyse,
  }
  kinds[args.kind](args)


def _add_build(kinds) -> None:
  build = kinds.add_parser(
    'build',
    help='make a study from folders of clips',
    description=(
      'Pairs the mp4 files of the folders by name into the folder SITE. The'
      ' folder of a system is its name, or write NAME=FOLDER. Files that'
      ' cannot be compared are listed.'
    ),
    epilog=(
      'example: v2meow study build clip_i3d=out/a cmt=out/b -o my_study'
      ' --baseline cmt --genres genres.json'
    ),
  )
  build.add_argument(
    'folders', nargs='+', metavar='FOLDER', help='mp4 files of one system'
  )
  build.add_argument(
    '-o', '--output', required=True, metavar='SITE', help='new folder'
  )
  build.add_argument(
    '--title', default='Listening study', help='title that participants see'
  )
  build.add_argument(
    '--genres', metavar='FILE', help='json: {"name of a clip": "its genre"}'
  )
  build.add_argument(
    '--baseline',
    metavar='NAME',
    help='compare each system with this one alone; default: all with all',
  )
  flags.value(
    build, '--num-comparisons', 20, 'number of comparisons for each participant'
  )
  flags.value(
    build, '--num-checks', 2, 'number of attention checks for each, at most 20'
  )
  flags.value(
    build, '--min-played', 0.9, 'share of a clip to play before one may answer'
  )
  flags.value(build, '--seed', 0, 'seed of who is shown what')


def _add_serve(kinds) -> None:
  serve = kinds.add_parser(
    'serve',
    help='serve a study and keep the answers',
    description=(
      'Serves SITE until Ctrl-C; answers are in SITE/answers.sqlite. For'
      ' participants elsewhere, put a proxy with https in front.'
    ),
    epilog='example: v2meow study serve my_study --port 8000',
  )
  serve.add_argument('site', metavar='SITE', help='folder of the study')
  flags.value(serve, '--host', '127.0.0.1', 'address to serve at')
  flags.value(serve, '--port', 8000, 'port to serve at')
  flags.value(
    serve,
    '--max-participants',
    1000,
    'most who may answer or join within a day',
  )


def _add_analyse(kinds) -> None:
  analyse = kinds.add_parser(
    'analyse',
    help='compute win rates, scores and agreement from the answers',
    description=(
      'Reads SITE/answers.sqlite and SITE/answers/*.json, and writes report.md,'
      ' analysis.json, plots and SYSTEM/scores.json for each system into'
      ' SITE/report. May run during the study.'
    ),
    epilog=(
      'example: v2meow study analyse my_study --baseline cmt --dataset mv100k;'
      ' v2meow evaluate table my_study/report/*/'
    ),
  )
  analyse.add_argument('site', metavar='SITE', help='folder of the study')
  analyse.add_argument(
    '--keep-all',
    action='store_true',
    help='count raters who would be excluded as well',
  )
  flags.value(analyse, '--seed', 0, 'seed of the intervals')
  analyse.add_argument(
    '--baseline',
    action='append',
    metavar='NAME',
    help=(
      'system to compare the others with; may be repeated; default: that of'
      ' `study build`'
    ),
  )
  text = 'name of the data set in tables, such as mv100k'
  flags.value(analyse, '--dataset', 'own clips', text)
  analyse.add_argument(
    '--task',
    choices=('video', 'video+text'),
    default='video',
    help='input of the systems, for tables; default: video',
  )


def _build(args: argparse.Namespace) -> None:
  from v2meow_jax.study import building  # pylint: disable=g-import-not-at-top

  study = building.build(
    args.folders,
    args.output,
    title=args.title,
    genres=args.genres,
    baseline=args.baseline,
    num_comparisons=args.num_comparisons,
    num_checks=args.num_checks,
    min_played=args.min_played,
    seed=args.seed,
  )
  for item in study.left_out:
    print(
      f'left out: {item["clip"]} of {item["system"]}: {item["reason"]}',
      file=sys.stderr,
    )
  for note in study.notes:
    print(f'note: {note}', file=sys.stderr)
  print(
    f'{len(study.pairs)} pairs of {len(study.clips)} clips and'
    f' {len(study.systems)} systems in {args.output};'
    f' {study.num_comparisons} comparisons and {study.num_checks} checks for'
    f' each participant. Now edit {args.output}/pages/consent.txt.'
  )


def _serve(args: argparse.Namespace) -> None:
  from v2meow_jax.study import app  # pylint: disable=g-import-not-at-top

  if not 0 <= args.port <= _MAX_PORT:
    raise ValueError(
      f'--port is {args.port}; wanted 0 (any that is free) to {_MAX_PORT}.'
    )
  if args.max_participants < 1:
    raise ValueError(
      f'--max-participants is {args.max_participants}; wanted 1 or more.'
    )
  _warn_of_placeholders(args.site)
  with socket.socket() as free:
    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      free.bind((args.host, args.port))
    except OSError as e:
      if isinstance(e, socket.gaierror) or e.errno == errno.EADDRNOTAVAIL:
        raise OSError(
          f'--host {args.host} is no IPv4 address of this machine'
          f' ({e.strerror}); give 127.0.0.1, or 0.0.0.0 for all that it has.'
        ) from e
      raise OSError(
        f'port {args.port} of {args.host} cannot be served ({e.strerror}); give'
        ' another --port.'
      ) from e
    port = free.getsockname()[1]
  print(f'http://{args.host}:{port}/ until Ctrl-C', flush=True)
  app.serve(
    args.site,
    host=args.host,
    port=port,
    max_participants=args.max_participants,
  )


def _export(args: argparse.Namespace) -> None:
  from v2meow_jax.study import pages  # pylint: disable=g-import-not-at-top

  _warn_of_placeholders(args.site)
  print(pages.export(args.site, args.output))


def _warn_of_placeholders(site: str) -> None:
  import pathlib  # pylint: disable=g-import-not-at-top

  from v2meow_jax.study import pages  # pylint: disable=g-import-not-at-top
  from v2meow_jax.study import protocol  # pylint: disable=g-import-not-at-top

  protocol.load(site)
  for left in pages.placeholders(pages.read_texts(pathlib.Path(site))):
    print(f'{site}/pages still says {left}; fill it in.', file=sys.stderr)


def _analyse(args: argparse.Namespace) -> None:
  from v2meow_jax.study.results import report  # pylint: disable=g-import-not-at-top

  path = report.write(
    args.site,
    keep_all=args.keep_all,
    seed=args.seed,
    baselines=args.baseline or (),
    dataset=args.dataset,
    task=args.task,
  )
  print(path)
  facts = json.loads((path.parent / 'analysis.json').read_text('utf-8'))
  excluded, rejected = len(facts['excluded']), len(facts['rejected_files'])
  left_out = 'who would be left out' if args.keep_all else 'left out'
  print(
    f'raters counted: {facts["num_raters"]}; {left_out}: {excluded}; files'
    f' rejected: {rejected}'
    + (f': see the end of {path}' if excluded or rejected else ''),
    file=sys.stderr,
  )
