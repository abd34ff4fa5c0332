"""`v2meow generate --redo`: an output with another take of a stretch."""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
from typing import Any

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.files import outputs
from v2meow_jax.files import probe
from v2meow_jax.files import read as media_read
from v2meow_jax.files.films import film_part
from v2meow_jax.files.films import scratch
from v2meow_jax.files.films import spliced
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import soundtrack
from v2meow_jax.inference import system as system_lib
from v2meow_jax.inference.films import making
from v2meow_jax.inference.films import recorded_codes
from v2meow_jax.inference.films import redo
from v2meow_jax.inference.finish import options as finish_options
from v2meow_jax.inference.finish import output as output_lib
from v2meow_jax.inference.programs import compile_cache

# ours: short, as both sounds are nearly equal where stretches begin and end.
_FADE_SECONDS = 0.02
# ours: players show lengths that are rounded.
_ROUNDED_SECONDS = 0.1


def write(
  video: str,
  output: str,
  part: redo.Span,
  *,
  style_audio: str | None = None,
  system_dir: str | None = None,
) -> pathlib.Path:
  """Makes a stretch of an output again, in place; all else is as its sidecar says.

  Every sample of the sound outside the stretch is as it was before it is encoded:
  in .wav, .flac and .mkv also in the file.

  Args:
    video: Path of the video.
    output: Path of an output of `soundtrack.write` for it.
    part: Stretch and take.
    style_audio: Path of the music that was its style, if there was any.
    system_dir: Folder of the released system; None: the default.

  Returns:
    The path of the output.

  Raises:
    ValueError: The output is not there as it was made, or was made for another
      video or by another system; or the new sound is of no use. Then it stays as
      it is.
    OSError: A file is missing or cannot be written.
  """
  path = outputs.checked(output, soundtrack.SUFFIXES)
  sidecar = outputs.sidecar(path)
  outputs.check_inputs_survive([path, sidecar], video, style_audio)
  digest = atomic.sha256(path) if path.exists() else None
  facts = redo.read_facts(sidecar, digest)
  if digest is None:
    raise ValueError(
      f'{path} is not there, though its sidecar is; generate the whole again.'
    )
  info = film_part.cut(
    probe.probe_video(video), facts.get('music_from'), facts.get('music_to')
  )
  part = _in_music(part, info)
  video_sha256 = atomic.sha256(video)
  _require_same(facts, 'video_sha256', video, video_sha256)
  _require_same(facts, 'output_sha256', path, digest)
  finish = _finish(facts)
  compile_cache.enable()
  system = system_lib.load(system_dir, facts.get('dtype'), _tensor(facts))
  samplings, windows = redo.settings(system, facts)
  style = None
  if style_audio:
    style = media_read.read_audio(style_audio, rate_hz=system.style_rate_hz)
  request = redo.request(facts, info, style)
  clock = requests_lib.PartClock()
  folder = scratch.folder(path)
  length = redo.sampled_seconds(facts, info.seconds) + part.end - part.start
  with making.shown(system, path.name, length) as on_progress:
    with clock('streams'):
      (read,) = system.read(
        [request],
        on_piece=lambda s: on_progress('streams', s * length / info.seconds),
      )

    def sample(clip: pipeline.ClipStreams) -> None:
      system.sample([clip], samplings, windows, on_progress, clock, folder)

    redoing = redo.Redoing(system, facts, read, folder, sample, part)
    redoing.redo()
    on_progress('codec', length)
  made = requests_lib.Soundtrack(
    audio=_held(redoing.musics[-1], path, read.clip.seconds),
    codes=next(iter(redoing.codes.values())),
    streams=read.clip.streams,
    seconds_per_part=clock.seconds,
    settings={},
    seconds=read.clip.seconds,
    plan=read.plan,
  )
  soundtrack.check(made)
  has_ending = read.plan is not None
  with atomic.replacing(path) as temp:
    whole = pathlib.Path(temp)
    written = _write(info, whole, redoing, finish, has_ending=has_ending)
    changed = soundtrack.describe(path, video, made, written, video_sha256)
    changed |= {
      'seconds_per_part': clock.seconds,
      'made_from': None,  # `--resume` would make the first take of all.
      'output_sha256': atomic.sha256(whole),
      'sound_sha256': recorded_codes.sound_sha256(made.audio),
      'redone': redoing.redone,
    }
    record = facts.get('record')
    if isinstance(record, dict) and isinstance(record.get('attempt'), int):
      # As another try of the batch that made it, it is left as it is.
      changed['record'] = record | {
        'attempt': record['attempt'] + 1,
        'num_bytes': whole.stat().st_size,
        'sha256': changed['output_sha256'],
      }
    # A kill before or after the output is replaced leaves its own facts with it.
    after = {**facts, **changed}
    after['redo_sha256'] = recorded_codes.facts_sha256(after)
    outputs.write_json(sidecar, {**facts, outputs.REPLACED_BY: after})
  outputs.write_json(sidecar, after)
  soundtrack.say_output(video, path, written)
  print(path)
  return path


def _finish(facts: Mapping[str, Any]) -> finish_options.Finish:
  """How the music was finished."""
  try:
    return finish_options.of_record(facts['finish_options'])
  except (KeyError, TypeError) as e:
    raise ValueError(f'the sidecar is damaged ({e!r}).') from e


def _write(
  info: probe.MediaInfo,
  path: pathlib.Path,
  redoing: redo.Redoing,
  finish: finish_options.Finish,
  *,
  has_ending: bool,
) -> output_lib.Output:
  """Finishes the music as it was, and writes what was there but the stretches.

  What a limiter does in a stretch would reach beyond it: sounds are put together
  once they are finished, all with the gains of the first, so that they fit.
  """
  finished = functools.partial(
    output_lib.finished, info, path, finish=finish, has_ending=has_ending
  )
  whole = finished(redoing.audio)
  if whole is None:
    return output_lib.write_sound(info, path, redoing.musics[-1], None)
  offset = info.offset_seconds if isinstance(info, film_part.FilmPart) else 0.0
  rate_hz, others = whole.rate_hz, []
  sound = whole.mastered
  for part, music in zip(redoing.parts, redoing.musics[1:], strict=True):
    other = finished(music, gains_db=whole.gains_db)
    assert other is not None
    others.append(other)
    first = round((part.start + offset) * rate_hz)
    stop = min(round((part.end + offset) * rate_hz), whole.num_samples)
    fade = round(_FADE_SECONDS * rate_hz)
    sound = spliced.Spliced(sound, other.mastered, first, stop, fade)
  joined = whole.joined(sound, others)
  return output_lib.write_sound(info, path, joined, joined)


def _in_music(part: redo.Span, info: probe.MediaInfo) -> redo.Span:
  """A stretch in the time of the music, which may be that of a part of a film.

  Raises:
    ValueError: It is not within the music.
  """
  first = info.offset_seconds if isinstance(info, film_part.FilmPart) else 0.0
  last = first + info.seconds
  if part.start < first:
    raise ValueError(
      f'the stretch to make again begins at {part.start:g} s, and the music at'
      f' {first:g} s; wanted one from {first:g} to {last:g} s.'
    )
  if part.start >= last or part.end > last + _ROUNDED_SECONDS:
    raise ValueError(
      f'the stretch to make again ends at {part.end:g} s, and the music at'
      f' {last:g} s; wanted one from {first:g} to {last:g} s.'
    )
  return dataclasses.replace(
    part, start=part.start - first, end=min(part.end, last) - first
  )


def _held(
  music: media.Sound, path: pathlib.Path, seconds: float
) -> media.Audio:
  """The samples of a music, a film's on the disk of its output."""
  make = scratch.room(scratch.folder(path), seconds)
  audio = media.Audio(samples=make(music.num_samples), rate_hz=music.rate_hz)
  place = 0
  for (piece,) in music.pieces():
    audio.samples[place : place + len(piece)] = piece
    place += len(piece)
  media.release(audio.samples)
  return audio


def _require_same(
  facts: Mapping[str, Any], name: str, path: Any, digest: str
) -> None:
  """Raises ValueError unless the digest of a file is that in a sidecar."""
  if facts.get(name) != digest:
    raise ValueError(
      f'{path} has the sha256 {digest}, and the sidecar of the output has'
      f' {name} {facts.get(name)}: it is another file, or was changed; generate'
      ' the whole again.'
    )


def _tensor(facts: dict[str, Any]) -> int:
  tensor = facts.get('tensor', 1)
  return tensor if isinstance(tensor, int) else 1
