"""Ctrl-C in a pipeline of Beam is a Ctrl-C, and an error is an error."""

import apache_beam as beam
import pytest

from v2meow_jax.jobs import pipelines

pytestmark = pytest.mark.data


class Raises:
  """Raises an error at an element."""

  def __init__(self, error):
    self.error = error

  def __call__(self, _):
    raise self.error


def run(error):
  with pipelines.opened(()) as pipeline:
    _ = pipeline | beam.Create([1]) | beam.Map(Raises(error))


def test_an_interrupt_in_a_pipeline_is_raised_as_such():
  with pytest.raises(KeyboardInterrupt):
    run(KeyboardInterrupt())


def test_an_error_in_a_pipeline_stays_one():
  with pytest.raises(Exception, match='a planted error'):
    run(ValueError('a planted error'))


def test_nothing_runs_when_the_block_is_left_by_an_error(tmp_path):
  seen = tmp_path / 'seen'
  with pytest.raises(RuntimeError, match='not to be run'):
    with pipelines.opened(()) as pipeline:
      _ = pipeline | beam.Create([str(seen)]) | beam.Map(lambda p: open(p, 'w'))
      raise RuntimeError('not to be run')
  assert not seen.exists()
