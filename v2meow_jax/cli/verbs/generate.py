"""`v2meow generate`: makes a soundtrack for a video."""

import argparse

from v2meow_jax.cli import finish_flags
from v2meow_jax.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb."""
  parser.description = (
    'Makes a soundtrack for a video. OUT.mp4, .mov, .mkv and .webm keep the'
    ' pictures as they are and get the new sound (an error names the suffix that'
    ' holds them; docs/media.md says what else goes along); OUT.wav and OUT.flac'
    ' hold the sound alone. OUT.mp4.json beside it says how it was made and what'
    ' was left out. The music has beats and'
    ' sections that are planned from the whole picture first: `v2meow plan`'
    ' shows them, and --plan follows what you made of them.'
  )
  parser.epilog = (
    'examples:\n'
    '  v2meow generate cat.mp4 -o out.mp4\n'
    '  v2meow generate cat.webm -o out.webm\n'
    '  v2meow generate cat.mp4 -o out.wav --prompt "calm piano" --seed 3\n'
    '  v2meow generate cat.mp4 -o out.wav --prompt jazz --negative drums'
    ' --style-guidance 3\n'
    '  v2meow generate cat.mp4 -o out.mp4 --takes 4   # out_1.mp4 ...\n'
    '  v2meow generate cat.mp4 -o out.mp4 --best_of 4\n'
    '  v2meow generate cat.mp4 -o out.mp4 --keep_audio --duck 12 --loudness -14\n'
    '  v2meow generate cat.mp4 -o out.mp4 --start 4 --end 9.5 --fade_out 2\n'
    '  v2meow generate cat.mp4 -o out.mp4 --bpm 96\n'
    '  v2meow generate film.mp4 -o out.mp4 --resume   # after an interruption\n'
    '  v2meow generate cat.mp4 -o out.mp4 --redo 12.5-20 --take 3\n'
    '  v2meow generate cat.mp4 -o out.mp4 --plan plan.json   # of `v2meow plan`'
  )
  flags.video(parser)
  parser.add_argument(
    '-o',
    '--output',
    required=True,
    help=(
      'file in .mp4, .mov, .mkv, .webm, .wav or .flac, here or in a bucket'
    ),
  )
  add_options(parser)
  finish_flags.add(parser)
  parser.add_argument(
    '--rows',
    type=int,
    help=(
      'number of windows in each call of a stage, and of takes made together,'
      ' on each device, at most 256: faster for several takes on an accelerator.'
      ' A call always has so many, so that a clip by itself, whose windows follow'
      ' one another, only becomes slower. Rounds differently; default: the'
      " system's own, and take by take"
    ),
  )
  several = parser.add_mutually_exclusive_group()
  flags.value(
    several, '--takes', 1, 'number of takes, with seeds from --seed on'
  )
  finish_flags.add_best_of(several)
  parser.add_argument(
    '--resume',
    action='store_true',
    help=(
      'go on where an interrupted command stopped, to the same sound; what it has'
      ' read and made of a video of more than 20 s is in a hidden folder beside'
      ' OUT, and goes once OUT is there. Other options or another video begin'
      ' anew; default: begin anew'
    ),
  )
  parser.add_argument(
    '--redo',
    metavar='START-END',
    help=(
      'make a stretch of OUT again, in seconds, such as 12.5-20, and keep every'
      ' sample of the sound outside it; all else is as OUT.json says, so that'
      ' other options than --take, --style-audio and --system are refused'
    ),
  )
  parser.add_argument(
    '--take',
    type=int,
    metavar='N',
    help='with --redo, which take of the stretch to make; default: 2',
  )
  flags.system(parser)
  flags.computing(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options that act on the music of one clip."""
  style = parser.add_mutually_exclusive_group()
  style.add_argument(
    '--prompt',
    help=(
      'style in words: genre, instruments, mood; default: none, so that the'
      ' picture alone decides'
    ),
  )
  style.add_argument('--style-audio', help='piece of music with the style')
  parser.add_argument(
    '--negative',
    metavar='WORDS',
    help='style in words that the music is to avoid; wants a guidance of style',
  )
  plan = parser.add_mutually_exclusive_group()
  plan.add_argument(
    '--plan', metavar='JSON', help='plan to follow, as `v2meow plan` writes it'
  )
  flags.bpm(plan)
  flags.no_plan(plan)
  flags.key(parser)
  flags.value(
    parser, '--seed', 0, 'seed of every random draw; another seed, another take'
  )
  parser.add_argument(
    '--temperature',
    nargs='+',
    type=float,
    metavar='T',
    help=(
      'sampling temperature, one for all stages or one per stage, in their'
      ' order: higher is freer, lower is safer, 0 takes the likeliest code, or'
      ' of systems that write none, such as songs, what every seed gives alike;'
      " default: the system's own"
    ),
  )
  parser.add_argument(
    '--top-k',
    type=int,
    help='draw from the k likeliest codes only, of systems that write codes',
  )
  parser.add_argument(
    '--top-p',
    type=float,
    metavar='P',
    help='draw from the likeliest codes that together have probability P',
  )
  parser.add_argument(
    '--style-guidance',
    type=float,
    metavar='W',
    help=(
      'how strictly the style is followed: 1 as trained, 2 to 4 more strictly,'
      ' at the cost of a second pass of the stages that read it; default: the'
      " system's own, 2 of songs and 1 of tiny"
    ),
  )
  parser.add_argument(
    '--video-guidance',
    type=float,
    metavar='W',
    help=(
      'how strictly the picture, or its plan, is followed, in the same way;'
      " default: the system's own, 2 of songs and 1 of tiny"
    ),
  )
  parser.add_argument(
    '--max-run',
    type=int,
    metavar='N',
    help='let a code stand at most N times in succession, against stuck sounds',
  )
  parser.add_argument(
    '--steps',
    type=int,
    metavar='N',
    help=(
      'number of steps of a system that follows a flow, such as songs: more are'
      " slower and closer to what was trained; default: the system's own, 12"
    ),
  )


def run(args: argparse.Namespace) -> None:
  """Generates and writes the takes."""
  from v2meow_jax.extractors.planning import plan as plan_lib  # pylint: disable=g-import-not-at-top
  from v2meow_jax.extractors.planning import planner  # pylint: disable=g-import-not-at-top
  from v2meow_jax.files import outputs  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference import soundtrack  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference.finish import options as finish_options  # pylint: disable=g-import-not-at-top

  if args.redo or args.take is not None:
    _redo(args)
    return
  if args.key and (args.plan or args.no_plan):
    fix = 'leave out --no_plan'
    if args.plan:
      fix = f'write it into {args.plan}, as "key"'
    raise ValueError(
      f'--key {args.key!r} is a wish for a plan that is made; {fix}.'
    )
  plan = None
  if args.plan:
    written = soundtrack.written_paths(args.output, args.takes)
    outputs.check_inputs_survive(written, args.plan)
    plan = plan_lib.read(args.plan)
  elif not args.no_plan:
    plan = planner.Wishes(bpm=args.bpm, key=args.key)
  soundtrack.write(
    args.video,
    args.output,
    prompt=args.prompt,
    style_audio=args.style_audio,
    negative=args.negative,
    seed=args.seed,
    plan=plan,
    sampling=soundtrack.samplings(vars(args)),
    rows=args.rows,
    takes=args.takes,
    best_of=1 if args.best_of is None else args.best_of,
    start=args.start,
    end=args.end,
    finish=finish_options.of_options(vars(args)),
    resume=args.resume,
    system_dir=args.system,
    dtype=args.dtype,
    tensor=args.tensor,
  )


# Options of the command that `--redo` heeds.
_OF_REDO = frozenset(
  ('video', 'output', 'redo', 'take', 'style_audio', 'system')
)


def _redo(args: argparse.Namespace) -> None:
  """Makes a stretch of an output again."""
  from v2meow_jax.inference.films import redo  # pylint: disable=g-import-not-at-top

  if not args.redo:
    raise ValueError('--take says which take of --redo is wanted; give both.')
  parser = argparse.ArgumentParser()
  add_arguments(parser)
  plain = vars(parser.parse_args([args.video, '-o', args.output]))
  others = [
    name
    for name, value in plain.items()
    if name not in _OF_REDO and getattr(args, name) != value
  ]
  if others:
    names = ', '.join('--' + name for name in others)
    raise ValueError(
      f'--redo makes a stretch as {args.output}.json says; leave out {names}, or'
      ' generate the whole again.'
    )
  part = redo.span(args.redo, 2 if args.take is None else args.take)
  from v2meow_jax.inference.films import rewriting  # pylint: disable=g-import-not-at-top

  rewriting.write(
    args.video,
    args.output,
    part,
    style_audio=args.style_audio,
    system_dir=args.system,
  )
