"""Gives the packets of a track one clock, where that of the file starts again.

Transport streams, and files that were joined end to end, count from the start
once more in their middle, or leap ahead. There a packet is due when what came
before it has ended, as in FFmpeg's own tools.
"""

from collections.abc import Iterator

import av

_LEAPING_FORMATS = ('mpegts', 'mpeg')
# Formats that say when a picture is shown, not when it is decoded.
_SHOWN_FORMATS = ('matroska,webm',)
_BARE_FORMATS = ('h264', 'hevc')
_MAX_LEAP_SECONDS = 10.0
_MAX_STEP_BACK_SECONDS = 0.1


def leaps(container: av.container.InputContainer) -> bool:
  """Whether the clock of a file may leap, so that its ends say nothing."""
  return container.format.name in _LEAPING_FORMATS


def has_none(container: av.container.InputContainer) -> bool:
  """Whether the file has no clock at all: pictures without a container."""
  return container.format.name in _BARE_FORMATS


def corrected(
  container: av.container.InputContainer, packets: Iterator[av.Packet]
) -> Iterator[av.Packet]:
  """Moves the times of packets so that each track of a file has one clock.

  Args:
    container: File that the packets are of.
    packets: Packets of some of its tracks.

  Yields:
    The same packets.
  """
  tracks: dict[int, _Track] = {}
  for packet in packets:
    index = packet.stream.index
    if index not in tracks:
      tracks[index] = _Track(container, packet)
    tracks[index].correct(packet)
    yield packet


class _Track:
  """What came before in a track, in its ticks."""

  def __init__(self, container: av.container.InputContainer, first: av.Packet):
    """Starts with the clock of the file."""
    self._has_none = has_none(container)
    self._is_shown = container.format.name in _SHOWN_FORMATS
    self._back = round(_MAX_STEP_BACK_SECONDS / first.time_base)
    self._ahead = round(_MAX_LEAP_SECONDS / first.time_base)
    self._leaps = leaps(container)
    # In the clock of the file: time of the last packet, or of the last picture
    # shown in formats that say no more.
    self._last: int | None = None
    self._step = 0
    self._delay = 0  # Longest time from decoding a picture to showing it.
    self._end = 0  # Of what is shown, corrected.
    self._offset = 0

  def correct(self, packet: av.Packet) -> None:
    """Moves the times of the next packet."""
    self._step = packet.duration or self._step
    if self._has_none and packet.pts is None:
      packet.dts = self._end
      if not packet.stream.codec_context.has_b_frames:
        packet.pts = self._end
    self._agree(packet)
    shown = packet.dts if packet.pts is None else packet.pts
    if shown is None:
      return
    if self._starts_again(packet, shown):
      self._offset = self._end - shown
    packet.pts = None if packet.pts is None else packet.pts + self._offset
    packet.dts = None if packet.dts is None else packet.dts + self._offset
    self._end = max(self._end, shown + self._offset + self._step)

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

  def _starts_again(self, packet: av.Packet, shown: int) -> bool:
    """Whether the clock of the file is another than that of the last packet."""
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
