"""Cuts long music into windows for codecs that pad both ends.

No window reaches beyond the music, so that padding stays at its ends. All have
one length, so that one compilation serves any length.
"""

from collections.abc import Iterator


def windows(
  num_frames: int, piece_frames: int, before: int, after: int
) -> Iterator[tuple[slice, slice, slice]]:
  """Yields windows that overlap by the context of a frame.

  >>> for window, piece, inside in windows(10, 4, 2, 1):
  ...   print(window.start, window.stop, piece.start, piece.stop, inside.start)
  0 7 0 4 0
  2 9 4 8 2
  3 10 8 10 5

  Args:
    num_frames: Number of frames of the music.
    piece_frames: Number of frames that one window contributes.
    before: Number of frames that a frame needs before itself.
    after: Number of frames that a frame needs after itself.

  Yields:
    Slices: the window, the piece it contributes, and the piece in the window.

  Raises:
    ValueError: `piece_frames` is less than 1.
  """
  if piece_frames < 1:
    raise ValueError(f'piece_frames is {piece_frames}; wanted at least 1.')
  length = min(before + piece_frames + after, num_frames)
  for start in range(0, num_frames, piece_frames):
    stop = min(start + piece_frames, num_frames)
    first = min(max(0, start - before), num_frames - length)
    yield (
      slice(first, first + length),
      slice(start, stop),
      slice(start - first, stop - first),
    )


def check_whole(num_samples: int, hop_samples: int) -> None:
  """Raises ValueError unless samples are a positive number of frames."""
  if num_samples == 0 or num_samples % hop_samples:
    raise ValueError(
      f'a waveform of {num_samples} samples is not whole code frames of'
      f' {hop_samples} samples; pad it with zeros, or cut it, first.'
    )


def check_levels(levels: int, num_levels: int) -> None:
  """Raises ValueError unless a codec of `num_levels` has that many levels."""
  if not 1 <= levels <= num_levels:
    raise ValueError(
      f'codes have {levels} levels but the codec has {num_levels}; they come'
      ' from another codec.'
    )
