"""What a film has besides pictures and the sound that is replaced.

Tracks in other languages, subtitles, covers, fonts, chapters and tags go along
into the new file where it can hold them; the rest is listed.
"""

# PyAV's stubs make optional what a stream that is open always has.
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false

from collections import Counter
from collections.abc import Iterable
import dataclasses
import fractions
import os

import av

from v2meow_jax.files import copies
from v2meow_jax.files import probe
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import languages
from v2meow_jax.files.films import side_data
from v2meow_jax.files.films import subtitles

# Tags about the old file, not about the film.
_FILE_TAGS = frozenset(
  (
    *(
      'major_brand',
      'minor_version',
      'compatible_brands',
      'encoder',
      'duration',
    ),
    *('handler_name', 'vendor_id', 'encoded_by'),
    *('hasvideo', 'hasaudio', 'hasmetadata', 'haskeyframes', 'totalduration'),
    *('metadatacreator', 'canseektoend', 'isvbr'),
  )
)
# Headers without a time count from here.
_NO_TIMES = ('1970-01-01T00:00:00', '1904-01-01T00:00:00')
_QUICKTIME = 'com.apple.quicktime.'
# Names that writers know for QuickTime's own.
_COMMON_NAMES = {'location.iso6709': 'location', 'creationdate': 'date'}
_KINDS = {
  'audio': 'sound track',
  'video': 'other picture',
  'subtitle': 'subtitle track',
  'attachment': 'attachment',
  'data': 'data track',
}
# In an mp4, boxes of 32 bytes and version 1; in Matroska, types of additions.
_DOLBY_VISION = (
  *(b'\0\0\0\x20dvcC\x01', b'\0\0\0\x20dvvC\x01'),
  *(b'\x41\xe7\x84dvcC', b'\x41\xe7\x84dvvC'),
)
_HEADER_BYTES = 1 << 22
_UNKNOWN = (None, '', 'und')
# Comments, dubs and tracks for those who see or hear less.
_BESIDE = (
  av.stream.Disposition.comment
  | av.stream.Disposition.dub
  | av.stream.Disposition.lyrics
  | av.stream.Disposition.karaoke
  | av.stream.Disposition.hearing_impaired
  | av.stream.Disposition.visual_impaired
  | av.stream.Disposition.clean_effects
)


def tags(container: av.container.Container) -> dict[str, str]:
  """Tags about the film: title, time, place and the like, in lower case."""
  named = {}
  for name, value in container.metadata.items():
    name = name.lower()
    if name.startswith(_QUICKTIME):
      name = name.removeprefix(_QUICKTIME)
      name = _COMMON_NAMES.get(name, name)
    if name not in _FILE_TAGS and not value.startswith(_NO_TIMES):
      named.setdefault(name, value)
  # FFmpeg gives a tag with a language a second time, without.
  return {n: v for n, v in named.items() if n.rpartition('-')[0] not in named}


def tracks(container: av.container.InputContainer) -> list[av.stream.Stream]:
  """All tracks but the film and its sound."""
  film, sound = probe.video_stream(container), probe.audio_stream(container)
  others = [s for s in container.streams if s not in (film, sound)]
  if container.chapters():
    # In QuickTime, chapters are a track as well.
    others = [s for s in others if s.type != 'data' or s.name != 'bin_data']
  return others


def carried_tracks(
  container: av.container.InputContainer,
) -> list[av.stream.Stream]:
  """Tracks that stay beside new sound.

  Sound in the language of the film, or in none, is part of what is replaced,
  unless it is marked as a comment, a dub, a description or the like.
  """
  sound = probe.audio_stream(container)
  spoken = sound and sound.language
  return [
    track
    for track in tracks(container)
    if track.type in ('subtitle', 'attachment')
    or track.disposition & av.stream.Disposition.attached_pic
    or (track.type == 'audio' and _is_beside(track, spoken))
  ]


def _is_beside(track: av.stream.Stream, spoken: str | None) -> bool:
  """Whether sound is heard beside the film's own, not in its place."""
  is_other = track.language not in (*_UNKNOWN, spoken)
  return is_other or bool(track.disposition & _BESIDE)


def add_tags(
  source: av.container.InputContainer,
  out: av.container.OutputContainer,
  start: fractions.Fraction,
) -> None:
  """Copies tags and chapters.

  Args:
    source: Film.
    out: New file.
    start: Time of the film's first picture; it is 0 in the new file.
  """
  out.metadata.update(tags(source))
  chapters = []
  for chapter in source.chapters():
    shift = round(start / chapter['time_base'])
    times = {n: max(0, chapter[n] - shift) for n in ('start', 'end')}
    chapters.append({**chapter, **times})
  if chapters:
    out.set_chapters(chapters)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Carried:
  """The copy of a track.

  Attributes:
    stream: Track of the new file.
    text_codec: Codec that its subtitles are converted to; None: they are
      copied.
  """

  stream: av.stream.Stream
  text_codec: str | None = None

  def packet(
    self, packet: av.Packet, original: av.stream.Stream
  ) -> av.Packet | None:
    """The packet to write for one of the original; None: there is none."""
    if self.text_codec is None:
      return packet
    return subtitles.converted(packet, original, self.text_codec)


def add_track(
  out: av.container.OutputContainer,
  track: av.stream.Stream,
  container: containers.Container,
) -> Carried | None:
  """Adds a copy of a track; None where the container does not hold its kind."""
  text_codec = None
  try:
    copied = out.add_stream_from_template(track, opaque=True)
  except (ValueError, av.error.FFmpegError):
    if track.type != 'subtitle':
      return None
    text_codec = container.text_codec
    copied = subtitles.add_track(out, track, text_codec)
    if copied is None:
      return None
  describe(track, copied, container)
  # The new sound is the one to play.
  copied.disposition = track.disposition & ~av.stream.Disposition.default
  return Carried(stream=copied, text_codec=text_codec)


def describe(
  track: av.stream.Stream,
  copied: av.stream.Stream,
  container: containers.Container,
) -> None:
  """Copies language, title and the like of a track into a container."""
  copied.metadata.update(
    {
      name: value
      for name, value in track.metadata.items()
      if name.lower() not in _FILE_TAGS
    }
  )
  if track.language not in _UNKNOWN:
    copied.metadata['language'] = languages.name_in(container, track.language)


def left_out(
  source_path: str | os.PathLike,
  out_path: str | os.PathLike,
  carried: Iterable[int],
  limits: probe.Limits,
) -> tuple[str, ...]:
  """Lists what the new file does not have, read from both.

  Args:
    source_path: Film.
    out_path: New file.
    carried: Indices of the tracks that were copied.
    limits: Limits beyond which a file is refused.

  Returns:
    Phrases such as '2 subtitle tracks (subrip eng, subrip fra)'.
  """
  carried = set(carried)
  with (
    probe.open_input(source_path, limits) as source,
    probe.open_input(out_path, limits) as out,
  ):
    left: dict[str, list[str]] = {}
    for track in tracks(source):
      if track.index not in carried:
        left.setdefault(_KINDS.get(track.type, 'track'), []).append(
          ' '.join(filter(None, (_codec(track), _language(track))))
        )
    phrases = [_phrase(kind, names) for kind, names in left.items()]
    num_chapters = len(source.chapters()) - len(out.chapters())
    if num_chapters > 0:
      phrases.append(_phrase('chapter', [''] * num_chapters))
    lost = [name for name in tags(source) if name not in tags(out)]
    if lost:
      phrases.append(f'tags ({", ".join(sorted(lost))})')
    kept = [track for track in tracks(source) if track.index in carried]
    phrases += _lost_languages(kept, out.streams)
  said = side_data.stated(source_path, limits).keys() - side_data.stated(
    out_path, limits
  )
  if said:
    phrases.append(f'what the pictures say ({", ".join(sorted(said))})')
  if _has_dolby_vision(source_path) and not _has_dolby_vision(out_path):
    phrases.append('Dolby Vision (the HDR beneath it stays)')
  return tuple(phrases)


def _lost_languages(
  originals: Iterable[av.stream.Stream], copied: Iterable[av.stream.Stream]
) -> list[str]:
  """A phrase for the languages of tracks that their copies do not state."""
  kept = {languages.common_name(_language(track)) for track in copied}
  named = {_language(track) for track in originals} - {''}
  lost = [name for name in named if languages.common_name(name) not in kept]
  return [f'names of languages ({", ".join(sorted(lost))})'] if lost else []


def _has_dolby_vision(path: str | os.PathLike) -> bool:
  """Whether a file, at its start or end, describes Dolby Vision."""
  with copies.held(path) as file, open(file, 'rb') as opened:
    head = opened.read(_HEADER_BYTES)
    opened.seek(max(0, os.path.getsize(file) - _HEADER_BYTES))
    tail = opened.read()
  return any(mark in part for part in (head, tail) for mark in _DOLBY_VISION)


def _codec(track: av.stream.Stream) -> str:
  return getattr(track, 'name', None) or ''


def _language(track: av.stream.Stream) -> str:
  return '' if track.language in _UNKNOWN else track.language


def _phrase(kind: str, names: list[str]) -> str:
  """A count of things of a kind, and their names."""
  counted = Counter(name for name in names if name)
  listed = ', '.join(n if k == 1 else f'{k} {n}' for n, k in counted.items())
  plural = '' if len(names) == 1 else 's'
  return f'{len(names)} {kind}{plural}' + (f' ({listed})' if listed else '')
