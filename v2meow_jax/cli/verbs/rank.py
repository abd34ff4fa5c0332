"""`v2meow rank`: orders tracks of music by how well they go with a video."""

import argparse
import json

from v2meow_jax.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb."""
  parser.description = (
    'Scores tracks of music against a video with the embeddings of a system that'
    ' was trained to tell which music belongs to which video'
    ' (systems/vmas/music.gin, docs/vmas.md), and prints them, the best first: a'
    ' mean cosine from -1 to 1 over windows of the length of its crop, and the'
    ' path. Music longer than the video is judged by its beginning. Nothing is'
    ' written.'
  )
  parser.epilog = (
    'examples:\n'
    '  v2meow rank cat.mp4 a.mp3 b.wav c.flac --system my_vmas\n'
    '  v2meow rank cat.mp4 stock/*.mp3 --system my_vmas --json'
  )
  flags.video(parser)
  parser.add_argument('music', nargs='+', help='tracks to score, two or more')
  parser.add_argument(
    '--system', required=True, metavar='DIR', help='folder of the system'
  )
  parser.add_argument(
    '--json', action='store_true', help='print a json list of path and score'
  )


def run(args: argparse.Namespace) -> None:
  """Prints the tracks, the best first."""
  if len(args.music) < 2:
    raise ValueError(
      f'there is one track, {args.music[0]}, and so nothing to rank; name two or'
      ' more.'
    )
  from v2meow_jax.files import read  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference import loading  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference import system  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference.ranking import ranker as ranker_lib  # pylint: disable=g-import-not-at-top

  ranker = ranker_lib.Ranker(loaded=loading.load(system.folder(args.system)))
  rate_hz = ranker.loaded.codec.sample_rate_hz
  # Before anything is computed of a track that cannot be read.
  tracks = [read.read_audio(path, rate_hz=rate_hz) for path in args.music]
  video = ranker.embed_video(args.video)
  scores = [
    ranker_lib.score(video, ranker.embed_music(track)) for track in tracks
  ]
  rows = [
    {'path': str(args.music[i]), 'score': round(scores[i], 4)}
    for i in ranker_lib.ranked(scores)
  ]
  if args.json:
    print(json.dumps(rows, indent=1))
    return
  for row in rows:
    print(f'{row["score"]:+.3f}  {row["path"]}')
