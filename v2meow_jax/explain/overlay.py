"""Generates music for a video and draws the influence of the video on it."""

from collections.abc import Iterator
import dataclasses
import importlib.util
import pathlib
import sys
from typing import Any

import numpy as np

import v2meow_jax
from v2meow_jax import media
from v2meow_jax import progress as progress_lib
from v2meow_jax import specs
from v2meow_jax.explain import gates
from v2meow_jax.explain import influence
from v2meow_jax.explain import influence_plot
from v2meow_jax.files import atomic
from v2meow_jax.files import outputs
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write as media_write
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import soundtrack

SUFFIXES = (media.WRITTEN_VIDEO_SUFFIX, '.png')
_PNG_WIDTH = 1600
# Text is legible from the first width; larger frames are scaled to the second.
_MIN_WIDTH, _MAX_SIDE = 640, 1280
_PIECE_SECONDS = 1.0
_DIGITS = 5


def write(
  video: str,
  output: str,
  *,
  prompt: str | None = None,
  seed: int = 0,
  plan: requests_lib.PlanLike = requests_lib.FROM_PICTURE,
  settings: influence.Settings,
  system_dir: str | None = None,
) -> list[pathlib.Path]:
  """Writes OUT.png, for OUT.mp4 also the video, and a json beside OUT.

  The music is that of `generate` with the same prompt and seed. Each file
  appears whole or not at all.

  Args:
    video: Path of the video.
    output: Path with a suffix of `SUFFIXES`.
    prompt: Style in words.
    seed: Seed of every draw.
    plan: Plan of the music, or wishes for one, as in `generate`; None: none.
    settings: Settings of the measurement.
    system_dir: Folder of a released system; None: the default.

  Returns:
    The paths written.

  Raises:
    ImportError: Matplotlib or librosa is not installed.
    ValueError: An argument, the media or the system is not usable.
    OSError: A file is missing or cannot be written.
  """
  _require_drawing()
  prompt = requests_lib.clean_prompt(prompt)
  out = outputs.checked(output, SUFFIXES)
  if not 0 <= seed < soundtrack.MAX_SEED:
    raise ValueError(f'seed is {seed}; wanted 0 to {soundtrack.MAX_SEED - 1}.')
  is_video = out.suffix.lower() == media.WRITTEN_VIDEO_SUFFIX
  picture = out.with_suffix('.png') if is_video else out
  paths = list(dict.fromkeys((out, picture, outputs.sidecar(out))))
  outputs.check_inputs_survive(paths, video)
  info = probe.probe_video(video)
  requests_lib.check_plan(plan, info, takes_parts=False)
  influence.count_bins(info.seconds, settings.bin_seconds)
  # JAX comes with these, after all that can be refused without it.
  from v2meow_jax.explain import effects
  from v2meow_jax.inference import system as system_lib
  from v2meow_jax.inference.films import making
  from v2meow_jax.inference.programs import compile_cache

  compile_cache.enable()
  system = system_lib.load(system_dir)
  stage, windows = system.stages[0], system.windows[0]
  effects.check(stage, settings)
  video_sha256 = atomic.sha256(video)
  soundtrack.say_notes(requests_lib.notes(plan, video_sha256))
  with making.shown(system, out.name, info.seconds) as on_progress:
    result = system.run(info, prompt, seed, plan=plan, on_progress=on_progress)
  with progress_lib.share_bar(1.0, out.name) as bar:
    bar.set_postfix_str('influence', refresh=False)
    effect = effects.measure(
      stage,
      result.streams,
      seconds=info.seconds,
      windows=windows,
      settings=settings,
      on_pass=bar.update,
    )
  note = stand_in(stage.spec, result)
  plot = influence_plot.draw(
    result.audio, effect, width=_PNG_WIDTH, note=note or ''
  )
  _write_png(picture, plot.pixels)
  soundtrack.say_unused(result.settings.get('not_used', {}))
  if note:
    advice = '--no_plan shows how the picture itself acts'
    print(f'v2meow: {note}; {advice}.', file=sys.stderr)
  if is_video:
    frames = _frames(info, result.audio, effect, stage.spec, note or '')
    media_write.write_video(
      out,
      progress_lib.bar(
        frames, total=len(_times(info)), unit='frame', desc=out.name
      ),
      rate_hz=info.rate_hz,
      audio=result.audio,
    )
  facts = _facts(video, result, stage.spec, settings, effect)
  facts |= {'video_sha256': video_sha256, 'stand_in': note}
  if notes := requests_lib.notes(plan, video_sha256):
    facts['notes'] = notes
  outputs.write_json(outputs.sidecar(out), facts)
  for path in paths:
    print(path)
  return paths


def stand_in(
  spec: specs.StageSpec, result: requests_lib.Soundtrack
) -> str | None:
  """Says which inputs a plan left empty; None: it left none.

  Args:
    spec: Inputs of the first stage.
    result: Soundtrack, with the streams that were read.
  """
  static, timed = [], []
  for stream in spec.inputs:
    if isinstance(stream, specs.FeatureSpec):
      (static if stream.is_static else timed).append(stream.name)
  empty = [name for name in timed if not result.streams[name].any()]
  if result.plan is None or not empty:
    return None
  has_style = any(result.streams[name].any() for name in static)
  who = 'the plan and the style stand' if has_style else 'the plan stands'
  return f'{who} in for {" and ".join(empty)}, without influence here'


def _require_drawing() -> None:
  missing = [
    name
    for name in ('matplotlib', 'librosa')
    if importlib.util.find_spec(name) is None
  ]
  if missing:
    raise ImportError(
      f'explain draws with {" and ".join(missing)}, which is not installed:'
      f' {v2meow_jax.extra_command("eval")}'
    )


def _write_png(path: pathlib.Path, pixels: np.ndarray) -> None:
  from matplotlib import image

  with atomic.replacing(path) as partial:
    image.imsave(partial, pixels, format='png')


def _frames(
  info: probe.MediaInfo,
  audio: media.Audio,
  effect: influence.Influence,
  spec: specs.StageSpec,
  note: str,
) -> Iterator[np.ndarray]:
  """Yields each frame with its heat, over the plot with its cursor."""
  times = _times(info)
  rates = {s.name: s.rate_hz for s in spec.inputs}
  # Heat is shown as a share of the clip's hottest cell.
  heat, opened = (
    {k: x / max(x.max(), 1e-12) for k, x in tables.items()}
    for tables in (effect.cells, effect.gates)
  )

  def at(tables, time):
    return [
      x[min(int(time * rates[name]), len(x) - 1)] for name, x in tables.items()
    ]

  plot = None
  for piece in read.iter_video(
    info, piece_seconds=_PIECE_SECONDS, max_side=_MAX_SIDE
  ):
    if plot is None:
      width = max(_MIN_WIDTH, piece.frames.shape[2] // 2 * 2)
      plot = influence_plot.draw(audio, effect, width=width, note=note)
    end = piece.start_seconds + piece.seconds
    now = times[(times >= piece.start_seconds) & (times < end)]
    for time, frame in zip(now, piece.at(now), strict=True):
      frame = influence_plot.blend(frame, at(heat, time))
      for grid in at(opened, time):
        frame = gates.tinted(frame, grid)
      yield np.concatenate([_fit(frame, plot.pixels.shape[1]), plot.at(time)])


def _times(info: probe.MediaInfo) -> np.ndarray:
  """The middle of each frame of the overlay, in seconds."""
  num_frames = max(1, round(info.seconds * info.rate_hz))
  return (np.arange(num_frames) + 0.5) / info.rate_hz


def _fit(frame: np.ndarray, width: int) -> np.ndarray:
  """Pads a frame with black to `width` and an even height."""
  missing = width - frame.shape[1]
  sides = (missing // 2, missing - missing // 2)
  return np.pad(frame[:, :width], ((0, len(frame) % 2), sides, (0, 0)))


def _facts(
  video: str,
  result: requests_lib.Soundtrack,
  spec: specs.StageSpec,
  settings: influence.Settings,
  effect: influence.Influence,
) -> dict[str, Any]:
  def rounded(table: np.ndarray) -> list:
    return np.round(table, _DIGITS).tolist()

  def near(table: np.ndarray) -> dict[str, float]:
    share, chance = influence.near_share(table)
    return {'share': round(share, _DIGITS), 'chance': round(chance, _DIGITS)}

  unit = 'nats' if effect.unit == influence.NATS else 'variances'
  streams = {}
  for name, without in effect.without_stream.items():
    streams[name] = {
      f'mean_influence_{unit}': round(float(without.mean()), _DIGITS),
      f'influence_of_stream_{unit}': rounded(without),
    }
    if name in effect.attention:
      attention = effect.attention[name]
      streams[name] |= {
        'mean_attention': round(float(attention.sum(1).mean()), _DIGITS),
        'attention': rounded(attention),
      }
      if name in effect.without_bin:
        streams[name]['attention_within_a_bin'] = near(attention)
    if name in effect.without_bin:
      table = effect.without_bin[name]
      streams[name] |= {
        f'influence_of_bin_{unit}': rounded(table),
        'influence_within_a_bin': near(table),
      }
    if name in effect.cells:
      streams[name]['attention_of_cells'] = rounded(effect.cells[name])
    if name in effect.gates:
      streams[name]['gates_of_patches'] = rounded(effect.gates[name])
  return {
    'video': str(video),
    'seconds': result.audio.seconds,
    'version': v2meow_jax.__version__,
    **result.settings,
    'stage': spec.name,
    **dataclasses.asdict(settings),
    'streams': streams,
  }
