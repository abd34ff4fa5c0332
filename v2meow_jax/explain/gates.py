"""Draws the weights of the patches of a picture on its frames."""

import math

from jaxtyping import Float
from jaxtyping import UInt8
import numpy as np

# Rows and columns of the embedded stream of patches, which is not square.
EMBEDDED = 4, 6
# Colours of a gate of 0 and of the highest of a clip, as in the paper of MuVi.
LOW, HIGH = np.array([20.0, 40.0, 200.0]), np.array([255.0, 225.0, 40.0])
_SHARE = 0.55  # Of the colour in the picture.


def layout(num_patches: int) -> tuple[int, int, bool]:
  """Finds where the patches of a frame lie.

  >>> layout(24), layout(16)
  ((4, 6, True), (4, 4, False))

  Args:
    num_patches: Number of patches of a frame.

  Returns:
    Rows, columns, and whether they cover the whole frame rather than its
    central square, which is what encoders of square pictures see.

  Raises:
    ValueError: No picture is cut into so many.
  """
  if num_patches == math.prod(EMBEDDED):
    return *EMBEDDED, True
  side = math.isqrt(num_patches)
  if side**2 != num_patches:
    raise ValueError(
      f'{num_patches} patches of a picture are no square, and not the'
      f' {EMBEDDED[0]} x {EMBEDDED[1]} of the embedded stream; wanted one of the'
      ' two, to lay them on the frame.'
    )
  return side, side, False


def tinted(
  frame: UInt8[np.ndarray, 'height width 3'],
  heat: Float[np.ndarray, 'patches'],
) -> UInt8[np.ndarray, 'height width 3']:
  """Colours each patch of a frame, from blue to yellow.

  Args:
    frame: RGB frame.
    heat: Gate of each patch as a share of the highest, row by row.

  Returns:
    The frame; what lies in no patch is as it was.

  Raises:
    ValueError: See `layout`.
  """
  rows, columns, is_whole = layout(len(heat))
  height, width = frame.shape[:2]
  tall, wide = (height, width) if is_whole else (min(height, width),) * 2
  across = np.ix_(
    np.arange(tall) * rows // tall, np.arange(wide) * columns // wide
  )
  shown = np.clip(np.reshape(heat, (rows, columns)), 0, 1)[across][..., None]
  top, left = (height - tall) // 2, (width - wide) // 2
  part = slice(top, top + tall), slice(left, left + wide)
  colour = (1 - shown) * LOW + shown * HIGH
  mixed = frame.copy()
  mixed[part] = np.round((1 - _SHARE) * frame[part] + _SHARE * colour)
  return mixed
