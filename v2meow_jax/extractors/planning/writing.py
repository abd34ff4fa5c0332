"""`v2meow plan`: from a video to its plan, and a plot of it."""

import dataclasses
import importlib.util
import pathlib

import v2meow_jax
from v2meow_jax.extractors.planning import analysis
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import plan_plot
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import atomic
from v2meow_jax.files import outputs
from v2meow_jax.files import read
from v2meow_jax.files.films import film_part

# As the tiny system reads videos.
_PIECE_SECONDS = 10.0
_MAX_SIDE = 128


def write(
  video: str,
  output: str,
  *,
  plot: str | None = None,
  prompt: str | None = None,
  wishes: planner.Wishes = planner.FROM_PICTURE,
  start: float | None = None,
  end: float | None = None,
) -> list[pathlib.Path]:
  """Writes the plan of a video, and draws it.

  Args:
    video: Path of the video.
    output: Path of the plan, .json.
    plot: Path of the plot, .png; None: no plot.
    prompt: Style in words, clean.
    wishes: Wishes for the plan.
    start: Start of the part to plan music for, in seconds; None: that of the
      video.
    end: End of the part, in seconds; None: that of the video.

  Returns:
    The paths written.

  Raises:
    ImportError: A plot is wanted and Matplotlib is not installed.
    ValueError: An argument or the video is not usable.
    OSError: A file is missing or cannot be written.
  """
  paths = [outputs.checked(output, ('.json',))]
  if plot is not None:
    if importlib.util.find_spec('matplotlib') is None:
      raise ImportError(
        f'a plot needs matplotlib: {v2meow_jax.extra_command("eval")}; or leave out'
        ' --plot.'
      )
    paths.append(outputs.checked(plot, ('.png',)))
  outputs.check_inputs_survive(paths, video)
  part = film_part.cut(video, start, end)
  seen = analysis.analyse(
    read.iter_video(part, piece_seconds=_PIECE_SECONDS, max_side=_MAX_SIDE)
  )
  plan = planner.plan(seen, prompt=prompt, wishes=wishes)
  plan = dataclasses.replace(plan, video_sha256=atomic.sha256(video))
  plan_lib.write(paths[0], plan)
  if plot is not None:
    plan_plot.write(paths[1], plan, seen)
  for path in paths:
    print(path)
  return paths
