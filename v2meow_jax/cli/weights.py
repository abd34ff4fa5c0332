"""`v2meow weights` and `v2meow licenses`: what others published, and whose."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

_COMMERCIAL = {True: 'yes', False: 'no', None: 'not stated'}


def add(verbs) -> None:
  """Adds the verbs to the command line."""
  weights = verbs.add_parser(
    'weights',
    help='list, fetch, verify and import published weights',
    description=(
      'Networks that others trained, read by extractors and codecs. Each lies in'
      ' a folder of its own name in --weights_dir; files in the cache of the'
      ' Hugging Face hub are found as well. docs/weights.md tells more.'
    ),
  )
  kinds = weights.add_subparsers(dest='kind', required=True)
  list_ = kinds.add_parser(
    'list',
    help='what there is: source, size, digest, licences, and where it belongs',
    epilog='example: v2meow weights list',
  )
  list_.add_argument('--json', action='store_true', help='for programs')
  list_.set_defaults(run=_list)
  fetch = kinds.add_parser(
    'fetch',
    help='download weights and check them',
    epilog='example: v2meow weights fetch clip-vit-l14',
  )
  fetch.add_argument('names', nargs='+', metavar='NAME', help='as in `list`')
  fetch.set_defaults(run=_fetch)
  verify = kinds.add_parser(
    'verify',
    help='compare files with what was fetched or published',
    epilog='example: v2meow weights verify',
  )
  verify.add_argument(
    'names', nargs='*', metavar='NAME', help='default: all that are here'
  )
  verify.set_defaults(run=_verify)
  import_ = kinds.add_parser(
    'import',
    help='take in a file that was downloaded by other means',
    description=(
      'Copies FILE to where weights are looked for. A PyTorch pickle is'
      ' converted to safetensors by a process of its own, which loads tensors'
      ' and nothing else. vggish and i3d-flow are taken from what their authors'
      ' published for TensorFlow as well.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow weights import i3d-flow flow_imagenet.pt\n'
      '  v2meow weights import i3d-flow flow_imagenet/model.ckpt\n'
      '  v2meow weights import vggish vggish_model.ckpt\n'
      '  v2meow weights import vggish vggish_1/  # google/vggish/1, unpacked'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  import_.add_argument('name', metavar='NAME', help='as in `list`')
  import_.add_argument(
    'file',
    metavar='FILE',
    help='or prefix of a checkpoint of TensorFlow, or folder of a SavedModel',
  )
  import_.set_defaults(run=_import)
  for parser in (list_, fetch, verify, import_):
    parser.add_argument(
      '--weights_dir',
      help='default: $V2MEOW_WEIGHTS_DIR, or v2meow/weights in the user cache',
    )
  licenses = verbs.add_parser(
    'licenses',
    help='the licences of a system, and of the weights it may be built from',
    epilog='example: v2meow licenses my_system',
  )
  licenses.add_argument(
    'system', nargs='?', help='folder of a system; default: the embedded one'
  )
  licenses.set_defaults(run=_licenses)


def _store(args: argparse.Namespace):
  import pathlib

  from v2meow_jax.pretrained import store

  if args.weights_dir is None:
    return store.Store()
  return store.Store(path=pathlib.Path(args.weights_dir))


def _list(args: argparse.Namespace) -> None:
  from v2meow_jax.pretrained import ledger

  store = _store(args)
  if args.json:
    rows = []
    for artefact in ledger.ARTEFACTS:
      found = store.find(artefact)
      rows.append(
        dataclasses.asdict(artefact)
        | {
          'file': str(found) if found else None,
          'path': str(store.file(artefact)),
          'hub_cache': _in_cache(artefact),
        }
      )
    print(json.dumps(rows, indent=1))
    return
  for artefact in ledger.ARTEFACTS:
    print('\n  '.join(_facts(artefact, store)))


def _facts(artefact, store) -> list[str]:
  """Lines about an artefact: whose, how large, and where it belongs."""
  found = store.find(artefact)
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
    f' {_COMMERCIAL[artefact.commercial]}',
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
    str(found or f'not here; v2meow weights fetch {artefact.name}'),
  ]


def _in_cache(artefact) -> str | None:
  """Where the hub's cache may hold a file; None: it is not looked for there.

  Not a pickle, which must be converted first.
  """
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


def _licenses(args: argparse.Namespace) -> None:
  from v2meow_jax.files import released
  from v2meow_jax.inference import system
  from v2meow_jax.pretrained import ledger

  config = released.read_config_alone(system.folder(args.system))
  print(f'system {config["name"]}:')
  for part, licence in config['licences'].items():
    if isinstance(licence, dict):  # Of a published network.
      licence = '; '.join(f'{name}: {value}' for name, value in licence.items())
    print(f'  {part}: {licence}')
  print('published weights that extractors and codecs read:')
  for a in ledger.ARTEFACTS:
    print(
      f'  {a.name}: code {a.code_licence}; weights {a.weights_licence};'
      f' commercial use: {_COMMERCIAL[a.commercial]}; {a.page}'
    )
