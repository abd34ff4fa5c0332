"""From pairs of clips to scores: which metric is given what."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import get_args

import numpy as np

from v2meow_jax.evaluation.listening import listener as listener_lib
from v2meow_jax.evaluation.listening import networks as networks_lib
from v2meow_jax.evaluation.listening import pairs as pairs_lib
from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import frechet
from v2meow_jax.evaluation.metrics import inception
from v2meow_jax.evaluation.metrics import kld
from v2meow_jax.evaluation.metrics import mcc
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.metrics import timing
from v2meow_jax.pretrained import network as network_lib

METRICS = ('fad', 'kld', 'mcc', 'is', 'beats')
# Those that need no download.
DEFAULT_METRICS = ('fad', 'mcc', 'beats')
DEFAULT_NETWORKS = ('tiny-style',)
RULE = (
  'Both clips of a pair are read as mono (the mean of the channels), resampled'
  ' by soxr at high quality from the stored rate straight to the rate of each'
  ' network or detector, and cut to the length of the shorter clip.'
)
# Which outputs a metric takes, and a network that would give one.
_WANTED = {
  'fad': (('embedding',), 'tiny-style'),
  'kld': (('softmax', 'sigmoid'), 'panns-softmax'),
  'is': (('softmax',), 'panns-softmax'),
}

Found = dict[str, scores.Score]


def check_metrics(metrics: Iterable[str]) -> None:
  """Raises ValueError unless all are in `METRICS`."""
  unknown = sorted(set(metrics) - set(METRICS))
  if unknown:
    raise ValueError(
      f'no metric is named {", ".join(unknown)}; there are'
      f' {", ".join(METRICS)}.'
    )


def listen(
  listener: listener_lib.Listener, pairs: Iterable[pairs_lib.Pair]
) -> tuple[list, list[pairs_lib.Fault]]:
  """Hears both clips of each pair.

  Args:
    listener: What hears.
    pairs: Whose clips.

  Returns:
    (pair, reference, generated) of those that could be heard, the last two
    as `listener.Heard`, and the faults of the others.
  """
  heard, faults = [], []
  for pair in pairs:
    try:
      heard.append(
        (
          pair,
          listener(pair.reference, pair.seconds),
          listener(pair.generated, pair.seconds),
        )
      )
    except (ValueError, OSError) as e:
      reason = ' '.join(str(e).split())
      faults.append(pairs_lib.Fault(name=pair.name, reason=reason))
  return heard, faults


def score(
  reference: Sequence[listener_lib.Heard],
  generated: Sequence[listener_lib.Heard],
  *,
  networks: Sequence[network_lib.Network],
  metrics: Sequence[str],
  prompts: Sequence[str] | None = None,
  seed: int = 0,
) -> tuple[Found, dict[str, str]]:
  """All metrics of a set of pairs.

  A clip's row, where a metric wants one, is the mean of the rows of its
  windows.

  Args:
    reference: Of the true music.
    generated: Of what is scored, in the same order.
    networks: That heard both.
    metrics: Some of `METRICS`.
    prompts: One per clip; None: there were none.
    seed: Of the intervals.

  Returns:
    The scores by name, and why others are not there, by metric.
  """
  found: Found = {}
  missing: dict[str, str] = {}

  def take(name: str, function: Any, *args: Any, **options: Any) -> None:
    """Adds what a metric gives, or why it gives nothing."""
    try:
      found.update(function(*args, **options, seed=seed))
    except ValueError as e:
      missing[name] = ' '.join(str(e).split())

  for network in networks:
    identity = network_lib.NetworkId(name=network.name, digest=network.digest)
    true = [heard.rows[network.name] for heard in reference]
    made = [heard.rows[network.name] for heard in generated]
    means = [
      np.stack([rows.mean(axis=0) for rows in side]) for side in (true, made)
    ]
    output = network.output
    if 'fad' in metrics and output == 'embedding':
      # Of a classifier's embeddings, MuVi's table has it as FD.
      metric = 'fd' if network.name.startswith('panns') else 'fad'
      for function, suffix in (
        (frechet.fad, ''),
        (frechet.fad_infinity, '_inf'),
      ):
        name = f'{metric}{suffix}/{network.name}'
        take(name, function, true, made, identity, metric=metric)
    if 'kld' in metrics and output != 'embedding':
      name = f'kld_{output}/{network.name}'
      take(name, kld.kld, *means, identity, form=output)
    if 'is' in metrics and output == 'softmax':
      name = f'is/{network.name}'
      take(name, inception.inception_score, means[1], identity)
    if 'mcc' in metrics and isinstance(network, network_lib.JointNetwork):
      cosine = mcc.mean_cosine
      name = f'mcc_audio/{network.name}'
      take(name, cosine, means[1], means[0], identity, metric='mcc_audio')
      if prompts is not None:
        texts = np.stack([network.embed_text(prompt) for prompt in prompts])
        # MuVi's CLAP score is what the paper calls MCC, with CLAP.
        is_clap = network.name.startswith('clap')
        for metric in ('mcc_text', 'clap_score') if is_clap else ('mcc_text',):
          name = f'{metric}/{network.name}'
          take(name, cosine, means[1], texts, identity, metric=metric)
  missing |= _without_network(metrics, networks)
  if 'beats' in metrics:
    for form in get_args(beat_coverage.Form):
      bins = [[h.bins[form] for h in side] for side in (reference, generated)]
      take(f'beats, {form}', beat_coverage.of_bins, *bins, form=form)
    heard = [[h.timing for h in side] for side in (reference, generated)]
    take('timing', timing.timing, *heard)
  return found, missing


def _without_network(
  metrics: Sequence[str], networks: Sequence[network_lib.Network]
) -> dict[str, str]:
  """Metrics that none of the networks can give, and what to do."""
  names = ', '.join(network.name for network in networks)
  missing = {}
  for metric, (outputs, example) in _WANTED.items():
    if metric in metrics and not any(n.output in outputs for n in networks):
      why = networks_lib.missing(example)
      missing[metric] = (
        f'needs a network whose output is {" or ".join(outputs)}, and there is'
        f' {names}: add --network {example}' + (f' ({why})' if why else '')
      )
  if 'mcc' in metrics and not any(
    isinstance(network, network_lib.JointNetwork) for network in networks
  ):
    missing['mcc'] = (
      'needs a joint embedding of music and text, and there is'
      f' {names}: add --network tiny-style'
    )
  return missing


def renamed(found: Mapping[str, scores.Score], suffix: str) -> Found:
  """The scores of a control.

  >>> score = scores.Score(value=1.0, num_clips=1)
  >>> list(renamed({'fad/vggish': score}, '_blank'))
  ['fad_blank/vggish']
  """
  parts = {name: name.partition('/') for name in found}
  return {
    f'{parts[name][0]}{suffix}{"".join(parts[name][1:])}': value
    for name, value in found.items()
  }
