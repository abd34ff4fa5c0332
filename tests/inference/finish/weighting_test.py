"""Samples are weighed as by pyloudnorm's filters, however they are cut."""

import numpy as np
import pyloudnorm
import pytest
from scipy import signal

from v2meow_jax.inference.finish import weighting

_FILTERS = (
  (3.99984385397, 0.7071752369554193, 1681.9744509555319, 'high_shelf_DeMan'),
  (0.0, 0.5003270373253953, 38.13547087613982, 'high_pass_DeMan'),
)


@pytest.mark.parametrize('rate_hz', [8000, 16_000, 44_100, 48_000, 192_000])
def test_pieces_are_weighed_as_by_recursive_filters(rate_hz):
  rng = np.random.default_rng(0)
  sound = rng.standard_normal((2, 2 * rate_hz)).astype(np.float32)
  expected = sound.astype(np.float64)
  for *numbers, kind in _FILTERS:
    one = pyloudnorm.IIRfilter(*numbers, rate_hz, kind)
    expected = signal.lfilter(one.b, one.a, expected)
  weigh = weighting.Weighting(rate_hz, 2)
  cuts = [0, 1, 8, rate_hz // 3, rate_hz, 2 * rate_hz]
  pieces = [weigh(sound[:, a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
  np.testing.assert_allclose(np.concatenate(pieces, 1), expected, atol=1e-10)
