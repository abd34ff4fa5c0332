"""Flags for the editor's finish, which generate and batch share."""

import argparse

from v2meow_jax.cli import flags


def loudness(text: str) -> float | str:
  """Reads a loudness in LUFS, or the word for none."""
  return text if text == 'as_is' else float(text)


def add(parser: argparse.ArgumentParser) -> None:
  """Adds the options that act on finished music, not on how it is made."""
  group = parser.add_argument_group(
    'finish',
    'what becomes of the music before it is written; with --start or --end the'
    ' result is as long as the video all the same; docs/finish.md has more',
  )
  option = group.add_argument
  option(
    '--keep_audio',
    '--keep-audio',
    action='store_true',
    help="mix the music with the video's own sound",
  )
  option(
    '--audio_level',
    '--audio-level',
    type=float,
    metavar='DB',
    help=(
      "gain of the video's own sound in the mix: -12 puts it under the music;"
      ' default: 0'
    ),
  )
  option(
    '--duck',
    type=float,
    metavar='DB',
    help=(
      'turn the music down by so much, such as 12, where somebody speaks in the'
      " video's own sound; wants --keep_audio; default: not at all"
    ),
  )
  option(
    '--loudness',
    type=loudness,
    metavar='LUFS',
    help=(
      'integrated loudness of the whole (EBU R128), such as -14 for the web or'
      ' -23 for broadcast, its true peak below -1 dBTP; `as_is` leaves the music'
      ' as loud as it was made; default: -18, and with --keep_audio music of -20'
      " beside the video's own sound"
    ),
  )
  option(
    '--fade_in',
    '--fade-in',
    type=float,
    metavar='SECONDS',
    help='fade the music in; default: 0',
  )
  option(
    '--fade_out',
    '--fade-out',
    type=float,
    metavar='SECONDS',
    help=(
      'fade the music out; default: 0 where it follows a plan, which ends it,'
      ' else 1'
    ),
  )
  option(
    '--rate',
    type=int,
    metavar='HZ',
    help='sample rate; default: 48000 in films, else that of the system',
  )
  option(
    '--channels',
    type=int,
    choices=(1, 2),
    help=(
      'number of channels; music is the same on both; default: 2 in films, else 1'
    ),
  )
  flags.span(group)


def add_best_of(container: argparse._ActionsContainer) -> None:
  """Adds the flag that has takes compared."""
  container.add_argument(
    '--best_of',
    '--best-of',
    type=int,
    metavar='N',
    help=(
      'make N takes, with seeds from --seed on, and write the one in whose sound'
      ' the beats of the plan are heard most clearly; OUT.json has the scores'
    ),
  )
