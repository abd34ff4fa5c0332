"""`v2meow explain`: how a video acts on the music that is made for it."""

from __future__ import annotations

import argparse


def add(verbs) -> None:
  """Adds the verb to the command line."""
  parser = verbs.add_parser(
    'explain',
    help='show what of a video acts on its music',
    description=(
      'Generates music for a video and shows, over time, what of the video the'
      ' first stage attends to, and how far its choices would move without it.'
      ' OUT.png is a plot; OUT.mp4 is the video with its new sound over the'
      ' plot, beside an OUT.png. The numbers are in a json beside OUT.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow explain cat.mp4 -o overlay.mp4\n'
      '  v2meow explain cat.mp4 -o overlay.png --layer 0 --blank mean'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('video', help='mp4, mov, mkv, webm or avi')
  parser.add_argument('-o', '--output', required=True, help='.mp4 or .png')
  parser.add_argument(
    '--prompt', help='style in words; default: the picture alone'
  )
  parser.add_argument(
    '--seed', type=int, default=0, help='as of `generate`; default: 0'
  )
  parser.add_argument(
    '--layer',
    type=int,
    help='of the decoder, from 0, whose attention is shown; default: the mean',
  )
  parser.add_argument(
    '--bin-seconds',
    type=float,
    default=1.0,
    help='length of what is told apart; longer costs less; default: 1',
  )
  parser.add_argument(
    '--blank',
    choices=('zero', 'mean'),
    default='zero',
    help=(
      'what stands for a stream that is taken away: zeros, or the mean of the'
      ' clip; default: zero'
    ),
  )
  parser.add_argument(
    '--system', help='folder of a released system; default: the embedded one'
  )
  parser.set_defaults(run=_explain)


def _explain(args: argparse.Namespace) -> None:
  from v2meow_jax.explain import effects
  from v2meow_jax.explain import overlay

  overlay.write(
    args.video,
    args.output,
    prompt=args.prompt,
    seed=args.seed,
    settings=effects.Settings(
      bin_seconds=args.bin_seconds, layer=args.layer, blank=args.blank
    ),
    system_dir=args.system,
  )
