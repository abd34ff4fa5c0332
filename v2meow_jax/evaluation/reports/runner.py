"""Computes the features and the metrics of pairs of clips."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from v2meow_jax.evaluation.listening import analyser as analyser_lib
from v2meow_jax.evaluation.listening import networks as networks_lib
from v2meow_jax.evaluation.listening import pairs as pairs_lib
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import metric_table
from v2meow_jax.pretrained import network as network_lib

DEFAULT_NETWORKS = ('tiny-style',)
RULE = (
  'Both clips of a pair are read as mono (the mean of the channels), resampled'
  ' by soxr at high quality from the stored rate straight to the rate of each'
  ' network or detector, and cut to the length of the shorter clip.'
)
# Networks that give an output.
_EXAMPLES = {
  'embedding': 'tiny-style',
  'joint': 'tiny-style',
  'softmax': 'panns-softmax',
  'sigmoid': 'panns-sigmoid',
}

_NO_SIMILARITIES = (
  'needs a system that compares videos with music: give --system with one that'
  ' was trained with systems/vmas/music.gin'
)

Features = Sequence[analyser_lib.ClipFeatures]
AnalysedPair = tuple[
  pairs_lib.ClipPair, analyser_lib.ClipFeatures, analyser_lib.ClipFeatures
]


def analyse(
  analyser: analyser_lib.Analyser, pairs: Iterable[pairs_lib.ClipPair]
) -> tuple[list[AnalysedPair], list[pairs_lib.Fault]]:
  """Computes the features of both clips of each pair.

  Args:
    analyser: Networks and detectors.
    pairs: Pairs of clips.

  Returns:
    (pair, features of the reference, features of the generated clip), and the
    faults of pairs that cannot be analysed.
  """
  analysed, faults = [], []
  for pair in pairs:
    try:
      sides = (pair.reference, pair.generated)
      features = [analyser(clip, pair.seconds) for clip in sides]
      analysed.append((pair, *features))
    except (ValueError, OSError) as e:
      faults.append(pairs_lib.Fault.of(pair.name, e))
  return analysed, faults


def score(
  reference: Features,
  generated: Features,
  *,
  networks: Sequence[network_lib.AudioNetwork],
  metrics: Sequence[str],
  prompts: Sequence[str] | None = None,
  similarities: np.ndarray | None = None,
  seed: int = 0,
) -> tuple[dict[str, scores.Score], dict[str, str]]:
  """Computes all metrics of a set of pairs.

  Args:
    reference: Features of the true music.
    generated: Features of the clips to score, in the same order.
    networks: Networks that the features are of.
    metrics: Options of `metric_table`.
    prompts: Prompts of the clips; None: there were none.
    similarities: Similarities of each video with each reference, float[n, n],
      by a system that compares them; None: there is no such system.
    seed: Seed of the intervals.

  Returns:
    Scores by name, and by metric the reason why others are missing.
  """
  chosen = metric_table.chosen(metrics)
  results: dict[str, scores.Score] = {}
  missing: dict[str, str] = {}

  def compute(
    metric: metric_table.Metric,
    network: network_lib.AudioNetwork | None,
    texts: Any,
  ) -> None:
    name = metric.name
    if metric.needs == 'similarities':
      arguments: list[Any] = [similarities]
    else:
      arguments = metric.sides(reference, generated, network)
    if metric.needs == 'clips':
      arguments = arguments[1:]
    elif metric.needs == 'prompts':
      arguments[0] = texts
    if network is not None:
      name += f'/{network.name}'
      arguments.append(
        network_lib.NetworkId(name=network.name, digest=network.digest)
      )
    try:
      results.update(metric.function(*arguments, seed=seed))
    except ValueError as e:
      missing[name] = ' '.join(str(e).split())

  for network in networks:
    taken = [metric for metric in chosen if metric.takes(network)]
    if prompts is None:
      taken = [metric for metric in taken if metric.needs != 'prompts']
    texts = None
    if any(metric.needs == 'prompts' for metric in taken):
      assert isinstance(network, network_lib.JointNetwork)
      texts = np.stack([network.embed_text(text) for text in prompts or ()])
    for metric in taken:
      compute(metric, network, texts)
  missing |= _without_network(chosen, networks)
  for metric in chosen:
    if metric.needs == 'similarities' and similarities is None:
      missing[metric.name] = _NO_SIMILARITIES
    elif metric.output is None:
      compute(metric, None, None)
  return results, missing


def _without_network(
  metrics: Sequence[metric_table.Metric],
  networks: Sequence[network_lib.AudioNetwork],
) -> dict[str, str]:
  """Lists options that none of the networks can give, and what to do."""
  names = ', '.join(network.name for network in networks)
  missing = {}
  for option in dict.fromkeys(m.option for m in metrics if m.output):
    rows = [metric for metric in metrics if metric.option == option]
    if any(row.takes(network) for row in rows for network in networks):
      continue
    outputs = list(dict.fromkeys(row.output for row in rows if row.output))
    kind = f'a network whose output is {" or ".join(outputs)}'
    if outputs == ['joint']:
      kind = 'a joint embedding of music and text'
    example = _EXAMPLES[outputs[0]]
    why = networks_lib.missing(example)
    missing[option] = (
      f'needs {kind}, and there is {names}: add --network {example}'
      + (f' ({why})' if why else '')
    )
  return missing


def renamed(
  metrics: Mapping[str, scores.Score], suffix: str
) -> dict[str, scores.Score]:
  """Adds the suffix of a control to the names of scores.

  >>> score = scores.Score(value=1.0, num_clips=1)
  >>> list(renamed({'fad/vggish': score}, '_blank'))
  ['fad_blank/vggish']
  """
  results = {}
  for name, value in metrics.items():
    metric, slash, network = name.partition('/')
    results[f'{metric}{suffix}{slash}{network}'] = value
  return results
