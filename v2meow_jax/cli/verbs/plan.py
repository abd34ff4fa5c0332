"""`v2meow plan`: writes the beats and sections that a video asks for."""

import argparse

from v2meow_jax.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb."""
  parser.description = (
    'Plans the music of a video from its picture, without making any: tempo,'
    ' beats and bars, bent so that cuts fall on beats and half-beats; sections'
    ' at changes of scene, with their mood and energy; and a last bar. A pulse'
    ' that the picture has of its own, such as a dance, is found and kept. OUT'
    ' is json with a line for each beat and section. Edit it and have it'
    ' followed: `v2meow generate VIDEO -o out.mp4 --plan OUT`.\n'
    '\n'
    'What may be edited:\n'
    '  beats       times in seconds, which begin a bar, energy 0 (soft) to 1\n'
    '  sections    start, and a prompt of their own in words\n'
    '  end_seconds the beat after which the music rings out; null:\n'
    '              none, the music plays to the end of the clip\n'
    '  key         such as "Eb minor"; null: any\n'
    '  tempo_bpm   tempo after the last beat; others stay where they are\n'
  )
  parser.epilog = (
    'examples:\n'
    '  v2meow plan cat.mp4 -o plan.json\n'
    '  v2meow plan cat.mp4 -o plan.json --plot plan.png --bpm 120\n'
    '  v2meow generate cat.mp4 -o out.mp4 --plan plan.json'
  )
  flags.video(parser)
  parser.add_argument('-o', '--output', required=True, help='file in .json')
  parser.add_argument(
    '--plot', metavar='PNG', help='also draw what was seen and planned'
  )
  flags.span(parser)
  flags.bpm(parser)
  flags.key(parser)
  parser.add_argument(
    '--prompt',
    help=(
      'style in words, kept in the plan; a genre or a tempo that it names sets'
      ' the tempo of a picture without a pulse'
    ),
  )


def run(args: argparse.Namespace) -> None:
  """Plans and writes."""
  from v2meow_jax.extractors.planning import planner  # pylint: disable=g-import-not-at-top
  from v2meow_jax.extractors.planning import writing  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference import requests  # pylint: disable=g-import-not-at-top

  writing.write(
    args.video,
    args.output,
    plot=args.plot,
    prompt=requests.clean_prompt(args.prompt),
    wishes=planner.Wishes(bpm=args.bpm, key=args.key),
    start=args.start,
    end=args.end,
  )
