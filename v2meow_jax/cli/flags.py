"""Flags that several verbs share."""

import argparse


def value(
  parser: argparse._ActionsContainer,
  flag: str,
  default: int | float | str,
  text: str,
) -> None:
  """Adds a flag for a value, of the type of its default."""
  parser.add_argument(
    flag,
    type=type(default),
    default=default,
    help=f'{text}; default: {default}',
  )


def video(parser: argparse.ArgumentParser) -> None:
  """Adds the argument that names a video."""
  parser.add_argument(
    'video',
    help=(
      'video file: mp4, mov, mkv, webm, avi, ts, mpg, flv, wmv or gif; gs://'
      ' works too'
    ),
  )


def span(container: argparse._ActionsContainer) -> None:
  """Adds the flags that name a part of a video."""
  container.add_argument(
    '--start',
    type=float,
    metavar='SECONDS',
    help='begin the music here; default: with the video',
  )
  container.add_argument(
    '--end',
    type=float,
    metavar='SECONDS',
    help='end the music here; default: with the video',
  )


def bpm(parser: argparse._ActionsContainer) -> None:
  """Adds the flag for a tempo."""
  parser.add_argument(
    '--bpm',
    type=float,
    help=(
      'tempo in beats a minute, 50 to 200; default: that of the prompt, else of a'
      ' pulse in the picture, else one that fits its mood'
    ),
  )


def key(parser: argparse._ActionsContainer) -> None:
  """Adds the flag for a key."""
  parser.add_argument(
    '--key',
    metavar='KEY',
    help=(
      "key of the music, such as 'C major' or 'Eb minor'; default: that of the"
      ' prompt, else one that fits the mood. The tiny system has learnt C,'
      ' Eb, F and A, and seldom follows it (docs/plan.md has shares)'
    ),
  )


def no_plan(parser: argparse._ActionsContainer) -> None:
  """Adds the flag for music without a plan."""
  parser.add_argument(
    '--no_plan',
    '--no-plan',
    action='store_true',
    help=(
      'plan nothing: the first stage reads the motion of the picture itself,'
      ' which the tiny system knows from drawn pictures alone, and songs not at'
      ' all'
    ),
  )


def system(parser: argparse.ArgumentParser) -> None:
  """Adds the flag that names a released system."""
  parser.add_argument(
    '--system',
    help=(
      'folder of a released system, here or in a bucket (gs://bucket/NAME), or'
      ' one that ships: songs, which plays plans with sampled instruments, or'
      ' tiny, the three stages of V2Meow for drawn clips; default: songs'
    ),
  )


def computing(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say how the stages of a system are computed."""
  parser.add_argument(
    '--dtype',
    choices=('float32', 'bfloat16'),
    help=(
      'type in which the stages compute; each rounds in its own way, so that a'
      ' seed may give other music; default: float32 on a CPU, else bfloat16'
    ),
  )
  value(
    parser,
    '--tensor',
    1,
    'number of devices that split the weights of the stages, for a system'
    ' larger than one device; the windows are shared out among groups of so'
    ' many',
  )


def recipes(
  parser: argparse.ArgumentParser, text: str, *, required: bool = False
) -> None:
  """Adds the flags that name gin files and where they lie.

  Args:
    parser: Parser of a verb.
    text: Help of --gin_file.
    required: Whether the verb needs a recipe.
  """
  parser.set_defaults(takes_gin_bindings=True)
  parser.add_argument(
    '--gin_file',
    action='append',
    required=required,
    default=None if required else [],
    help=f'{text}; may be repeated; --gin.NAME=VALUE overrides a binding',
  )
  parser.add_argument(
    '--gin_search_paths',
    type=lambda text: text.split(','),
    default=['gin'],
    help='folders of recipes, separated by commas; default: gin',
  )


def parse_recipes(args: argparse.Namespace) -> None:
  """Reads the recipes of a command line into gin's configuration."""
  from v2meow_jax import gin_config  # pylint: disable=g-import-not-at-top

  check_recipes(args)
  gin_config.parse(args.gin_file, args.gin_bindings, args.gin_search_paths)


def check_bindings(args: argparse.Namespace) -> None:
  """Raises ValueError when there are bindings without a recipe."""
  if args.gin_bindings and not args.gin_file:
    raise ValueError('--gin.NAME=VALUE goes with --gin_file.')


def check_recipes(args: argparse.Namespace) -> None:
  """Finds the recipes of a command line, before libraries are imported."""
  from v2meow_jax import gin_config  # pylint: disable=g-import-not-at-top

  gin_config.check_used(args.gin_file, args.gin_bindings, args.gin_search_paths)


def parts(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that name the parts of a system in the making."""
  for flag, text in (
    ('--features', 'file that `data fit` wrote'),
    ('--style', 'MODEL_DIR of the style embedding'),
    ('--codec', 'MODEL_DIR of the codec'),
  ):
    parser.add_argument(flag, help=text)


def _part_flags(args: argparse.Namespace) -> dict[str, str | None]:
  """Values of the flags of `parts`."""
  names = ('features', 'style', 'codec')
  return {f'--{name}': getattr(args, name, None) for name in names}


def check_parts(args: argparse.Namespace) -> None:
  """Raises ValueError unless a recipe, or flags, or a system name the parts."""
  part_flags = _part_flags(args)
  given = [name for name, value in part_flags.items() if value]
  system_dir = getattr(args, 'system', None)
  if system_dir and given:
    raise ValueError(
      f'the parts are one --system, or all of {" ".join(part_flags)}; got'
      f' {system_dir!r} and {part_flags}.'
    )
  if system_dir and args.gin_file:
    raise ValueError('--system and --gin_file both name parts; give one.')
  if args.gin_file and given:
    raise ValueError(
      f'{" ".join(given)} and --gin_file both name parts; give one.'
    )
  check_bindings(args)
  is_given = args.gin_file or (not given and hasattr(args, 'system'))
  if not is_given and len(given) < len(part_flags):
    raise ValueError(
      f'a system takes all of {" ".join(part_flags)}, or in their place the'
      f' --gin_file that names its parts, such as prepare/paper.gin; got'
      f' {" ".join(given) or "none"}.'
    )


def check_no_parts(args: argparse.Namespace) -> None:
  """Raises ValueError when parts are named beside those of --system."""
  given = [name for name, value in _part_flags(args).items() if value]
  given += ['--gin_file'] * bool(args.gin_file)
  if given:
    raise ValueError(
      f'--system names the parts, and so does {" ".join(given)}; give one.'
    )


def preparation(args: argparse.Namespace):
  """The `Preparation` that a recipe, flags, or a system name.

  Raises:
    ValueError: Two of them do, or flags are missing.
  """
  check_parts(args)
  if args.gin_file:
    return _recipe(args)
  from v2meow_jax.jobs.prepare import preparation as preparation_lib  # pylint: disable=g-import-not-at-top

  if not any(_part_flags(args).values()):
    from v2meow_jax.inference import system as system_lib  # pylint: disable=g-import-not-at-top

    # The system whose streams the recipes of the tiny stages read.
    return preparation_lib.of_system(system_lib.folder(args.system or 'tiny'))
  return preparation_lib.trained_here(
    features=args.features, style=args.style, codec=args.codec
  )


def _recipe(args: argparse.Namespace):
  parse_recipes(args)
  import gin  # pylint: disable=g-import-not-at-top

  try:
    gin.query_parameter('%PARTS')
  except ValueError as e:
    raise ValueError(
      f'{" ".join(args.gin_file)} names no PARTS; give a recipe of'
      ' gin/prepare, such as prepare/paper.gin.'
    ) from e
  return gin.get_configurable('PARTS/macro')()
