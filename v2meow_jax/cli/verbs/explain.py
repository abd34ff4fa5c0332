"""`v2meow explain`: shows what in a video acts on the music made for it."""

import argparse

from v2meow_jax.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb."""
  parser.description = (
    'Generates music for a video and shows, over time, which parts of the video'
    ' the first stage attends to, and how much its choices would change without'
    ' them. OUT.png is a plot; OUT.mp4 is the video with its new sound above'
    ' the plot, with OUT.png beside it. A json file beside OUT has the numbers.'
    ' A system of latents (MuVi) attends to nothing: its frames show, from blue'
    ' to yellow, how much of each patch its adaptor lets through, and influence'
    ' is how far the velocity of its flow moves.'
    ' Where music is planned, the plan (`v2meow plan`), which is made of the whole'
    ' picture, stands in for its motion, and with a style for its colours. Streams'
    ' that this leaves without influence are named; --no_plan shows how the picture'
    ' itself acts.'
  )
  parser.epilog = (
    'examples:\n'
    '  v2meow explain cat.mp4 -o overlay.mp4\n'
    '  v2meow explain cat.mp4 -o overlay.png --layer 0 --blank mean\n'
    '  v2meow explain cat.mp4 -o overlay.mp4 --plan plan.json'
  )
  flags.video(parser)
  parser.add_argument(
    '-o', '--output', required=True, help='file in .mp4 or .png'
  )
  parser.add_argument(
    '--prompt', help='style in words; default: none, the picture alone'
  )
  flags.value(
    parser, '--seed', 0, 'seed of every random draw, as in `generate`'
  )
  parser.add_argument(
    '--layer',
    type=int,
    help='decoder layer to show the attention of, from 0; default: their mean;'
    ' none of a system of latents',
  )
  flags.value(
    parser, '--bin-seconds', 1.0, 'resolution in time; longer bins cost less'
  )
  parser.add_argument(
    '--blank',
    choices=('zero', 'mean'),
    default='zero',
    help=(
      'stand-in for a stream that is taken away: zeros, or the mean of the'
      ' clip; default: zero'
    ),
  )
  plan = parser.add_mutually_exclusive_group()
  plan.add_argument(
    '--plan',
    metavar='JSON',
    help='plan of the music to explain, as in `generate`',
  )
  flags.no_plan(plan)
  flags.system(parser)


def run(args: argparse.Namespace) -> None:
  """Writes the overlay or the plot."""
  from v2meow_jax.explain import influence  # pylint: disable=g-import-not-at-top
  from v2meow_jax.explain import overlay  # pylint: disable=g-import-not-at-top
  from v2meow_jax.extractors.planning import plan as plan_lib  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference import requests  # pylint: disable=g-import-not-at-top

  plan = None if args.no_plan else requests.FROM_PICTURE
  overlay.write(
    args.video,
    args.output,
    prompt=args.prompt,
    seed=args.seed,
    plan=plan_lib.read(args.plan) if args.plan else plan,
    settings=influence.Settings(
      bin_seconds=args.bin_seconds, layer=args.layer, blank=args.blank
    ),
    system_dir=args.system,
  )
