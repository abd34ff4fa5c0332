"""Makes a stretch of an output again: `generate --redo 12.5-20 --take 2`.

The sound is made again, to the sample, from the codes in its sidecar, or from its
seed where a system writes no codes; and another take of the stretch is put in
between: every sample outside is as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import re
from typing import Any
import zlib

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files import outputs
from v2meow_jax.files import paths
from v2meow_jax.files.films import scratch
from v2meow_jax.files.films import spliced
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import sound
from v2meow_jax.inference import streams as streams_lib
from v2meow_jax.inference import windows as windows_lib
from v2meow_jax.inference.expression import dynamics
from v2meow_jax.inference.expression import harmony
from v2meow_jax.inference.films import recorded_codes
from v2meow_jax.models.sampling import options

SHORTEST_SECONDS = 0.5
MOST_TAKE = 1000
# ours: from one take to the other, at both ends, inside the stretch.
_FADE_SECONDS = 0.25
# Frames before and after the stretch that are decoded with it, whole pieces.
_AROUND_FRAMES = sound.PIECE_FRAMES
_MOST_BYTES = 256 * 2**20
_SPAN = re.compile(r'(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
  """A stretch, and which take of it is wanted.

  Attributes:
    start: Start in the clip, in seconds.
    end: End in the clip, in seconds.
    take: Number of the take, from 2 on; the first is the one of the whole.
  """

  start: float
  end: float
  take: int

  def __post_init__(self):
    if not 0 <= self.start <= self.end - SHORTEST_SECONDS:
      raise ValueError(
        f'the stretch to make again is {self.start:g}-{self.end:g} s; wanted a'
        f' start and a later end, {SHORTEST_SECONDS:g} s apart at least; shorter'
        ' music is made again as a whole, with another --seed.'
      )
    if not 2 <= self.take <= MOST_TAKE:
      raise ValueError(
        f'take is {self.take}; wanted 2 to {MOST_TAKE}: take 1 is the one of the'
        ' whole.'
      )

  def covers(self, other: Span) -> bool:
    """Whether nothing of another stretch lies outside this one."""
    return self.start <= other.start and other.end <= self.end

  def seed(self, seed: int) -> int:
    """Seed of the draws of this take, given that of the whole."""
    return zlib.crc32(f'{seed} take {self.take}'.encode())


def span(text: str, take: int) -> Span:
  """The stretch of a text such as '12.5-20', in seconds."""
  found = _SPAN.fullmatch(text.strip())
  if found is None:
    raise ValueError(
      f'the stretch to make again is {text!r:.80}; wanted its start and end in'
      " seconds, such as '12.5-20'."
    )
  return Span(start=float(found[1]), end=float(found[2]), take=take)


def read_facts(sidecar: pathlib.Path, digest: str | None) -> dict[str, Any]:
  """The sidecar of an output that is to be made again in part.

  Args:
    sidecar: Path of the sidecar.
    digest: Digest of the output; None: it is not there.

  Raises:
    ValueError: There is none, or nothing can be made again from it.
  """
  path = paths.path(sidecar)
  if not path.exists():
    output = sidecar.with_suffix('')
    first = output.with_stem(f'{output.stem}_1')
    raise ValueError(
      f'{sidecar} is not there, by which a stretch of {output.name} is made again;'
      ' generate the whole first'
      + (f', or name a take, such as {first}.' if first.exists() else '.')
    )
  try:
    if paths.size(path) > _MOST_BYTES:
      raise ValueError(f'it is larger than {_MOST_BYTES} bytes')
    facts = outputs.of_file(json.loads(path.read_bytes()), digest)
    if 'redo_sha256' not in facts:
      raise ValueError('it does not say all that acts on the sound')
    if facts.get('redo_sha256') != recorded_codes.facts_sha256(facts):
      raise ValueError('it was changed since it was written')
  except (OSError, TypeError, ValueError, RecursionError) as e:
    raise ValueError(
      f'{sidecar}: a stretch cannot be made again from it ({e}); generate the'
      ' whole first, with this version.'
    ) from e
  return facts


def request(
  facts: Mapping[str, Any],
  video: requests_lib.VideoLike,
  style_audio: media.Audio | None,
) -> requests_lib.Request:
  """The request that an output was made for.

  Args:
    facts: Content of its sidecar.
    video: Video that it was made for.
    style_audio: Music that it was given as a style, or None.

  Raises:
    ValueError: The style is another one, or the sidecar is damaged.
  """
  try:
    plan = facts['plan'] and plan_lib.from_content(facts['plan'])
    made = requests_lib.Request(
      video=video,
      prompt=facts['prompt'],
      negative=facts['negative'],
      seed=facts['seed'],
      style_audio=style_audio,
      plan=plan,
    )
  except (KeyError, TypeError) as e:
    raise ValueError(f'the sidecar is damaged ({e!r}).') from e
  wanted = facts.get('style_audio_sha256')
  if made.describe()['style_audio_sha256'] != wanted:
    how = 'without --style-audio; leave it out'
    if wanted:
      how = 'with another --style-audio; give that one'
      if style_audio is None:
        how = 'with a --style-audio; give it again'
    raise ValueError(f'the output was made {how}.')
  return made


def settings(system: Any, facts: Mapping[str, Any]) -> tuple[list, list]:
  """Samplings and windows of the stages, as an output was made with.

  Raises:
    ValueError: The output was made with another system.
  """
  names = [stage.spec.name for stage in system.stages]
  digest = facts.get('system_sha256')
  if digest != system.digest:
    raise ValueError(
      f'the output was made with the system {facts.get("system")!r:.80}'
      f' ({str(digest):.8}), and this is {system.config["name"]!r}'
      f' ({system.digest:.8}); give the --system that it was made with.'
    )
  try:
    return (
      [options.Sampling(**facts['sampling'][name]) for name in names],
      [
        dataclasses.replace(window, rows=facts['rows'][name])
        for name, window in zip(names, system.windows, strict=True)
      ],
    )
  except (KeyError, TypeError) as e:
    raise ValueError(f'the sidecar is damaged ({e!r}).') from e


def are_recorded(facts: Mapping[str, Any]) -> bool:
  """Whether a sidecar holds what its system wrote; else it is sampled again."""
  return 'codes' in facts


def sampled_seconds(facts: Mapping[str, Any], seconds: float) -> float:
  """Seconds that each stage writes again before another stretch, for progress.

  Args:
    facts: Content of the sidecar.
    seconds: Length of the music.

  Raises:
    ValueError: The sidecar is damaged.
  """
  if are_recorded(facts):
    return 0.0
  try:
    return seconds + sum(e['end'] - e['start'] for e in facts.get('redone', ()))
  except (KeyError, TypeError) as e:
    raise ValueError(f'the sidecar is damaged ({e!r}).') from e


class Redoing:
  """An output of which a stretch is made again.

  Attributes:
    audio: Music of the whole as it was made first.
    musics: Music of the whole, first and after each stretch.
    parts: Stretches that were made again.
    codes: Codes of the last music, by stream.
    redone: Facts on the stretches, for a sidecar.
  """

  def __init__(
    self,
    system: Any,
    facts: Mapping[str, Any],
    read: streams_lib.ReadRequest,
    folder: pathlib.Path,
    sample: Callable[[pipeline.ClipStreams], None],
    part: Span,
  ):
    """Makes the sound that is there again.

    The stretches that were made last go, where the new one covers them: a take is
    what it is without those that were tried before.

    Args:
      system: System that the output was made with.
      facts: Content of the sidecar.
      read: Request of the output, with what was read of the video.
      folder: Folder on whose disk latents and samples lie.
      sample: Function that runs all stages on a clip, with the options and the
        windows that the output was made with.
      part: Stretch and take that are wanted.

    Raises:
      ValueError: It does not become the sound that it was.
    """
    self._system = system
    self._read = read
    self._sample = sample
    self._part = part
    self._stages = [stage.spec.target for stage in system.stages]
    self._parts = sound.levels(system.config['sound'], self._stages)
    if are_recorded(facts):
      self.codes = _unpacked(facts['codes'], self._stages)
    else:
      self.codes = self._sampled(read.clip)
    seconds = read.clip.seconds
    self._make = scratch.room(folder, seconds)
    self.audio, _ = sound.decode(
      system.codec, self._heard(), self._parts, seconds, self._make
    )
    self._divisor = sound.bring_to_range(self.audio)
    self._scale = lambda first, samples: samples
    if read.plan is not None:
      self._divisor_of_plan = dynamics.divisor(self.audio, read.plan)
      self._scale = dynamics.scaling(self.audio, read.plan)
      dynamics.follow(self.audio, read.plan)
    else:
      self._divisor_of_plan = 1.0
    self.musics: list[media.Sound] = [self.audio]
    self.parts: list[Span] = []
    try:
      self.redone = list(facts.get('redone', ()))
      spans = [
        Span(**{name: entry[name] for name in ('start', 'end', 'take')})
        for entry in self.redone
      ]
      kept = len(spans)
      while kept and part.covers(spans[kept - 1]):
        kept -= 1
      codes = self.codes
      for n, (span_, entry) in enumerate(zip(spans, self.redone, strict=True)):
        if n == kept:
          codes = self.codes
        if are_recorded(facts):
          self._put(span_, self._spliced(span_, entry['codes']))
        else:
          self._put(span_, self._another(span_))
    except (KeyError, TypeError) as e:
      raise ValueError(f'the sidecar is damaged ({e!r}).') from e
    if recorded_codes.sound_sha256(self.musics[-1]) != facts.get(
      'sound_sha256'
    ):
      raise ValueError(
        'the codes or the seed in the sidecar do not give the sound that it tells'
        ' of, as on another kind of processor or with another version of a'
        ' library; make the stretch where the whole was made, or generate the'
        ' whole again.'
      )
    if kept < len(spans):
      self.codes = codes
      del self.redone[kept:], self.parts[kept:], self.musics[kept + 1 :]

  def _sampled(self, clip: pipeline.ClipStreams) -> dict[str, np.ndarray]:
    """What the stages write of a clip, by stream, up to its end."""
    own = dataclasses.replace(clip, streams=dict(clip.streams))
    self._sample(own)
    return recorded_codes.up_to_end(self._stages, own.streams, clip.seconds)

  def _another(self, part: Span) -> dict[str, np.ndarray]:
    """What the stages write with another take of a stretch."""
    clip = self._read.clip
    remade = windows_lib.Remade(
      start=part.start, end=part.end, codes=self.codes
    )
    return self._sampled(
      dataclasses.replace(
        clip, seed=part.seed(clip.seed), returns=(), remade=remade
      )
    )

  def _heard(self) -> Mapping[str, np.ndarray]:
    """What is decoded: the streams, in the key of the plan."""
    return harmony.in_key(
      self.codes, self._system.codec, self._read.plan, self._make
    )

  def _spliced(
    self, part: Span, packed: Mapping[str, Any]
  ) -> dict[str, np.ndarray]:
    """The codes with those of a stretch."""
    spliced = {}
    for target in self._stages:
      codes = self.codes[target.name].copy()
      first, stop = _frames(part, target.rate_hz, len(codes))
      codes[first:stop] = recorded_codes.unpack(packed[target.name])
      spliced[target.name] = codes
    return spliced

  def redo(self) -> None:
    """Makes another take of the stretch, and puts it into the sound.

    Raises:
      ValueError: The stretch is not within the clip.
    """
    clip, part = self._read.clip, self._part
    if part.end > clip.seconds + 1e-6:
      raise ValueError(
        f'the stretch to make again ends at {part.end:g} s of the music, which'
        f' has {clip.seconds:g} s.'
      )
    codes = self._another(part)
    self._put(part, codes)
    entry = dataclasses.asdict(part)
    if recorded_codes.recordable(self._stages):
      entry['codes'] = packed = {}
      for target in self._stages:
        some = codes[target.name]
        first, stop = _frames(part, target.rate_hz, len(some))
        packed[target.name] = recorded_codes.pack(some[first:stop])
    self.redone.append(entry)

  def _put(self, part: Span, codes: dict[str, np.ndarray]) -> None:
    """Puts a stretch of other codes into the sound, with fades inside it."""
    self.codes = codes
    rate_hz = self.audio.rate_hz
    hop = self._system.codec.hop_samples
    first = round(part.start * rate_hz)
    stop = min(round(part.end * rate_hz), len(self.audio.samples))
    # Pieces begin where those of the whole do.
    low = max(0, first // hop // _AROUND_FRAMES - 1) * _AROUND_FRAMES
    high = -(-stop // hop) + _AROUND_FRAMES
    heard = self._heard()
    some = np.concatenate(
      [heard[s.name][low:high] for s in self._parts], axis=-1
    )
    pieces = self._system.codec.decode_in_pieces(some[None], sound.PIECE_FRAMES)
    samples = np.concatenate([piece[0] for piece in pieces])
    samples = samples[first - low * hop : stop - low * hop]
    stop = first + len(samples)
    samples = self._scale(first, samples / self._divisor)
    samples = samples / self._divisor_of_plan
    fade = min(round(_FADE_SECONDS * rate_hz), len(samples) // 4)
    rise = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade)
    new = np.ones(len(samples))
    new[:fade], new[-fade:] = rise, rise[::-1]
    # Takes have nothing to do with one another: their powers add up.
    old = np.sqrt(1 - new**2) * _stretch(self.musics[-1], first, len(new))
    mixed = np.clip(old + new * samples, -1, 1).astype(np.float32)
    self.musics.append(spliced.Patched(self.musics[-1], first, mixed))
    self.parts.append(part)


def _stretch(music: media.Sound, first: int, num: int) -> np.ndarray:
  """Some samples of a music, float32[num]."""
  place, found = 0, []
  for (piece,) in music.pieces():
    found.append(piece[max(0, first - place) : max(0, first + num - place)])
    place += len(piece)
  return np.concatenate(found)


def _frames(part: Span, rate_hz: float, num_frames: int) -> tuple[int, int]:
  remade = windows_lib.Remade(start=part.start, end=part.end, codes={})
  return remade.frames(rate_hz, num_frames)


def _unpacked(packed: Any, targets: Sequence[Any]) -> dict[str, np.ndarray]:
  try:
    return {t.name: recorded_codes.unpack(packed[t.name]) for t in targets}
  except (KeyError, TypeError) as e:
    raise ValueError(f'the sidecar is damaged ({e!r}).') from e
