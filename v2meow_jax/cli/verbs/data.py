"""`v2meow data`: renders, fits, prepares and cuts training data."""

import argparse

from v2meow_jax.cli import flags

_NUM_FIT = 200  # Clips: enough for the embedded streams.


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds `synth`, `fit`, `prepare` and `aist`."""
  kinds = parser.add_subparsers(dest='kind', required=True)
  _add_synth(kinds)
  _add_fit(kinds)
  _add_prepare(kinds)
  _add_aist(kinds)


def run(args: argparse.Namespace) -> None:
  """Calls what the second word of the verb names."""
  kinds = {'synth': _synth, 'fit': _fit, 'prepare': _prepare, 'aist': _aist}
  kinds[args.kind](args)


def _add_synth(kinds) -> None:
  synth = kinds.add_parser(
    'synth',
    help='render clips with matching music, free of any licence',
    description=(
      'Renders clips whose music is a function of the picture, into'
      ' OUT/clips and OUT/manifest.jsonl. Equal arguments, equal bytes. With'
      ' --world songs, music alone: pieces of many styles with phrases, dynamics'
      ' and endings, played by sampled instruments where a bank is found.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow data synth data/world --num 80 --workers 2\n'
      '  v2meow data synth data/songs_world --world songs --num 1200 --seconds 60'
      ' --workers 2'
    ),
  )
  synth.add_argument('out', help='folder; clips that are there are kept')
  for flag, default, text in (
    ('--num', 8, 'number of clips'),
    ('--seed', 0, 'seed of the world; another seed, other clips'),
    ('--seconds', 10.0, 'length of each clip'),
    ('--surprise', 0.0, 'share of clips that look like another genre'),
    ('--freedom', 0.0, 'share of clips whose tempo is not that of a genre'),
    ('--workers', 1, 'number of processes'),
  ):
    flags.value(synth, flag, default, text)
  synth.add_argument(
    '--sound_only', action='store_true', help='write music alone, as .wav'
  )
  synth.add_argument(
    '--world',
    choices=('scenes', 'songs'),
    default='scenes',
    help='drawn pictures with music, or music alone; default: scenes',
  )
  synth.add_argument(
    '--instruments',
    help=(
      'with --world songs: bank in .sf2 or .sf3, or numpy for oscillators;'
      " default: $V2MEOW_SOUNDFONT, else Debian's musescore-general-soundfont or"
      ' fluid-soundfont-gm, else numpy'
    ),
  )
  synth.add_argument(
    '--rate_hz',
    type=int,
    help='with --world songs: sample rate; default: 16000',
  )


def _add_fit(kinds) -> None:
  fit = kinds.add_parser(
    'fit',
    help='fit the visual streams and the semantic tokens to clips',
    description=(
      'Fits standardisation and k-means of the training-free streams to'
      ' clips of MANIFEST and saves them as one safetensors file. With'
      ' --gin_file, fits the clusters of the network that it names for semantic'
      ' tokens; an interrupted fit continues.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow data fit data/world/manifest.jsonl -o data/features.safetensors\n'
      '  v2meow data fit music.jsonl -o data/musicfm_1024.safetensors'
      ' --gin_file=prepare/paper.gin'
    ),
  )
  fit.add_argument(
    'manifest', help='manifest.jsonl, such as `data synth` writes'
  )
  fit.add_argument('-o', '--output', required=True, help='file in .safetensors')
  fit.add_argument(
    '--num',
    type=int,
    help=(
      f'number of clips to fit to; default: {_NUM_FIT}, or all with --gin_file'
    ),
  )
  fit.add_argument(
    '--sounds',
    help='manifest of music alone, such as songs, to hear beside MANIFEST',
  )
  flags.value(fit, '--seed', 0, 'seed of k-means')
  flags.recipes(fit, 'parts to use, such as prepare/paper.gin')


def _add_prepare(kinds) -> None:
  prepare = kinds.add_parser(
    'prepare',
    help='turn clips into training records (Apache Beam)',
    description=(
      'Runs the parts over every clip of MANIFEST and writes a TFDS'
      ' dataset. OUT/rejected.jsonl lists clips that could not be used, with the'
      ' reason, and OUT/sound.jsonl those that are silent (half of the time or'
      ' more below -60 dB) or clipped (a sample in 1,000 at full scale).'
      ' Options after -- go to Beam, e.g. -- --runner=FlinkRunner.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow data prepare data/world/manifest.jsonl data/synthetic'
      ' --features data/features.safetensors --style runs/style --codec'
      ' runs/codec\n'
      '  v2meow data prepare videos.jsonl data/mv100k'
      ' --gin_file=prepare/paper.gin --estimate'
    ),
  )
  prepare.add_argument(
    'manifest',
    help=(
      'manifest.jsonl: id, path and split of each clip; it and paths may be in'
      ' buckets (gs://)'
    ),
  )
  prepare.add_argument(
    'out', help='folder, here or in a bucket; a dataset there is replaced'
  )
  flags.parts(prepare)
  prepare.add_argument(
    '--system', help='system to take all parts from; default: tiny'
  )
  prepare.add_argument(
    '--num-shards',
    type=int,
    help='number of files in a split; default: by size',
  )
  prepare.add_argument(
    '--leave-out',
    nargs='+',
    choices=('silent', 'clipped'),
    default=(),
    metavar='KIND',
    help='leave out clips whose sound is silent, clipped, or either of both',
  )
  flags.recipes(prepare, 'parts to use, such as prepare/paper.gin')
  prepare.add_argument(
    '--estimate',
    action='store_true',
    help='try three clips, print hours and bytes, and write nothing',
  )
  prepare.add_argument(
    '--hours',
    type=float,
    help='with --estimate: hours of video; default: those of MANIFEST',
  )


def _add_aist(kinds) -> None:
  aist = kinds.add_parser(
    'aist',
    help="cut the clips of the paper's Table 2 from your copy of AIST++",
    description=(
      'Cuts the stretches that LIST names out of the videos in VIDEOS, each with'
      ' its music, into OUT/clips and OUT/manifest.jsonl. The paper makes five'
      ' takes of each; `v2meow evaluate` pairs NAME_1 to NAME_5 with NAME.'
      ' docs/evaluation.md says where to get lists and videos.'
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
  )
  for name, text in (
    ('list', 'published list of test segments of 2 or 6 seconds'),
    ('videos', 'folder with NAME.mp4 for each of the 20 videos'),
    ('out', 'folder; new or empty'),
  ):
    aist.add_argument(name, metavar=name.upper(), help=text)
  aist.add_argument(
    '--seconds',
    type=int,
    choices=(2, 6, 10),
    default=2,
    help='length of a clip; 10 takes the videos of either list; default: 2',
  )


def _synth(args: argparse.Namespace) -> None:
  if args.world == 'songs':
    print(_songs(args))
    return
  if args.instruments is not None or args.rate_hz is not None:
    raise ValueError('--instruments and --rate_hz go with --world songs.')
  from v2meow_jax.synthetic import world  # pylint: disable=g-import-not-at-top

  manifest = world.write(
    args.out,
    num=args.num,
    seed=args.seed,
    seconds=args.seconds,
    surprise=args.surprise,
    freedom=args.freedom,
    sound_only=args.sound_only,
    workers=args.workers,
  )
  print(manifest)


def _songs(args: argparse.Namespace):
  if args.surprise or args.freedom or args.sound_only:
    raise ValueError(
      '--surprise, --freedom and --sound_only are about scenes; --world songs has'
      ' music alone, of any tempo.'
    )
  from v2meow_jax.synthetic.songs import song_world  # pylint: disable=g-import-not-at-top

  return song_world.write(
    args.out,
    num=args.num,
    seed=args.seed,
    seconds=args.seconds,
    instruments=args.instruments,
    rate_hz=song_world.RATE_HZ if args.rate_hz is None else args.rate_hz,
    workers=args.workers,
  )


def _fit(args: argparse.Namespace) -> None:
  if not args.output.endswith('.safetensors'):
    raise ValueError(f'-o {args.output}: wanted a name in .safetensors.')
  flags.check_bindings(args)
  if args.gin_file:
    if args.sounds is not None:
      raise ValueError(
        '--sounds goes without --gin_file, which hears MANIFEST.'
      )
    from v2meow_jax.jobs.prepare import cluster_fitting  # pylint: disable=g-import-not-at-top

    print(
      cluster_fitting.fit(
        flags.preparation(args), args.manifest, args.output, args.seed, args.num
      )
    )
    return
  from v2meow_jax.files import manifests  # pylint: disable=g-import-not-at-top

  manifests.check_there(args.manifest)
  from v2meow_jax.jobs.prepare import stream_fitting  # pylint: disable=g-import-not-at-top

  num = _NUM_FIT if args.num is None else args.num
  print(
    stream_fitting.fit(args.manifest, args.output, num, args.seed, args.sounds)
  )


def _prepare(args: argparse.Namespace) -> None:
  flags.check_parts(args)
  if args.hours is not None and not args.estimate:
    raise ValueError('--hours goes with --estimate.')
  if args.num_shards is not None and args.num_shards < 1:
    raise ValueError(f'--num-shards is {args.num_shards}; wanted 1 or more.')
  from v2meow_jax.files import manifests  # pylint: disable=g-import-not-at-top

  manifests.check_there(args.manifest)
  from v2meow_jax.jobs.prepare import preparation as preparation_lib  # pylint: disable=g-import-not-at-top

  prepared = flags.preparation(args)
  if args.estimate:
    print(preparation_lib.estimate(args.manifest, prepared, args.hours))
    return
  print(
    preparation_lib.prepare(
      args.manifest,
      args.out,
      prepared,
      num_shards=args.num_shards,
      leave_out=args.leave_out,
      beam_options=args.beam_options,
    )
  )


def _aist(args: argparse.Namespace) -> None:
  from v2meow_jax.jobs.prepare import aist  # pylint: disable=g-import-not-at-top
  from v2meow_jax.jobs.prepare import aist_clips  # pylint: disable=g-import-not-at-top

  segments = aist.segments(args.list, args.videos, seconds=args.seconds)
  print(aist_clips.write(segments, args.out))
