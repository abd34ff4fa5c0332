"""`v2meow generate`: from a file to a file and its sidecar."""

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import hashlib
import json
import pathlib
import sys
from typing import Any

import v2meow_jax
from v2meow_jax import media
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import atomic
from v2meow_jax.files import full_disk
from v2meow_jax.files import outputs
from v2meow_jax.files import paths as paths_lib
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import film_part
from v2meow_jax.files.films import remux
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference.finish import options as finish_options
from v2meow_jax.inference.finish import output as output_lib

SUFFIXES = (*containers.SUFFIXES, *media.WRITTEN_AUDIO_SUFFIXES)
# Options of the sampler, besides the temperatures.
SAMPLING = (
  *('top_k', 'top_p', 'max_run', 'style_guidance', 'video_guidance'),
  'steps',
)
# How parts of a request that are not used are said, where no flag has their name.
_SAID = {
  'style_audio': '--style-audio',
  'section_prompts': "the plan's style in words",
  'tempo_of_prompt': 'the tempo in --prompt',
  'key_of_prompt': 'the key in --prompt',
}
MAX_SEED = 2**32
MAX_TAKES = 1000


def write(
  video: str,
  output: str,
  *,
  prompt: str | None = None,
  style_audio: str | None = None,
  negative: str | None = None,
  seed: int = 0,
  plan: requests_lib.PlanLike = planner.FROM_PICTURE,
  sampling: Sequence[Mapping[str, Any]] = (),
  rows: int | None = None,
  takes: int = 1,
  best_of: int = 1,
  start: float | None = None,
  end: float | None = None,
  finish: finish_options.Finish = finish_options.USUAL,
  resume: bool = False,
  system_dir: str | None = None,
  dtype: str | None = None,
  tensor: int = 1,
) -> list[pathlib.Path]:
  """Writes OUT (and OUT_1, OUT_2 ... for several takes), each with a json.

  Everything that can be checked is checked before anything is computed, and a
  file appears whole or not at all.

  Args:
    video: Path of the video.
    output: Path with a suffix of `SUFFIXES`.
    prompt: Style in words.
    style_audio: Path of a piece of music as the style.
    negative: Style in words that the music is to avoid.
    seed: Seed of the first take; the next take's is one higher.
    plan: Plan to follow, or wishes for one that is made of the picture; None:
      the stages read the motion of the picture itself.
    sampling: Fields of `options.Sampling`, for all stages or one per stage;
      none: the system's own.
    rows: Number of windows in a call of each stage, and of takes that are made
      together, for each group of devices; None: the system's own, and one take.
    takes: Number of takes to make.
    best_of: Number of takes to make of which the best one is written, as
      `scoring` says; 1: none are compared.
    start: Time at which the music begins, in seconds; None: with the video.
    end: Time at which the music ends, in seconds; None: with the video.
    finish: Options for what becomes of the music before it is written.
    resume: Whether to go on where an interrupted command of equal arguments
      stopped, and to leave takes that are there.
    system_dir: Folder of a released system; None: the default.
    dtype: Type in which the stages compute; None: that of the device.
    tensor: Number of devices that split the weights of the stages.

  Returns:
    The paths written.

  Raises:
    ValueError: An argument, the media or the system is not usable; or the sound
      of a take is not, and then there is no file of it.
    OSError: A file is missing or cannot be written.
  """
  if not 1 <= takes <= MAX_TAKES:
    raise ValueError(f'takes is {takes}; wanted 1 to {MAX_TAKES}.')
  if takes > 1 and best_of > 1:
    raise ValueError(
      f'takes is {takes} and best_of {best_of}; choose one: best_of writes one of'
      ' its takes.'
    )
  finish_options.check_best_of(best_of, has_plan=plan is not None)
  count = max(takes, best_of)
  prompt = requests_lib.clean_prompt(prompt)
  negative = requests_lib.clean_prompt(negative)
  out = outputs.checked(output, SUFFIXES)
  finish.of(out, finish_options.FILM_RATE_HZ)
  if not 0 <= seed <= MAX_SEED - count:
    raise ValueError(
      f'seed is {seed}; wanted 0 to {MAX_SEED - count} for {count} take(s).'
    )
  paths = _take_paths(out, takes)
  written = written_paths(out, takes)
  outputs.check_inputs_survive(written, video, style_audio)
  info = film_part.cut(check_video(video, out, takes), start, end)
  requests_lib.check_plan(plan, info)
  music = probe.probe(style_audio) if style_audio else None
  if music and not music.has_audio:
    raise probe.UnsupportedMedia(f'{style_audio}: no audio track; wanted one.')
  # JAX comes with these, after all that can be refused without it.
  from v2meow_jax.inference import pipeline
  from v2meow_jax.inference import sound
  from v2meow_jax.inference import system as system_lib
  from v2meow_jax.inference.films import making
  from v2meow_jax.inference.films import unfinished
  from v2meow_jax.inference.finish import scoring
  from v2meow_jax.inference.programs import compile_cache
  from v2meow_jax.models.sampling import options

  works = _take_paths(out, count)
  making.check_resumable(works, resume)
  for path in written:
    atomic.remove_left(path)
  samplings = [options.Sampling(**fields) for fields in sampling] or None
  compile_cache.enable()
  system = system_lib.load(system_dir, dtype, tensor)
  resolved = system.resolve(samplings, rows)
  if count > 1 and resolved[0] and not any(s.temperature for s in resolved[0]):
    raise ValueError(
      f'at a temperature of 0 nothing is drawn, so that {count} takes would be'
      ' the same; make one, or give a --temperature above 0.'
    )
  if negative:
    pipeline.require_guidance(resolved[0])
  if not system.follows(plan, *filter(None, (prompt, negative))):
    finish_options.check_best_of(best_of, has_plan=False)
  style = None
  if music:
    style = read.read_audio(music, rate_hz=system.style_rate_hz)
  requests = [
    requests_lib.Request(
      video=info,
      prompt=prompt,
      seed=seed + take,
      style_audio=style,
      negative=negative,
      plan=plan,
    )
    for take in range(count)
  ]
  together = (rows or 1) * system.num_groups
  settings = system.describe(*resolved)
  video_sha256 = atomic.sha256(video)
  say_notes(requests_lib.notes(plan, video_sha256))
  acting = {**settings, 'start': start, 'end': end}
  keys = [unfinished.key(system, r, video_sha256, acting) for r in requests]
  # What acts on the file besides.
  whole = f'{finish_options.record(finish)} {best_of}'
  made_from = [
    hashlib.sha256(f'{k} {whole}'.encode()).hexdigest() for k in keys
  ]
  left = list(range(count))
  if resume:
    is_made = [_is_made(*pair) for pair in zip(paths, made_from, strict=False)]
    left = [n for n in left if not is_made[min(n, takes - 1)]]
  made = [path for n, path in enumerate(paths) if n not in left]
  print(*made, sep='\n', end='\n' if made else '')
  unusable = []
  contest = scoring.Contest()
  # Takes of which one is chosen are kept until it is written.
  with contextlib.ExitStack() as kept:
    for first in range(0, len(left), together):
      some = left[first : first + together]
      soundtracks = kept.enter_context(
        making.soundtracks(
          system,
          {works[n]: requests[n] for n in some},
          [keys[n] for n in some],
          seconds=info.seconds,
          sampling=samplings,
          rows=rows,
          resume=resume,
        )
      )
      if not first:
        say_unused(soundtracks[0].settings.get('not_used', {}))
      if best_of > 1:
        for soundtrack in soundtracks:
          contest.add(soundtrack)
        if first + together < count:
          continue
        soundtracks, some = [contest.winner()], [0]
      for n, soundtrack in zip(some, soundtracks, strict=True):
        path = paths[n]
        try:
          check(soundtrack)
        except sound.UnusableSound as e:
          unusable.append(f'{path}: {e}')
          continue
        _forget_streams(system, soundtrack)
        has_ending = soundtrack.plan is not None
        written_sound = output_lib.write(
          info, path, soundtrack.audio, finish, has_ending=has_ending
        )
        say_output(video, path, written_sound)
        facts = describe(path, video, soundtrack, written_sound, video_sha256)
        facts['seconds_per_part'] = soundtrack.seconds_per_part
        facts['made_from'] = made_from[n]
        facts['output_sha256'] = atomic.sha256(path)
        facts = redoable(facts, system, soundtrack, finish)
        outputs.write_json(outputs.sidecar(path), facts)
        print(path)
        made.append(path)
      kept.close()
  if unusable:
    raise ValueError(f'{" ".join(unusable)} Try another --seed.')
  return sorted(made, key=paths.index)


def check(soundtrack: requests_lib.Soundtrack) -> None:
  """Raises sound.UnusableSound when the sound of a clip is of no use."""
  from v2meow_jax.inference import sound

  plan = soundtrack.plan
  sound.require_usable(
    soundtrack.audio, soundtrack.seconds, plan and plan.end_seconds
  )


def _forget_streams(system: Any, soundtrack: requests_lib.Soundtrack) -> None:
  """Drops what a film has much of and nothing will tell of.

  That is what the stages read, and latents, which no sidecar holds.
  """
  from v2meow_jax.inference.films import recorded_codes

  targets = [stage.spec.target for stage in system.stages]
  told = targets if recorded_codes.recordable(targets) else []
  for name in soundtrack.streams.keys() - {target.name for target in told}:
    del soundtrack.streams[name]


def redoable(
  facts: Mapping[str, Any],
  system: Any,
  soundtrack: requests_lib.Soundtrack,
  finish: finish_options.Finish,
) -> dict[str, Any]:
  """The facts of a take, with all by which it can be made again in part.

  Args:
    facts: Other facts of its sidecar, the digest of the output among them.
    system: System that made it.
    soundtrack: Sound and codes.
    finish: Options for what became of the music before it was written.
  """
  from v2meow_jax.inference.films import recorded_codes

  facts = {**facts, 'finish_options': finish_options.record(finish)}
  facts['sound_sha256'] = recorded_codes.sound_sha256(soundtrack.audio)
  targets = [stage.spec.target for stage in system.stages]
  if recorded_codes.recordable(targets):
    codes = recorded_codes.up_to_end(
      targets, soundtrack.streams, soundtrack.seconds
    )
    facts['codes'] = {n: recorded_codes.pack(c) for n, c in codes.items()}
  facts['redo_sha256'] = recorded_codes.facts_sha256(facts)
  return facts


def samplings(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Fields of `options.Sampling`, once or for each temperature.

  Args:
    fields: Values of `SAMPLING` and others; 'temperature' has a list or None.
  """
  common = {name: fields.get(name) for name in SAMPLING}
  return [
    {**common, 'temperature': temperature}
    for temperature in fields.get('temperature') or [None]
  ]


def say_unused(reasons: Mapping[str, str]) -> None:
  """Says what of a request was left out, as it says nothing."""
  for name, reason in reasons.items():
    _say(f'{_SAID.get(name, "--" + name)} is not used: {reason}.')


def say_notes(notes: Mapping[str, str]) -> None:
  """Says what is odd about parts of a request, as `requests.notes` has it."""
  for name, note in notes.items():
    _say(f'--{name} {note}; it is followed all the same.')


def _is_made(path: pathlib.Path, key: str) -> bool:
  """Whether an output is there, whole, and made from what a key stands for.

  Raises:
    ValueError: Stretches of it were made again, which would be lost.
  """
  try:
    content = json.loads(outputs.sidecar(path).read_bytes())
    digest = atomic.sha256(path)
    facts = outputs.of_file(content, digest)
    is_whole = facts['output_sha256'] == digest
    made_from, redone = facts['made_from'], facts.get('redone')
  except (OSError, ValueError, KeyError, TypeError):
    return False
  if is_whole and redone:
    raise ValueError(
      f'{path} has stretches that were made again (--redo), and is whole; leave'
      ' --resume out to make it anew without them.'
    )
  return is_whole and made_from == key


def written_paths(
  out: str | pathlib.Path, takes: int = 1
) -> list[pathlib.Path]:
  """Outputs and sidecars of so many takes."""
  paths = _take_paths(paths_lib.path(out), takes)
  return [p for take in paths for p in (take, outputs.sidecar(take))]


def _take_paths(out: pathlib.Path, takes: int) -> list[pathlib.Path]:
  """OUT, or OUT_1, OUT_2 ... when there are several takes."""
  if takes == 1:
    return [out]
  return [out.with_stem(f'{out.stem}_{n}') for n in range(1, takes + 1)]


def check_video(video: str, out: pathlib.Path, takes: int) -> probe.MediaInfo:
  """Refuses what cannot be read, or what OUT cannot hold, before the work.

  Returns:
    The description of the video, which spares others a scan.
  """
  info = probe.probe_video(video)
  if out.suffix.lower() in containers.SUFFIXES:
    full_disk.check(out, takes * remux.check(info, out))
  return info


def say_output(
  video: str, path: pathlib.Path, output: output_lib.Output
) -> None:
  """Says what of a film could not be kept, and what of a finish not done."""
  film, finish = output.film, output.finish or {}
  if film and film.reason:
    _say(
      f'the picture of {video} was encoded again, as {film.picture}:'
      f' {film.reason}.'
    )
  if film and film.left_out:
    _say(f'{path} leaves out of {video}: {"; ".join(film.left_out)}.')
  if 'speech' in finish:
    from v2meow_jax.inference.finish import speech

    found = speech.sentence(finish['speech'])
    _say(f'--duck found {found} in the sound of {video}.')
  for name, reason in finish.get('not_used', {}).items():
    _say(f'--{name} is not used: {reason}.')
  if 'loudness_missed' in finish:
    _say(
      f'{path} is not of the loudness that was asked for:'
      f' {finish["loudness_missed"]}.'
    )


def _say(line: str) -> None:
  print(f'v2meow: {line}', file=sys.stderr)


def describe(
  path: pathlib.Path,
  video: str,
  soundtrack: requests_lib.Soundtrack,
  output: output_lib.Output,
  video_sha256: str | None = None,
) -> dict[str, Any]:
  """What the sidecar of a take says of how it was made.

  Args:
    path: Path of the take.
    video: Path of the video.
    soundtrack: Sound and settings.
    output: Report on what was written.
    video_sha256: Digest of the video; None: it is computed.
  """
  video_sha256 = video_sha256 or atomic.sha256(video)
  notes = requests_lib.notes(soundtrack.plan, video_sha256)
  return {
    'video': str(video),
    'video_sha256': video_sha256,
    'output': path.name,
    **output.describe(),
    'version': v2meow_jax.__version__,
    **soundtrack.settings,
    **({'notes': notes} if notes else {}),
  }
