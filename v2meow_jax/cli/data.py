"""The verbs `v2meow data synth | fit | prepare | aist`."""

from __future__ import annotations

import argparse

_NUM_FIT = 200  # Clips: enough for the embedded streams.


def add(verbs) -> None:
  """Adds `v2meow data synth | fit | prepare | aist`."""
  data = verbs.add_parser('data', help='make and prepare data')
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
      ' clips of MANIFEST and saves them as one safetensors file. With'
      ' --gin_file, the clusters of the network that it names for semantic'
      ' tokens; an interrupted fit goes on.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow data fit data/world/manifest.jsonl -o data/features.safetensors\n'
      '  v2meow data fit music.jsonl -o data/musicfm_1024.safetensors'
      ' --gin_file=prepare/paper.gin'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  fit.add_argument('manifest', help='manifest.jsonl, as of `data synth`')
  fit.add_argument('-o', '--output', required=True, help='.safetensors')
  fit.add_argument(
    '--num',
    type=int,
    help=f'clips to fit to; default: {_NUM_FIT}, or all with --gin_file',
  )
  fit.add_argument('--seed', type=int, default=0, help='of k-means; default: 0')
  add_recipe(fit, 'parts, such as prepare/paper.gin; may be repeated')
  fit.set_defaults(run=_fit, takes_gin_bindings=True)

  prepare = kinds.add_parser(
    'prepare',
    help='turn clips into training records (Apache Beam)',
    description=(
      'Runs the parts over every clip of MANIFEST and writes a TFDS'
      ' dataset. What could not be used is in OUT/rejected.jsonl, with the'
      ' reason. Options after -- go to Beam, e.g. -- --runner=FlinkRunner.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow data prepare data/world/manifest.jsonl data/synthetic'
      ' --features data/features.safetensors --style runs/style --codec'
      ' runs/codec\n'
      '  v2meow data prepare videos.jsonl data/mv100k'
      ' --gin_file=prepare/paper.gin --estimate'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  prepare.add_argument('manifest', help='manifest.jsonl: id, path, split')
  prepare.add_argument('out', help='folder; a dataset there is replaced')
  add_parts(prepare)
  prepare.add_argument('--system', help='take all parts from this system')
  prepare.add_argument(
    '--num-shards', type=int, help='files of a split; default: by size'
  )
  add_recipe(prepare, 'parts, such as prepare/paper.gin; may be repeated')
  prepare.add_argument(
    '--estimate',
    action='store_true',
    help='try three clips, print hours and bytes, and write nothing',
  )
  prepare.add_argument(
    '--hours',
    type=float,
    help='of video, for the estimate; default: those of MANIFEST',
  )
  prepare.set_defaults(takes_beam_options=True, takes_gin_bindings=True)
  prepare.set_defaults(run=_prepare)
  _add_aist(kinds)


def _add_aist(kinds) -> None:
  aist = kinds.add_parser(
    'aist',
    help="cut the clips of the paper's Table 2 from your copy of AIST++",
    description=(
      'Cuts the stretches that LIST names out of the videos in VIDEOS, each with'
      ' its music, into OUT/clips and OUT/manifest.jsonl. The paper makes five'
      ' takes for each; `v2meow evaluate` pairs NAME_1 to NAME_5 with NAME.'
      ' docs/evaluation.md says where lists and videos are from.'
    ),
    epilog=(
      'example, from videos to a row of Table 2:\n'
      '  v2meow data aist aist_audio_test_segment.txt aist_videos aist_2s\n'
      '  mkdir takes_2s\n'
      '  for clip in aist_2s/clips/*.mp4; do\n'
      '    name=$(basename "$clip" .mp4)\n'
      '    v2meow generate "$clip" -o "takes_2s/$name.wav" --takes 5\n'
      '  done\n'
      '  v2meow evaluate --generated takes_2s --reference aist_2s/clips'
      ' --metrics beats --dataset aist -o report_2s\n'
      '  v2meow evaluate table report_2s'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  for name, text in (
    ('list', 'of the test segments of 2 or of 6 seconds'),
    ('videos', 'folder with NAME.mp4 for each of the 20 videos'),
    ('out', 'folder; new or empty'),
  ):
    aist.add_argument(name, metavar=name.upper(), help=text)
  aist.add_argument(
    '--seconds',
    type=int,
    choices=(2, 6, 10),
    default=2,
    help='of a clip; 10 takes the videos of either list; default: 2',
  )
  aist.set_defaults(run=_aist)


def parse_recipe(args: argparse.Namespace) -> None:
  """Reads what `add_recipe` asks for into gin's configuration."""
  from v2meow_jax import gin_config  # pylint: disable=g-import-not-at-top

  recipe = args.gin_file, args.gin_bindings, args.gin_search_paths
  gin_config.check_used(*recipe)
  gin_config.parse(*recipe)


def add_recipe(parser: argparse.ArgumentParser, what: str) -> None:
  """The flags that name gin files and where they lie."""
  parser.add_argument('--gin_file', action='append', default=[], help=what)
  add_search_paths(parser)


def add_search_paths(parser: argparse.ArgumentParser) -> None:
  """The flag that says where gin files lie."""
  parser.add_argument(
    '--gin_search_paths',
    type=lambda text: text.split(','),
    default=['gin'],
    help='folders of recipes, comma separated; default: gin',
  )


def add_parts(parser: argparse.ArgumentParser) -> None:
  """The flags that name the parts of a system in the making."""
  for flag, text in (
    ('--features', 'file that `data fit` wrote'),
    ('--style', 'MODEL_DIR of the style embedding'),
    ('--codec', 'MODEL_DIR of the codec'),
  ):
    parser.add_argument(flag, help=text)


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
  if not args.output.endswith('.safetensors'):
    raise ValueError(f'-o {args.output}: wanted a name in .safetensors.')

  if args.gin_file:
    from v2meow_jax.jobs.prepare import cluster_fitting  # pylint: disable=g-import-not-at-top

    print(
      cluster_fitting.fit(
        preparation(args), args.manifest, args.output, args.seed, args.num
      )
    )
    return
  if args.gin_bindings:
    raise ValueError('--gin.NAME=VALUE goes with --gin_file.')
  from v2meow_jax.jobs.prepare import stream_fitting  # pylint: disable=g-import-not-at-top

  num = _NUM_FIT if args.num is None else args.num
  print(stream_fitting.fit(args.manifest, args.output, num, args.seed))


def _prepare(args: argparse.Namespace) -> None:
  from v2meow_jax.jobs.prepare import preparation as preparation_lib  # pylint: disable=g-import-not-at-top

  if args.system and any(_flags(args).values()):
    raise ValueError(
      f'the parts are one --system, or all of {" ".join(_flags(args))}; got'
      f' {args.system!r} and {_flags(args)}.'
    )
  if args.system and args.gin_file:
    raise ValueError('--system and --gin_file both name parts; give one.')
  prepared = preparation(args)
  if args.hours is not None and not args.estimate:
    raise ValueError('--hours goes with --estimate.')
  if args.estimate:
    print(preparation_lib.estimate(args.manifest, prepared, args.hours))
    return
  print(
    preparation_lib.prepare(
      args.manifest,
      args.out,
      prepared,
      num_shards=args.num_shards,
      beam_options=args.beam_options,
    )
  )


def _aist(args: argparse.Namespace) -> None:
  from v2meow_jax.jobs.prepare import aist  # pylint: disable=g-import-not-at-top
  from v2meow_jax.jobs.prepare import aist_clips  # pylint: disable=g-import-not-at-top

  segments = aist.segments(args.list, args.videos, seconds=args.seconds)
  print(aist_clips.write(segments, args.out))


def _flags(args: argparse.Namespace) -> dict[str, str | None]:
  """Values of the flags of `add_parts`."""
  names = ('features', 'style', 'codec')
  return {f'--{name}': getattr(args, name, None) for name in names}


def preparation(args: argparse.Namespace):
  """The `Preparation` that a recipe, flags, or a system name.

  Raises:
    ValueError: Two of them do, or flags are missing.
  """
  from v2meow_jax.jobs.prepare import preparation as preparation_lib  # pylint: disable=g-import-not-at-top

  flags = _flags(args)
  given = [name for name, value in flags.items() if value]
  if args.gin_file:
    if given:
      raise ValueError(
        f'{" ".join(given)} and --gin_file both name parts; give one.'
      )
    return _recipe(args)
  if args.gin_bindings:
    raise ValueError('--gin.NAME=VALUE goes with --gin_file.')
  if not given and hasattr(args, 'system'):
    from v2meow_jax.inference import system  # pylint: disable=g-import-not-at-top

    return preparation_lib.of_system(system.folder(args.system))
  if len(given) < len(flags):
    raise ValueError(
      f'a system takes all of {" ".join(flags)}, or in their place the'
      f' --gin_file that names its parts, such as prepare/paper.gin; got'
      f' {" ".join(given) or "none"}.'
    )
  return preparation_lib.trained_here(
    features=args.features, style=args.style, codec=args.codec
  )


def _recipe(args: argparse.Namespace):
  parse_recipe(args)
  import gin  # pylint: disable=g-import-not-at-top

  try:
    gin.query_parameter('%PARTS')
  except ValueError as e:
    raise ValueError(
      f'{" ".join(args.gin_file)} names no PARTS; give a recipe of'
      ' gin/prepare, such as prepare/paper.gin.'
    ) from e
  return gin.get_configurable('PARTS/macro')()
