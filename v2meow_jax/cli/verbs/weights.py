"""`v2meow weights`: lists, fetches, verifies and imports published weights."""

import argparse
import dataclasses
import json
import sys

from v2meow_jax.cli.verbs import licenses


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds `list`, `fetch`, `verify` and `import`."""
  parser.description = (
    'Manages the weights of networks that others trained, which extractors and'
    ' codecs read. Each lies in a folder of its own name in --weights_dir; files'
    ' in the cache of the Hugging Face hub are found as well. docs/weights.md'
    ' says more.'
  )
  kinds = parser.add_subparsers(dest='kind', required=True)
  list_ = kinds.add_parser(
    'list',
    help='print source, size, digest, licences and place of each',
    epilog='example: v2meow weights list',
  )
  list_.add_argument('--json', action='store_true', help='print json')
  fetch = kinds.add_parser(
    'fetch',
    help='download weights and check them',
    epilog='example: v2meow weights fetch clip-vit-l14',
  )
  fetch.add_argument(
    'names', nargs='+', metavar='NAME', help='name in `weights list`'
  )
  verify = kinds.add_parser(
    'verify',
    help='compare files with what was fetched or published',
    epilog='example: v2meow weights verify',
  )
  verify.add_argument(
    'names',
    nargs='*',
    metavar='NAME',
    help='name in `weights list`; default: all that are here',
  )
  import_ = kinds.add_parser(
    'import',
    help='take in a file that was downloaded by other means',
    description=(
      'Copies FILE to the place where weights are looked for. A PyTorch pickle'
      ' is converted to safetensors in a separate process, which loads tensors'
      ' and nothing else. vggish and i3d-flow are also read from the files that'
      ' their authors published for TensorFlow.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow weights import i3d-flow flow_imagenet.pt\n'
      '  v2meow weights import i3d-flow flow_imagenet/model.ckpt\n'
      '  v2meow weights import vggish vggish_model.ckpt\n'
      '  v2meow weights import vggish vggish_1/  # google/vggish/1, unpacked'
    ),
  )
  import_.add_argument('name', metavar='NAME', help='name in `weights list`')
  import_.add_argument(
    'file',
    metavar='FILE',
    help='file, prefix of a TensorFlow checkpoint, or folder of a SavedModel',
  )
  for kind in (list_, fetch, verify, import_):
    kind.add_argument(
      '--weights_dir',
      help=(
        'folder of weights; default: $V2MEOW_WEIGHTS_DIR, or v2meow/weights in'
        ' the user cache'
      ),
    )


def run(args: argparse.Namespace) -> int | None:
  """Calls what the second word of the verb names; returns its exit code."""
  kinds = {'list': _list, 'fetch': _fetch, 'verify': _verify}
  return kinds.get(args.kind, _import)(args)


def _store(args: argparse.Namespace):
  from v2meow_jax.files import paths
  from v2meow_jax.pretrained import store

  if args.weights_dir is None:
    return store.Store()
  return store.Store(path=paths.path(args.weights_dir))


def _list(args: argparse.Namespace) -> None:
  from v2meow_jax.pretrained import ledger

  store = _store(args)
  if args.json:
    rows = []
    for artefact in ledger.ARTEFACTS:
      file = store.find(artefact)
      rows.append(
        dataclasses.asdict(artefact)
        | {
          'file': str(file) if file else None,
          'path': str(store.file(artefact)),
          'hub_cache': _in_cache(artefact),
        }
      )
    print(json.dumps(rows, indent=1))
    return
  for artefact in ledger.ARTEFACTS:
    print('\n  '.join(_facts(artefact, store)))


def _facts(artefact, store) -> list[str]:
  """Lines about an artefact: source, size, licences, and its place."""
  file = store.find(artefact)
  digest = 'no published digest'
  if artefact.git_blob:
    digest = f"git's SHA-1 {artefact.git_blob}"
  if artefact.sha256:
    digest = f'sha256 {artefact.sha256}'
  belongs = [str(store.file(artefact)), *artefact.companions]
  lines = [
    f'{artefact.name}: {artefact.what}; {artefact.megabytes} MB; {digest}',
    f'from {artefact.url}',
    f'licence of the code: {artefact.code_licence}; of the weights:'
    f' {artefact.weights_licence}; commercial use:'
    f' {licenses.COMMERCIAL[artefact.commercial]}',
    f'belongs at {" with ".join(belongs[:2])}'
    + ''.join(f', {name}' for name in belongs[2:])
    + (' beside it' if artefact.companions else ''),
  ]
  cache = _in_cache(artefact)
  if cache:
    lines.append(f"or in the hub's cache as {cache}")
  lines += [f'also wants {what}' for what in artefact.elsewhere]
  return [
    *lines,
    str(file or f'not here; v2meow weights fetch {artefact.name}'),
  ]


def _in_cache(artefact) -> str | None:
  """Path of a file in the hub's cache; None for a pickle, never read there."""
  if artefact.hub_file is None or artefact.is_pickle:
    return None
  folder = artefact.hub_repository.replace('/', '--')
  return f'models--{folder}/snapshots/COMMIT/{artefact.hub_file[1]}'


def _fetch(args: argparse.Namespace) -> None:
  from v2meow_jax.pretrained import ledger

  store = _store(args)
  for artefact in [ledger.find(name) for name in args.names]:
    print(store.fetch(artefact))


def _verify(args: argparse.Namespace) -> int:
  from v2meow_jax.pretrained import ledger
  from v2meow_jax.pretrained import store as store_lib

  store = _store(args)
  chosen = [ledger.find(name) for name in args.names]
  chosen = chosen or [a for a in ledger.ARTEFACTS if store.find(a)]
  failed = False
  for artefact in chosen:
    try:
      print(f'{artefact.name}: {store.verify(artefact)}')
    except store_lib.WeightsError as e:
      failed = True
      print(f'{artefact.name}: {e}', file=sys.stderr)
  if not chosen:
    print(f'no weights are in {store.path}')
  return 2 if failed else 0


def _import(args: argparse.Namespace) -> None:
  from v2meow_jax.pretrained import ledger

  print(_store(args).take(ledger.find(args.name), args.file))
