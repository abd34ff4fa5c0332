"""Flags that several verbs share."""

import argparse


def value(
  parser: argparse.ArgumentParser,
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
    help='video file: mp4, mov, mkv, webm, avi, ts, mpg, flv, wmv or gif',
  )


def bpm(parser: argparse._ActionsContainer) -> None:
  """Adds the flag for a tempo."""
  parser.add_argument(
    '--bpm',
    type=float,
    help=(
      'tempo in beats a minute, 50 to 200; default: that of a pulse in the'
      ' picture, else of the prompt, else one that fits its mood'
    ),
  )


def system(parser: argparse.ArgumentParser) -> None:
  """Adds the flag that names a released system."""
  parser.add_argument(
    '--system', help='folder of a released system; default: the embedded one'
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

  recipe = args.gin_file, args.gin_bindings, args.gin_search_paths
  gin_config.check_used(*recipe)
  gin_config.parse(*recipe)


def check_bindings(args: argparse.Namespace) -> None:
  """Raises ValueError when there are bindings without a recipe."""
  if args.gin_bindings and not args.gin_file:
    raise ValueError('--gin.NAME=VALUE goes with --gin_file.')
