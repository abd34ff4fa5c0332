"""Opens Apache Beam pipelines, on this machine unless told otherwise."""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib

import apache_beam as beam
from apache_beam.options import pipeline_options as beam_options
from apache_beam.runners.portability import fn_api_runner


@contextlib.contextmanager
def opened(options: Sequence[str]) -> Iterator[beam.Pipeline]:
  """A pipeline that runs when the block ends.

  Args:
    options: Options of Beam, as on a command line; without a runner, the one of
      this machine.

  Raises:
    KeyboardInterrupt: Ctrl-C, which Beam turns into an error of its own.
  """
  parsed = beam_options.PipelineOptions(list(options))
  # Named, because the default runner first asks the network for a binary.
  chosen = parsed.view_as(beam_options.StandardOptions).runner
  runner = chosen or fn_api_runner.FnApiRunner()
  try:
    with beam.Pipeline(runner=runner, options=parsed) as pipeline:
      yield pipeline
  except RuntimeError as e:
    cause = e
    while cause := cause.__cause__ or cause.__context__:
      if isinstance(cause, KeyboardInterrupt):
        raise KeyboardInterrupt from e
    raise
