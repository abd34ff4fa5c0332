"""A rate at which pictures are read, and how many at once, are numbers above 0."""

import pytest

from v2meow_jax import specs
from v2meow_jax.extractors import squares


def check(rate_hz: float, batch_size: int) -> None:
  stream = specs.FeatureSpec(name='patches', dim=4, rate_hz=rate_hz)
  squares.check_rate(stream, batch_size)


@pytest.mark.parametrize(
  'rate_hz, batch_size',
  [(0.0, 1), (float('inf'), 1), (float('nan'), 1), (1.0, 0)],
)
def test_no_rate_and_no_batch_are_refused_by_name(rate_hz, batch_size):
  check(0.5, 1)  # Such are read.
  with pytest.raises(ValueError, match="stream 'patches' has rate_hz="):
    check(rate_hz, batch_size)
