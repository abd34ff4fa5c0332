"""The verbs `v2meow data synth | fit | prepare`."""

from __future__ import annotations

import argparse


def add(verbs) -> None:
  """Adds `v2meow data synth | fit | prepare`."""
  data = verbs.add_parser('data', help='make and prepare training data')
  kinds = data.add_subparsers(dest='kind', required=True)
  synth = kinds.add_parser(
    'synth',
    help='render clips with matching music, free of any licence',
    description=(
      'Renders clips whose music is a function of the picture, into'
      ' OUT/clips and OUT/manifest.jsonl. Equal arguments, equal bytes.'
    ),
    epilog='example: v2meow data synth data/world --num 80 --workers 2',
    formatter_class=argparse.ArgumentDefaultsHelpFormatter,
  )
  synth.add_argument('out', help='folder; clips that are there are kept')
  synth.add_argument('--num', type=int, default=8, help='clips')
  synth.add_argument('--seed', type=int, default=0, help='of the world')
  synth.add_argument('--seconds', type=float, default=10.0, help='of each clip')
  synth.add_argument(
    '--surprise',
    type=float,
    default=0.0,
    help='fraction of clips whose look is that of another genre',
  )
  synth.add_argument('--workers', type=int, default=1, help='processes')
  synth.set_defaults(run=_synth)

  fit = kinds.add_parser(
    'fit',
    help='fit the visual streams and the semantic tokens to clips',
    description=(
      'Fits standardisation and k-means of the training-free streams to'
      ' clips of MANIFEST and saves them as one safetensors file.'
    ),
    epilog=(
      'example: v2meow data fit data/world/manifest.jsonl -o'
      ' data/features.safetensors'
    ),
  )
  fit.add_argument('manifest', help='manifest.jsonl, as of `data synth`')
  fit.add_argument('-o', '--output', required=True, help='.safetensors')
  fit.add_argument(
    '--num', type=int, default=200, help='clips to fit to; default: 200'
  )
  fit.add_argument('--seed', type=int, default=0, help='of k-means; default: 0')
  fit.set_defaults(run=_fit)

  prepare = kinds.add_parser(
    'prepare',
    help='turn clips into training records (Apache Beam)',
    description=(
      'Runs the networks over every clip of MANIFEST and writes a TFDS'
      ' dataset. What could not be used is in OUT/rejected.jsonl, with the'
      ' reason. Options after -- go to Beam, e.g. -- --runner=FlinkRunner.'
    ),
    epilog=(
      'example: v2meow data prepare data/world/manifest.jsonl data/synthetic'
      ' --features data/features.safetensors --style runs/style --codec'
      ' runs/codec'
    ),
  )
  prepare.add_argument('manifest', help='manifest.jsonl: id, path, split')
  prepare.add_argument('out', help='folder; a dataset there is replaced')
  add_networks(prepare)
  prepare.add_argument('--system', help='take all networks from this system')
  prepare.add_argument(
    '--num-shards', type=int, help='files of a split; default: by size'
  )
  prepare.set_defaults(takes_beam_options=True)
  prepare.set_defaults(run=_prepare)


def add_networks(
  parser: argparse.ArgumentParser, *, required: bool = False
) -> None:
  """The flags that name the parts of a system in the making."""
  for flag, text in (
    ('--features', 'file that `data fit` wrote'),
    ('--style', 'MODEL_DIR of the style embedding'),
    ('--codec', 'MODEL_DIR of the codec'),
  ):
    parser.add_argument(flag, required=required, help=text)


def _synth(args: argparse.Namespace) -> None:
  from v2meow_jax.synthetic import world  # pylint: disable=g-import-not-at-top

  manifest = world.write(
    args.out,
    num=args.num,
    seed=args.seed,
    seconds=args.seconds,
    surprise=args.surprise,
    workers=args.workers,
  )
  print(manifest)


def _fit(args: argparse.Namespace) -> None:
  from v2meow_jax import preparation  # pylint: disable=g-import-not-at-top

  print(preparation.fit(args.manifest, args.output, args.num, args.seed))


def _prepare(args: argparse.Namespace) -> None:
  from v2meow_jax import preparation  # pylint: disable=g-import-not-at-top

  networks = preparation.Networks(
    system=args.system,
    features=args.features,
    style=args.style,
    codec=args.codec,
  )
  print(
    preparation.prepare(
      args.manifest,
      args.out,
      networks,
      num_shards=args.num_shards,
      beam_options=args.beam_options,
    )
  )
