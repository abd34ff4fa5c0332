"""Reads the media of an item in a worker: what the stages need of them."""

from collections.abc import Callable
import dataclasses
import functools
import pathlib
from typing import Any

import jax

from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files import atomic
from v2meow_jax.files import copies
from v2meow_jax.files import read as media_read
from v2meow_jax.files.films import film_part
from v2meow_jax.inference import loading
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import soundtrack
from v2meow_jax.inference import streams
from v2meow_jax.inference import style
from v2meow_jax.inference import system as system_lib
from v2meow_jax.inference.programs import compile_cache
from v2meow_jax.jobs.generate import items


@dataclasses.dataclass(frozen=True)
class Reading:
  """Makes the function that reads items, in a process of its own.

  Attributes:
    system_dir: Folder of a released system; None: the default.
  """

  system_dir: str | None

  def __call__(self) -> Callable[..., Any]:
    """Loads the extractors, on the CPU: the accelerator is for the stages."""
    jax.config.update('jax_platforms', 'cpu')
    compile_cache.enable()
    folder = system_lib.folder(self.system_dir)
    return functools.partial(read, loading.load(folder, for_reading=True))


def read(
  loaded: loading.Loaded, item: items.Item, output: str
) -> tuple[streams.ReadRequest, dict[str, dict[str, str]]]:
  """Reads the media of an item.

  Args:
    loaded: System, of which the stages need no weights.
    item: Item to read.
    output: Path of the result, whose suffix must be able to hold its pictures.

  Returns:
    What the stages need, and version and digest of each file by its role.
  """
  files = {
    name: {'version': copies.version(path), 'sha256': atomic.sha256(path)}
    for name, path in item.files.items()
  }
  info = soundtrack.check_video(item.files['video'], pathlib.Path(output), 1)
  options = item.options
  music = None
  if 'style_audio' in item.files:
    music = media_read.read_audio(
      item.files['style_audio'], rate_hz=style.rate_hz(loaded.styles)
    )
  plan: requests_lib.PlanLike = item.wishes
  if 'plan' in item.files:
    plan = plan_lib.read(item.files['plan'])
  request = requests_lib.Request(
    video=film_part.cut(info, options.get('start'), options.get('end')),
    prompt=options.get('prompt'),
    negative=options.get('negative'),
    seed=options.get('seed', 0),
    style_audio=music,
    plan=plan,
  )
  return streams.read_requests([request], loaded)[0], files
