"""Compares trained codecs on clips that they were not trained on.

python -m benchmarks.codec_runs --run runs/soundstream_spectra \\
  --run runs/soundstream_adversarial --json out.json

What no training optimises by itself: how well a judge, trained for the purpose,
tells decoded clips from recordings, and the Frechet distance of embeddings.
Beside them the errors of log-mel and linear spectra, which training does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
import sys
from typing import Any

from jaxtyping import Float
import numpy as np

from benchmarks import codec as codec_benchmark
from benchmarks import codec_judge
from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import frechet
from v2meow_jax.synthetic import held_out

# Figure -> heading; lower is better, for the judge down to 0.5.
FIGURES = {
  'log_mel_error_db': 'log-mel error, dB',
  'stft_distance': 'STFT distance',
  'judge_accuracy': 'judge is right',
  'frechet': 'Frechet distance',
}
_EMBEDDED_SECONDS = 1.0


def stft_distance(
  true: Float[np.ndarray, 'samples'], coded: Float[np.ndarray, 'samples']
) -> float:
  """Computes the relative L2 distance of magnitudes, mean of five windows."""
  import jax.numpy as jnp

  from v2meow_jax.codecs import reconstruction

  losses = reconstruction.reconstruction_losses(
    jnp.asarray(coded[None]),
    jnp.asarray(true[None]),
    16_000,
    reconstruction.ReconstructionConfig(),
  )
  return float(losses['stft'])


def embed(
  clips: Iterable[Float[np.ndarray, 'samples']], network: Any, rate_hz: int
) -> list[Float[np.ndarray, 'seconds dim']]:
  """Embeds every whole second of each clip."""
  length = round(_EMBEDDED_SECONDS * rate_hz)
  return [
    np.concatenate(
      [
        network(media.Audio(samples=piece, rate_hz=rate_hz))
        for piece in clip[: len(clip) // length * length].reshape(-1, length)
      ]
    )
    for clip in clips
  ]


def measure(
  codec: Any,
  clips: Float[np.ndarray, 'clips samples'],
  network: Any,
  *,
  seed: int,
  what: str,
) -> dict[str, Any]:
  """Measures a codec on clips.

  Args:
    codec: A `codecs.codec.Codec` of 16 kHz.
    clips: Recordings of whole frames.
    network: Network from an `Audio` to float32[rows, dim].
    seed: Seed of the judges.
    what: Label of the progress bar.

  Returns:
    By figure the values of each clip; for 'frechet' its embeddings.
  """
  rate_hz = codec.sample_rate_hz
  coded = np.stack(
    [
      np.asarray(codec.decode(codec.encode(clip[None])))[0]
      for clip in report.progress(list(clips), what)
    ]
  )
  pairs = list(zip(clips, coded, strict=True))
  return {
    'log_mel_error_db': np.array(
      [codec_benchmark.log_mel_error(*pair, rate_hz) for pair in pairs]
    ),
    'stft_distance': np.array([stft_distance(*pair) for pair in pairs]),
    'judge_accuracy': codec_judge.accuracy(clips, coded, seed=seed),
    'frechet': embed(coded, network, rate_hz),
  }


def intervals(
  values: Mapping[str, Any], true: Sequence[np.ndarray]
) -> dict[str, bootstrap.Interval]:
  """Computes each figure with its interval over clips.

  Args:
    values: Values from `measure`.
    true: Embeddings of the recordings, from `embed`.
  """
  return {
    name: bootstrap.mean_interval(values[name])
    if name != 'frechet'
    else bootstrap.jackknife_interval(
      distance_to(true, values[name]), len(true)
    )
    for name in FIGURES
  }


def differences(
  values: Mapping[str, Any],
  others: Mapping[str, Any],
  true: Sequence[np.ndarray],
) -> dict[str, bootstrap.Interval]:
  """Computes by how much a codec is above another on the same clips.

  Args:
    values: Values of the codec, from `measure`.
    others: Values of the codec that it is compared with.
    true: Embeddings of the recordings, from `embed`.

  Returns:
    The differences with their intervals over clips, drawn in pairs.
  """
  ours, theirs = (distance_to(true, v['frechet']) for v in (values, others))
  return {
    name: bootstrap.mean_interval(values[name] - others[name])
    if name != 'frechet'
    else bootstrap.jackknife_interval(
      lambda kept: ours(kept) - theirs(kept), len(true)
    )
    for name in FIGURES
  }


def distance_to(
  true: Sequence[np.ndarray], coded: Sequence[np.ndarray]
) -> Callable[[Any], float]:
  """Returns the Frechet distance to all recordings, by the clips kept."""
  whole = frechet.fit(np.concatenate(true))
  return lambda kept: frechet.distance(
    whole, frechet.fit(np.concatenate([coded[i] for i in kept]))
  )


def show(
  rows: Mapping[str, Mapping[str, bootstrap.Interval]], title: str
) -> str:
  """Formats figures as a table, a row for each codec."""
  return report.table(
    [title, *FIGURES.values()],
    [[name, *(str(row[f]) for f in FIGURES)] for name, row in rows.items()],
  )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.codec_runs',
    'Compares codecs that were trained here with the one of a system, on'
    ' held-out synthetic music: spectral errors, how often a judge that was'
    ' trained to tells decoded clips from recordings, and the Frechet distance'
    ' of embeddings. Differences are to the first --run.',
    'python -m benchmarks.codec_runs --run runs/a --run runs/b --json out.json',
  )
  report.add_system(parser)
  add = parser.add_argument
  add(
    '--run',
    action='append',
    required=True,
    metavar='DIR',
    help='MODEL_DIR of a codec; repeat it to compare',
  )
  add('--num', type=report.positive, default=48, help='scenes (default 48)')
  add('--seed', type=int, default=7, help='of scenes and judges (default 7)')
  add('--seconds', type=report.positive, default=10, help='of a clip')
  options = parser.parse_args(argv)
  if options.num < 4:
    parser.error(f'--num {options.num}: wanted at least 4 scenes to compare')
  return options


def _codecs(options: argparse.Namespace) -> dict[str, Any]:
  """Loads the runs by the names of their folders, then that of the system."""
  from v2meow_jax.codecs import trained
  from v2meow_jax.inference import system as system_lib

  codecs = {}
  for run in options.run:
    name = pathlib.Path(run).resolve().name
    if name in codecs:
      raise ValueError(f'two runs are named {name!r}; rename a folder.')
    weights, settings = trained.read('acoustic', run)
    codecs[name] = getattr(trained, trained.kind(run))(weights, **settings)
  system = system_lib.load(options.system)
  codecs[f'system {system.config["name"]}'] = system.codec
  return codecs


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  from v2meow_jax.evaluation.listening import networks

  codecs = _codecs(options)
  clips = np.stack(
    [
      held_out.music(s).samples[: options.seconds * 16_000]
      for s in held_out.scenes(options.seed, options.num, options.seconds)
    ]
  ).astype(np.float32)
  network = networks.load('tiny-style')
  true = embed(clips, network, 16_000)
  values = {
    name: measure(codec, clips, network, seed=options.seed, what=name)
    for name, codec in codecs.items()
  }
  figures = {name: intervals(v, true) for name, v in values.items()}
  first, *others = values
  above = {
    name: differences(values[name], values[first], true) for name in others
  }
  print(show(figures, 'codec'))
  print()
  print(show(above, f'less {first}'))
  report.write_json(
    options.json,
    {
      'benchmark': 'codec_runs',
      'figures': _as_data(figures),
      'differences': _as_data(above),
      'network': network.digest,
      'settings': vars(options),
    },
  )


def _as_data(
  rows: Mapping[str, Mapping[str, bootstrap.Interval]],
) -> dict[str, dict[str, dict[str, float]]]:
  return {
    name: {f: dataclasses.asdict(row[f]) for f in FIGURES}
    for name, row in rows.items()
  }


if __name__ == '__main__':
  sys.exit(report.run(main))
