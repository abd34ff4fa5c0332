"""A released system: a folder of weights and config. The Python API.

>>> from v2meow_jax.inference import system  # doctest: +SKIP
>>> audio = system.load().generate(  # doctest: +SKIP
...   'my.mp4', prompt='calm piano', seed=3
... )
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import os
import pathlib
from typing import Any

from v2meow_jax import media
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import paths
from v2meow_jax.files import probe
from v2meow_jax.files.films import film_part
from v2meow_jax.files.films import scratch as scratch_lib
from v2meow_jax.inference import loading
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import restore
from v2meow_jax.inference import sound
from v2meow_jax.inference import streams as streams_lib
from v2meow_jax.inference import style
from v2meow_jax.inference.expression import dynamics
from v2meow_jax.inference.expression import harmony
from v2meow_jax.inference.films import unfinished
from v2meow_jax.inference.programs import compile_cache
from v2meow_jax.inference.programs import kept
from v2meow_jax.inference.programs import warm_up
from v2meow_jax.models.sampling import options

_ASSETS = pathlib.Path(__file__).parent.parent / 'assets'
# Systems that come with the library, the default first: one whose single stage
# plays plans in the manner of songs, and V2Meow's three stages at a tiny size,
# of drawn clips.
SHIPPED = {name: _ASSETS / f'{name}_system' for name in ('songs', 'tiny')}
DEFAULT = next(iter(SHIPPED))

OnProgress = Callable[[str, float], None]


class System:
  """Stages, codec and extractors that belong together."""

  def __init__(
    self, folder: pathlib.Path, dtype: str | None = None, tensor: int = 1
  ):
    """See `load`."""
    self._loaded = loading.load(folder, dtype, tensor)
    self.folder = folder
    self.config = self._loaded.config
    self.digest = self._loaded.digest
    self.dtype = self._loaded.dtype
    self.stages = self._loaded.stages
    samplers = [stage.model.sampler for stage in self.stages]
    self.windows = [sampler.windows for sampler in samplers]
    self.samplings = [pipeline.own_sampling(sampler) for sampler in samplers]
    self._sound = sound.levels(
      self.config['sound'], [stage.spec.target for stage in self.stages]
    )
    self.streams = self._loaded.streams
    self.extractors = self._loaded.extractors
    self.codec = self._loaded.codec

  @property
  def parts(self) -> tuple[str, ...]:
    """What a soundtrack is made by, one after the other."""
    return ('streams', *(stage.spec.name for stage in self.stages), 'codec')

  @property
  def loaded(self) -> loading.Loaded:
    """What the folder holds, for uses other than generation."""
    return self._loaded

  @property
  def num_groups(self) -> int:
    """Number of groups of devices, each of which takes windows of its own."""
    mesh = self._loaded.mesh
    return 1 if mesh is None else mesh.shape['data']

  @functools.cached_property
  def styles(self) -> Mapping[str, Any]:
    """The extractors of style, built once they are needed."""
    return self._loaded.styles

  @property
  def style_rate_hz(self) -> int:
    """Samples a second at which music is best given as a style."""
    if 'style' not in self.streams and self.codec.stream.name == 'latents':
      return self.codec.sample_rate_hz  # Taken up in context.
    return style.rate_hz(self.styles)

  def generate(
    self,
    video: requests_lib.VideoLike,
    prompt: str | None = None,
    seed: int = 0,
    *,
    style_audio: media.Audio | None = None,
    negative: str | None = None,
    plan: requests_lib.PlanLike = planner.FROM_PICTURE,
    sampling: pipeline.Samplings | None = None,
    rows: int | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
  ) -> media.Audio:
    """Music for a video: mono, and as long as the video to the sample.

    `inference.finish.finished` mixes it with the sound of the video, brings it to
    a loudness, and the like.

    Args:
      video: Path of the video, or its decoded frames.
      prompt: Style in words; None or '' follows the picture alone.
      seed: Seed of every draw; equal inputs and seed give equal samples.
      style_audio: Style as music, in place of a prompt.
      negative: Style in words that the music is to avoid; wants a
        `style_guidance` above 1.
      plan: Plan to follow, or wishes for one that is made of the picture; None:
        the stages read the motion of the picture itself.
      sampling: Options of the sampler, for all stages or one per stage; what
        they leave open is as the system was exported. None: all of it.
      rows: Number of windows in a call of each stage, for each group of devices;
        None: the system's own. Other numbers are other programs, which may
        round otherwise.
      start_seconds: Time at which the music begins; None: with the video.
      end_seconds: Time at which the music ends; None: with the video. Music for
        a part is as long as the part.

    Returns:
      The soundtrack.

    Raises:
      ValueError: An argument is out of range, a prompt and a music style are
        both given, or the system cannot follow the plan.
      probe.UnsupportedMedia: The file is not a video that can be read.
    """
    return self.run(
      video,
      prompt,
      seed,
      style_audio=style_audio,
      negative=negative,
      plan=plan,
      sampling=sampling,
      rows=rows,
      start_seconds=start_seconds,
      end_seconds=end_seconds,
    ).audio

  def generate_batch(
    self,
    videos: Sequence[requests_lib.VideoLike],
    prompts: Sequence[str | None] | None = None,
    seeds: Sequence[int] | None = None,
    *,
    sampling: pipeline.Samplings | None = None,
    rows: int | None = None,
  ) -> list[media.Audio]:
    """One soundtrack per video; each equals what `generate` alone gives.

    Windows of all videos share calls of `rows` rows; see `generate`.
    """
    prompts = prompts or [None] * len(videos)
    seeds = seeds or [0] * len(videos)
    requests = [
      requests_lib.Request(video=v, prompt=p, seed=s)
      for v, p, s in zip(videos, prompts, seeds, strict=True)
    ]
    soundtracks = self.run_batch(requests, sampling=sampling, rows=rows)
    return [soundtrack.audio for soundtrack in soundtracks]

  def run(
    self,
    video: requests_lib.VideoLike,
    prompt: str | None = None,
    seed: int = 0,
    *,
    style_audio: media.Audio | None = None,
    negative: str | None = None,
    plan: requests_lib.PlanLike = planner.FROM_PICTURE,
    sampling: pipeline.Samplings | None = None,
    rows: int | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    on_progress: OnProgress = lambda part, seconds: None,
  ) -> requests_lib.Soundtrack:
    """`generate`, and how the music came about; see `run_batch`."""
    request = requests_lib.Request(
      video=film_part.cut(video, start_seconds, end_seconds),
      prompt=prompt,
      seed=seed,
      style_audio=style_audio,
      negative=negative,
      plan=plan,
    )
    return self.run_batch(
      [request], sampling=sampling, rows=rows, on_progress=on_progress
    )[0]

  def run_batch(
    self,
    requests: Sequence[requests_lib.Request],
    *,
    sampling: pipeline.Samplings | None = None,
    rows: int | None = None,
    on_progress: OnProgress = lambda part, seconds: None,
    scratch: str | os.PathLike[str] | None = None,
    kept: Sequence[unfinished.Unfinished] = (),
  ) -> list[requests_lib.Soundtrack]:
    """Soundtracks of several requests, whose windows share calls.

    Args:
      requests: Videos with their prompts and seeds.
      sampling: Options of the sampler, as in `generate`.
      rows: Number of windows in a call, as in `generate`.
      on_progress: Called with the name of the part at work, and how many seconds
        of the videos it has done; each of `parts` does all of them.
      scratch: Folder of this machine, on whose disk what stages write, and the
        samples, of films of more than a minute lie; None: in memory.
      kept: Work at each so far, to go on with; none: there is none.

    Returns:
      One soundtrack per request, whatever the others are.

    Raises:
      ValueError: An argument is out of range, as in `generate`.
      probe.UnsupportedMedia: As in `generate`.
      OSError: The disk of `scratch` has no room for what would lie there.
    """
    samplings, windows = self.resolve(sampling, rows)
    if any(request.negative for request in requests):
      pipeline.require_guidance(samplings)
    clock = requests_lib.PartClock()
    with clock('streams'):
      requests = requests_lib.probed(requests)
      targets = [stage.spec.target for stage in self.stages]
      needed = sound.bytes_per_second(self.codec, targets)
      scratch_lib.check(scratch, map(_seconds, requests), needed)
      with warm_up.ahead(self._programs(requests, samplings, windows)):
        on_piece = functools.partial(on_progress, 'streams')
        read = self.read(requests, kept, on_piece)
    clips = [r.clip for r in read]
    self.sample(clips, samplings, windows, on_progress, clock, scratch)
    with clock('codec'):
      facts = self.describe(samplings, windows)
      on_piece = functools.partial(on_progress, 'codec')
      return [self.decode(r, facts, clock, scratch, on_piece) for r in read]

  def read(
    self,
    requests: Sequence[requests_lib.Request],
    kept: Sequence[unfinished.Unfinished] = (),
    on_piece: streams_lib.OnPiece = lambda seconds: None,
  ) -> list[streams_lib.ReadRequest]:
    """Reads what the stages need of requests, unless it is kept; and keeps it.

    Args:
      requests: Videos with their prompts and seeds.
      kept: Work at each so far; none: there is none.
      on_piece: Function to call with the seconds of each piece of a video.
    """
    if not kept:
      return streams_lib.read_requests(requests, self._loaded, on_piece)
    read = {}
    for i, work in enumerate(kept):
      if (found := work.reading()) is not None:
        read[i] = found
        on_piece(found.clip.seconds)
    missing = [i for i in range(len(requests)) if i not in read]
    some = streams_lib.read_requests(
      [requests[i] for i in missing], self._loaded, on_piece
    )
    for i, made in zip(missing, some, strict=True):
      kept[i].keep_reading(made)
      read[i] = made
    return [
      dataclasses.replace(
        read[i], clip=dataclasses.replace(read[i].clip, kept=work)
      )
      for i, work in enumerate(kept)
    ]

  def sample(
    self,
    clips: Sequence[pipeline.ClipStreams],
    samplings: Sequence[options.Sampling],
    windows: Sequence[options.Windows],
    on_progress: OnProgress,
    clock: requests_lib.PartClock,
    scratch: str | os.PathLike[str] | None = None,
  ) -> None:
    """Runs every stage, and adds what it writes to the streams of the clips.

    Args:
      clips: Clips with their visual streams and styles.
      samplings: Options of each stage, as `resolve` gives them.
      windows: Windows of each stage.
      on_progress: Function to call, as in `run_batch`.
      clock: Clock that measures the stages.
      scratch: Folder for what they write of a film, as in `run_batch`.
    """
    for stage, chosen, window in zip(
      self.stages, samplings, windows, strict=True
    ):
      spec = stage.spec
      with clock(spec.name):
        codes = pipeline.sample_stage(
          stage,
          clips,
          sampling=chosen,
          windows=window,
          num_groups=self.num_groups,
          on_call=functools.partial(on_progress, spec.name),
          scratch=scratch,
        )
      for clip, clip_codes in zip(clips, codes, strict=True):
        clip.streams[spec.target.name] = clip_codes

  def decode(
    self,
    read: streams_lib.ReadRequest,
    facts: Mapping[str, Any],
    clock: requests_lib.PartClock,
    scratch: str | os.PathLike[str] | None = None,
    on_piece: streams_lib.OnPiece = lambda seconds: None,
  ) -> requests_lib.Soundtrack:
    """The soundtrack of a clip that all stages have written to.

    Args:
      read: Request with the streams of all stages.
      facts: Settings of the call, as `describe` gives them.
      clock: Clock that measured the parts.
      scratch: Folder for the samples of a film, as in `run_batch`.
      on_piece: Function to call with the seconds of each piece.
    """
    clip, plan = read.clip, read.plan
    make = scratch_lib.room(scratch, clip.seconds)
    streams = harmony.in_key(clip.streams, self.codec, plan, make)
    audio, codes = sound.decode(
      self.codec, streams, self._sound, clip.seconds, make, on_piece
    )
    sound.bring_to_range(audio)
    return requests_lib.Soundtrack(
      audio=audio if plan is None else dynamics.follow(audio, plan),
      codes=codes,
      streams=clip.streams,
      seconds_per_part=clock.seconds,
      settings={
        **read.settings,
        'plan': plan and plan_lib.to_content(plan),
        'not_used': read.not_used,
        **facts,
      },
      seconds=clip.seconds,
      plan=plan,
    )

  def describe(
    self,
    samplings: Sequence[options.Sampling],
    windows: Sequence[options.Windows],
  ) -> dict[str, Any]:
    """Settings that all soundtracks of a call share, for sidecars."""
    mesh = self._loaded.mesh
    return {
      'system': self.config['name'],
      'system_sha256': self.digest,
      'dtype': self.dtype,
      'tensor': 1 if mesh is None else mesh.shape['tensor'],
      'sampling': self._by_stage(map(dataclasses.asdict, samplings)),
      'rows': self._by_stage(w.rows for w in windows),
      'licences': self.config['licences'],
    }

  def _programs(
    self,
    requests: Sequence[requests_lib.Request],
    samplings: Sequence[options.Sampling],
    windows: Sequence[options.Windows],
  ) -> list[Callable[[], Any]]:
    """Calls that make ready what stages and codec run, the first needed first.

    The last ones are needed by longer clips only, which then wait for nothing;
    they are left out where no program is kept.
    """
    seconds = max(map(_seconds, requests), default=0.0)
    needed, others = [], []
    for stage, chosen, window in zip(
      self.stages, samplings, windows, strict=True
    ):
      if not isinstance(stage, restore.ModelStage):
        continue
      spec = stage.spec
      starts = pipeline.window_starts(
        seconds, spec.crop_seconds, window.prefix_seconds
      )
      prefix = window.prefix_frames(spec.target)
      rows = window.rows * self.num_groups
      call = functools.partial(stage.prepare, rows, chosen)
      needed.append(call)
      zeros = [0] * rows
      needed.append(
        functools.partial(pipeline.row_keys, spec.name, zeros, zeros)
      )
      if prefix:
        of_more = needed if len(starts) > 1 else others
        of_more.append(functools.partial(call, prefix))
    program = getattr(self.codec, 'program', None)
    if isinstance(program, kept.Program):
      num_levels = sum(s.frame_shape[0] for s in self._sound)
      arguments = self.codec.piece_arguments(num_levels, sound.PIECE_FRAMES)
      needed.append(functools.partial(program.prepare, *arguments))
    return needed + others if compile_cache.folder() else needed

  def _by_stage(self, values: Iterable[Any]) -> dict[str, Any]:
    names = (stage.spec.name for stage in self.stages)
    return dict(zip(names, values, strict=True))

  def follows(self, plan: requests_lib.PlanLike, *prompts: str) -> bool:
    """Whether music follows a plan, where this is asked for.

    Raises:
      ValueError: The system can follow no plan, or nothing else, or no prompts.
    """
    if prompts:
      streams_lib.check_words(self._loaded)
    return streams_lib.music_follows(plan, self._loaded)

  def resolve(
    self, sampling: pipeline.Samplings | None, rows: int | None
  ) -> tuple[list[options.Sampling], list[options.Windows]]:
    """Settings of each stage, the system's own where none are given.

    Raises:
      ValueError: A setting is out of range, or they do not fit the stages.
    """
    return (
      pipeline.resolve(
        sampling, self.samplings, [stage.spec for stage in self.stages]
      ),
      [
        w if rows is None else dataclasses.replace(w, rows=rows)
        for w in self.windows
      ],
    )


def _seconds(request: requests_lib.Request) -> float:
  if isinstance(request.video, media.Video):
    return request.video.seconds
  return probe.probe_video(request.video).seconds


def folder(path: str | os.PathLike[str] | None = None) -> pathlib.Path:
  """Folder of a system, by its path or a name of `SHIPPED`; None: the default."""
  shipped = SHIPPED.get(str(path or DEFAULT))
  return shipped or paths.path(path)


def load(
  path: str | os.PathLike[str] | None = None,
  dtype: str | None = None,
  tensor: int = 1,
) -> System:
  """Loads a system onto the devices of this machine.

  Windows are shared out among groups of devices, each with all of the weights:
  one device a group, unless a system is larger than that.

  Args:
    path: Folder, here or in a bucket, or a name of `SHIPPED`; None: the default.
    dtype: Type in which stages compute, 'float32' or 'bfloat16'; softmax and
      logits are float32 in both. None: float32 on a CPU, else bfloat16. Each
      rounds in its own way, so that a seed may give other music.
    tensor: Number of devices of a group, which split the weights of the stages
      as the axis 'tensor' does in training.

  Returns:
    The system.

  Raises:
    released.DamagedSystem: The folder is not whole.
    ValueError: There is no such type, or the devices cannot be grouped so.
  """
  return System(folder(path), dtype, tensor)
