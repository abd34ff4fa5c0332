"""Writes the metrics of a run to metrics.jsonl and TensorBoard."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import time
from typing import Any

from absl import logging
from etils import epath
import jax
import numpy as np

import v2meow_jax
from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.files import paths

NAME = 'metrics.jsonl'
# Weight of a batch in a mean over batches; not a metric itself.
WEIGHT = 'loss_weight'
# Summarised by their last value, all others by their mean.
_LAST = ('learning_rate',)
# Buckets append nothing, and take about one version of an object a second.
_REPLACE_SECONDS = 60.0


class MetricsOut:
  """Writes scalars, sounds and pictures, in process 0 alone.

  First drops the lines after the step that the run resumes from, so that no
  step is logged twice.
  """

  def __init__(self, model_dir: epath.Path, start: int, tensorboard: bool):
    """Opens the files; `start` is the step that the run resumes from."""
    self._file = None
    self._writer = None
    if jax.process_index():
      return
    keep_until(model_dir / NAME, start)
    kind = _BucketLines if paths.is_remote(model_dir) else _DiskLines
    self._file = kind(model_dir / NAME)
    if tensorboard:
      try:
        from clu import metric_writers
      except ImportError:
        logging.info(
          'No TensorBoard events: %s', v2meow_jax.extra_command('train')
        )
      else:
        self._writer = metric_writers.SummaryWriter(str(model_dir))

  def write(self, step: int, prefix: str, scalars: Mapping[str, float]) -> None:
    """Writes a line of metrics.jsonl, and the same to TensorBoard."""
    if self._file is None:
      return
    named = {f'{prefix}/{k}': float(f'{v:.8g}') for k, v in scalars.items()}
    self._file.write(json.dumps({'step': step, **named}) + '\n')
    if self._writer is not None:
      self._writer.write_scalars(step, named)

  def write_media(
    self, step: int, media_by_name: Mapping[str, media.Audio | np.ndarray]
  ) -> None:
    """Writes sounds, and pictures uint8[height, width, 1 or 3], to TensorBoard."""
    if self._writer is None:
      return
    for name, item in media_by_name.items():
      if isinstance(item, media.Audio):
        samples = {name: item.samples[None, :, None]}
        self._writer.write_audios(step, samples, sample_rate=item.rate_hz)
      else:
        self._writer.write_images(step, {name: item})

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._file is not None:
      self._file.close()
    if self._writer is not None:
      self._writer.close()


class _DiskLines:
  """Lines of a file, each on the disk once it is written."""

  def __init__(self, path: epath.Path):
    self._file = path.open('a', encoding='utf-8')

  def write(self, line: str) -> None:
    self._file.write(line)
    self._file.flush()

  def close(self) -> None:
    self._file.close()


class _BucketLines:
  """Lines of an object, which is replaced as a whole from time to time."""

  def __init__(self, path: epath.Path):
    self._path = path
    self._text = path.read_bytes().decode('utf-8') if path.exists() else ''
    self._replaced = time.monotonic()

  def write(self, line: str) -> None:
    self._text += line
    if time.monotonic() - self._replaced > _REPLACE_SECONDS:
      self._replace()

  def close(self) -> None:
    self._replace()

  def _replace(self) -> None:
    atomic.write_text(self._path, self._text)
    self._replaced = time.monotonic()


def keep_until(path: epath.Path, step: int) -> None:
  """Drops lines of later steps, and a truncated line, atomically."""
  if not path.exists():
    return
  lines = path.read_bytes().decode('utf-8').splitlines(keepends=True)
  earlier = [line for line in lines if _step_of(line) <= step]
  if earlier != lines:
    atomic.write_text(path, ''.join(earlier))


def _step_of(line: str) -> float:
  """Returns the step of a line; infinity if the line is truncated."""
  try:
    return json.loads(line)['step'] if line.endswith('\n') else np.inf
  except ValueError:
    return np.inf


def summary(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Averages metrics over batches; skipped steps count in 'skipped' alone.

  Args:
    metrics: Metrics by batch, still on the devices, each counted by its `WEIGHT`
      if it has one; nested dicts are dropped.

  Returns:
    {name: mean}, empty for no steps; only 'skipped' if every step was skipped.
  """
  flat = [
    {k: v for k, v in m.items() if not isinstance(v, Mapping)} for m in metrics
  ]
  host = jax.device_get(flat)
  good = [m for m in host if not m.get('skipped')]
  weights = np.array([m.get(WEIGHT, 1.0) for m in good], np.float64)
  weights = weights if weights.any() else None
  means = {
    k: float(
      good[-1][k]
      if k in _LAST
      else np.average([m[k] for m in good], weights=weights)
    )
    for k in (good[0] if good else ())
    if k != WEIGHT
  }
  if host and 'skipped' in host[0]:
    means['skipped'] = float(np.mean([m['skipped'] for m in host]))
  return means


def line(scalars: Mapping[str, float]) -> str:
  """Formats the main metrics for the progress bar."""
  formats = {
    'loss': 'loss {:.3f}',
    'accuracy': 'accuracy {:.3f}',
    'learning_rate': 'rate {:.2g}',
    'examples_per_second': '{:.4g} examples/s',
    'mfu': 'MFU {:.1%}',
  }
  parts = [f.format(scalars[k]) for k, f in formats.items() if k in scalars]
  if scalars.get('skipped'):
    parts.append(f'skipped {scalars["skipped"]:.0%}')
  return ', '.join(parts)
