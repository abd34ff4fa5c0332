"""Lists the metrics: a function of features, and a row that says what it takes.

A new metric is a file in `metrics/` and a row here.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import functools
import re
from typing import Any
from typing import Literal

import numpy as np

from v2meow_jax.evaluation.listening import analyser
from v2meow_jax.evaluation.listening import detectors
from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import frechet
from v2meow_jax.evaluation.metrics import inception
from v2meow_jax.evaluation.metrics import kld
from v2meow_jax.evaluation.metrics import mcc
from v2meow_jax.evaluation.metrics import retrieval
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.metrics import timing
from v2meow_jax.pretrained import network as network_lib

# Metrics that need no download.
DEFAULT = ('fad', 'mcc', 'beats')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
  """One row of the table.

  Attributes:
    option: Name for `--metrics`, which rows may share.
    name: Name in reports, where the metric could not be computed.
    needs: Arguments of the function. 'set': all rows of each reference and of
      each generated clip. 'pairs': one value of each, in the same order.
      'prompts': one text vector and one value per clip. 'clips': one value per
      generated clip. 'similarities': those of each video with each reference,
      of a system that compares them; no network and no detector.
    function: Function of these arguments, then of the network's `NetworkId`,
      if any, and of `seed`; it returns scores by name.
    better: Better values, as docs/evaluation.md has them.
    output: Output of the networks to use, 'joint' for joint embeddings of music
      and text; None: the metric needs something else.
    networks: Regular expression for the beginning of the networks' names.
    detector: Detector to use; None: the metric needs something else.
    value: Function from the detector's arrays to the value of a clip.
  """

  option: str
  name: str
  needs: Literal['set', 'pairs', 'prompts', 'clips', 'similarities']
  function: Callable[..., dict[str, scores.Score]]
  better: str
  output: network_lib.Output | Literal['joint'] | None = None
  networks: str = ''
  detector: detectors.Detector | None = None
  value: Callable[[feature_cache.Arrays], Any] = dict

  def takes(self, network: network_lib.AudioNetwork) -> bool:
    """Checks whether the metric is computed with a network."""
    if self.output == 'joint':
      fits = isinstance(network, network_lib.JointNetwork)
    else:
      fits = network.output == self.output
    return fits and re.match(self.networks, network.name) is not None

  def sides(
    self,
    reference: Sequence[analyser.ClipFeatures],
    generated: Sequence[analyser.ClipFeatures],
    network: network_lib.AudioNetwork | None,
  ) -> list[Any]:
    """Collects the values of both sides; a mean row of a clip unless a set."""
    both = (reference, generated)
    if self.detector is not None:
      name = self.detector.name
      return [[self.value(clip.arrays[name]) for clip in side] for side in both]
    assert network is not None
    rows = [[clip.rows[network.name] for clip in side] for side in both]
    if self.needs == 'set':
      return rows
    return [np.stack([row.mean(axis=0) for row in side]) for side in rows]


def _frechet(metric: str, **options: Any) -> tuple[Metric, ...]:
  options |= {'option': 'fad', 'needs': 'set', 'better': 'lower'}
  return tuple(
    Metric(
      name=metric + suffix,
      function=functools.partial(function, metric=metric),
      output='embedding',
      **options,
    )
    for suffix, function in (('', frechet.fad), ('_inf', frechet.fad_infinity))
  )


METRICS = (
  # MuVi's tables call it FD with a classifier's embeddings.
  *_frechet('fad', networks=r'(?!panns)'),
  *_frechet('fd', networks='panns'),
  *(
    Metric(
      option='kld',
      name=f'kld_{form}',
      needs='pairs',
      function=functools.partial(kld.kld, form=form),
      better='lower',
      output=form,
    )
    for form in ('softmax', 'sigmoid')
  ),
  # MuVi's CLAP score is the paper's MCC with CLAP.
  *(
    Metric(
      option='mcc',
      name=name,
      needs=needs,
      function=functools.partial(mcc.mean_cosine, metric=name),
      better='higher',
      output='joint',
      networks=networks,
    )
    for name, needs, networks in (
      ('mcc_audio', 'pairs', ''),
      ('mcc_text', 'prompts', ''),
      ('clap_score', 'prompts', 'clap'),
    )
  ),
  Metric(
    option='is',
    name='is',
    needs='clips',
    function=inception.inception_score,
    better='higher',
    output='softmax',
  ),
  *(
    Metric(
      option='beats',
      name=f'beats, {form}',
      needs='pairs',
      function=functools.partial(beat_coverage.beat_coverage, form=form),
      better=better,
      detector=detectors.BEATS,
      value=lambda arrays, form=form: arrays[f'bins_{form}'],
    )
    for form, better in (
      ('adjusted', 'see below'),
      ('unadjusted', 'nearer 1'),
    )
  ),
  Metric(
    option='beats',
    name='timing',
    needs='pairs',
    function=timing.timing,
    better='higher',
    detector=detectors.BEATS,
    value=detectors.rhythm,
  ),
  Metric(
    option='retrieval',
    name='retrieval',
    needs='similarities',
    function=retrieval.retrieval,
    better='see below',
  ),
)


def options() -> list[str]:
  """Lists the names for `--metrics`."""
  return list(dict.fromkeys(metric.option for metric in METRICS))


def chosen(names: Iterable[str]) -> list[Metric]:
  """Lists the metrics of some options; ValueError for an unknown one."""
  names = set(names)
  unknown = sorted(names - set(options()))
  if unknown:
    raise ValueError(
      f'no metric is named {", ".join(unknown)}; there are'
      f' {", ".join(options())}.'
    )
  return [metric for metric in METRICS if metric.option in names]


def detectors_of(names: Iterable[str]) -> list[detectors.Detector]:
  """Lists the detectors that some options need."""
  wanted = [metric.detector for metric in chosen(names) if metric.detector]
  return list({detector.name: detector for detector in wanted}.values())
