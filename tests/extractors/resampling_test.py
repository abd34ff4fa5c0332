"""Squares equal Pillow's resizing and a crop of the middle, to the bit."""

import numpy as np
import pytest

from v2meow_jax.extractors import resampling

Image = pytest.importorskip('PIL.Image')
SIZE = 32


@pytest.mark.parametrize('method', ['bicubic', 'bilinear'])
@pytest.mark.parametrize(
  ('height', 'width'),
  [(32, 32), (64, 48), (33, 100), (20, 27), (135, 240), (7, 9)],
)
def test_squares_are_those_of_pillow(method, height, width):
  rng = np.random.default_rng(width)
  frames = rng.integers(0, 256, (2, height, width, 3), np.uint8)
  found = resampling.center_square(frames, SIZE, method)
  shape = [SIZE * side // min(height, width) for side in (height, width)]
  top, left = ((side - SIZE) // 2 for side in shape)
  for frame, square in zip(frames, found, strict=True):
    filter_ = Image.Resampling[method.upper()]
    whole = np.asarray(Image.fromarray(frame).resize(shape[::-1], filter_))
    wanted = whole[top : top + SIZE, left : left + SIZE]
    np.testing.assert_array_equal(square, wanted)
