"""Gives the packets of a file one clock, where its own starts again.

Transport streams, and files that were joined end to end, count from the start
once more in their middle, or leap ahead. There a picture is due when the one
before it has ended, as in FFmpeg's own tools. Sound goes with the pictures of
its part, or it would drift where sounds are longer or shorter than pictures.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import fractions

import av

_LEAPING_FORMATS = ('mpegts', 'mpeg')
# Formats that say when a picture is shown, not when it is decoded.
_SHOWN_FORMATS = ('matroska,webm',)
_BARE_FORMATS = ('h264', 'hevc')
_MAX_LEAP_SECONDS = 10.0
_MAX_STEP_BACK_SECONDS = 0.1


@dataclasses.dataclass
class Extent:
  """The time that the packets of one stream cover, in ticks.

  Films have hundreds of thousands: fractions would take longer than reading.

  Attributes:
    time_base: Seconds of a tick.
    first: Tick at which the first one in time begins; None: there is none yet.
    final: Tick at which the last one in time begins.
    stop: Tick at which it ends.
    num_packets: Number of packets.
    num_bytes: Size of the packets, in bytes.
  """

  time_base: fractions.Fraction
  first: int | None = None
  final: int = 0
  stop: int | fractions.Fraction = 0
  num_packets: int = 0
  num_bytes: int = 0

  def add(self, packet: av.Packet) -> None:
    """Counts a packet."""
    self.num_bytes += packet.size
    begin = packet.dts if packet.pts is None else packet.pts
    if begin is None or packet.is_discard:
      return
    self.first = begin if self.first is None else min(self.first, begin)
    if not self.num_packets or begin >= self.final:
      # Others than the last one may have the length of a step in decoding.
      self.final = begin
      self.stop = begin + _duration(packet)
    self.num_packets += 1

  @property
  def start(self) -> fractions.Fraction:
    """Start of the first packet, in seconds."""
    return (self.first or 0) * self.time_base

  @property
  def last(self) -> fractions.Fraction:
    """Start of the last packet, in seconds."""
    return self.final * self.time_base

  @property
  def end(self) -> fractions.Fraction:
    """End of the last packet, in seconds."""
    return self.stop * self.time_base

  @property
  def seconds(self) -> fractions.Fraction:
    """Time from the first start to the last end, in seconds."""
    return self.end - self.start


def _duration(packet: av.Packet) -> int | fractions.Fraction:
  """Ticks that a packet lasts; one frame at the mean rate if unknown."""
  if packet.duration:
    return packet.duration
  rate = getattr(packet.stream, 'average_rate', None)
  return 1 / rate / packet.time_base if rate else 0


def leaps(container: av.container.InputContainer) -> bool:
  """Whether the clock of a file may leap, so that its ends say nothing."""
  return container.format.name in _LEAPING_FORMATS


def has_none(container: av.container.InputContainer) -> bool:
  """Whether the file has no clock at all: pictures without a container."""
  return container.format.name in _BARE_FORMATS


def corrected(
  container: av.container.InputContainer,
  packets: Iterator[av.Packet],
  film: av.stream.Stream | None,
) -> Iterator[av.Packet]:
  """Moves the times of packets so that a file has one clock.

  Args:
    container: File that the packets are of.
    packets: Packets of some of its tracks, those of the film among them.
    film: Track by whose clock the others go; None: each goes by its own.

  Yields:
    The same packets, but for sound that comes before what preceded it is over.
  """
  tracks: dict[int, _Track] = {}
  pictures: _Track | None = None
  # Packets whose part began before its pictures, and whether each is the first.
  held: list[tuple[av.Packet, bool]] = []
  held_from = 0
  for packet in packets:
    index = packet.stream.index
    if index not in tracks:
      tracks[index] = _Track(container, packet, pictures)
    track = tracks[index]
    is_first = track.starts_again(packet)
    if film is not None and index == film.index:
      pictures = track
      if track.place(packet, is_first, None):
        yield packet
      waited = (track.end - held_from) * packet.time_base
      if held and (is_first or waited > _MAX_LEAP_SECONDS):
        yield from _placed(held, tracks, pictures)
        held = []
      continue
    if pictures is not None and pictures.parts > track.parts:
      is_first = is_first or pictures.is_clock_of(packet)
    elif pictures is not None and is_first and not held:
      held_from = pictures.end
    is_early = pictures is not None and pictures.parts == track.parts
    is_waiting = any(other.stream.index == index for other, _ in held)
    if is_waiting or (is_first and is_early):
      held.append((packet, is_first))
    else:
      yield from _placed([(packet, is_first)], tracks, pictures)
  yield from _placed(held, tracks, pictures)


def _placed(
  packets: list[tuple[av.Packet, bool]],
  tracks: Mapping[int, '_Track'],
  pictures: '_Track | None',
) -> Iterator[av.Packet]:
  """Those packets that are due, moved; each with whether it is the first."""
  for packet, is_first in packets:
    if tracks[packet.stream.index].place(packet, is_first, pictures):
      yield packet


class _Track:
  """What came before in a track, in its ticks.

  Attributes:
    parts: Number of times that the clock of the film had started again.
    end: End of what is shown, corrected.
  """

  def __init__(
    self,
    container: av.container.InputContainer,
    first: av.Packet,
    pictures: '_Track | None',
  ):
    """Starts with the clock of the file, or of its part."""
    self._has_none = has_none(container)
    self._is_shown = container.format.name in _SHOWN_FORMATS
    self._time_base = first.time_base
    self._back = round(_MAX_STEP_BACK_SECONDS / first.time_base)
    self._ahead = round(_MAX_LEAP_SECONDS / first.time_base)
    self._leaps = leaps(container)
    # In the clock of the file: time of the last packet, or of the last picture
    # shown in formats that say no more.
    self._last: int | None = None
    self._last_before = 0  # In the clock of the part before.
    self._step = 0
    self._delay = 0  # Longest time from decoding a picture to showing it.
    self.end = 0
    self.parts = 0
    self._offset = 0
    self._is_cut = False  # Whether what comes next may be sound of no use.
    if pictures is not None:
      self._follow(pictures)

  def _follow(self, pictures: '_Track') -> None:
    """Takes the clock that the pictures have now."""
    offset = pictures._offset * pictures._time_base
    self._offset = round(offset / self._time_base)
    self.parts = pictures.parts

  def starts_again(self, packet: av.Packet) -> bool:
    """Whether the clock of the next packet is another than that of the last."""
    self._step = packet.duration or self._step
    if self._has_none and packet.pts is None:
      packet.dts = self.end
      if not packet.stream.codec_context.has_b_frames:
        packet.pts = self.end
    self._agree(packet)
    shown, last = _shown(packet), self._last
    is_again = shown is not None and self._is_again(packet, shown)
    self._last_before = last or 0 if is_again else self._last_before
    return is_again

  def is_clock_of(self, packet: av.Packet) -> bool:
    """Whether the time of another track's packet is of this part, not before."""
    time = float((_shown(packet) or 0) * packet.time_base / self._time_base)
    return abs(time - (self._last or 0)) < abs(time - self._last_before)

  def place(
    self, packet: av.Packet, is_first: bool, pictures: '_Track | None'
  ) -> bool:
    """Moves the times of a packet.

    Args:
      packet: Next packet, as `starts_again` left it.
      is_first: Whether `starts_again` said so.
      pictures: Track of the film, unless this is it.

    Returns:
      Whether the packet is due: not sound that begins before the end of the
      part before.
    """
    shown = _shown(packet)
    if shown is None:
      return True
    if is_first and pictures is not None and pictures.parts > self.parts:
      self._follow(pictures)
      self._is_cut = packet.stream.type == 'audio'
    elif is_first:
      self._offset = self.end - shown
      self.parts += pictures is None
    begin = shown + self._offset
    self._is_cut &= begin + self._step // 2 < self.end
    if self._is_cut:
      return False
    packet.pts = None if packet.pts is None else packet.pts + self._offset
    packet.dts = None if packet.dts is None else packet.dts + self._offset
    self.end = max(self.end, begin + (packet.duration or self._step))
    return True

  def _agree(self, packet: av.Packet) -> None:
    """Puts both times of a packet on one clock.

    Where the clock starts again, FFmpeg may take one of them from each.
    """
    if packet.pts is None or packet.dts is None:
      return
    delay = packet.pts - packet.dts
    if abs(delay) <= self._ahead:
      self._delay = max(self._delay, delay)
    elif self._last is not None and abs(packet.dts - self._last) < self._ahead:
      packet.pts = packet.dts + self._delay
    else:
      packet.dts = packet.pts - self._delay

  def _is_again(self, packet: av.Packet, shown: int) -> bool:
    """Whether a packet is shown by another clock than the last; notes it."""
    last = self._last
    if self._is_shown:
      # No picture is shown before an earlier key picture.
      self._last = shown if last is None else max(last, shown)
      step = 0 if last is None else shown - last
      is_again = packet.is_keyframe and step < -self._back
      self._last = shown if is_again else self._last
      return is_again
    self._last = shown if packet.dts is None else packet.dts
    step = 0 if last is None else self._last - last
    return step < -self._back or (self._leaps and step > self._ahead)


def _shown(packet: av.Packet) -> int | None:
  """Ticks at which a packet is shown, or else decoded."""
  return packet.dts if packet.pts is None else packet.pts
