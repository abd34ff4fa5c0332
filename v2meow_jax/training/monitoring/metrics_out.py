"""What a run tells: metrics.jsonl, TensorBoard, and a line in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import json
from typing import Any

from absl import logging
from etils import epath
import jax
import numpy as np

from v2meow_jax import media
from v2meow_jax.pretrained.audio import mel

NAME = 'metrics.jsonl'
_SPECTROGRAM_BANDS = 128
_SPECTROGRAM_HOP_SECONDS = 0.01
_RANGE_DB = 80.0
# Of these the last value counts, of all others the mean.
_LAST = ('learning_rate',)


class MetricsOut:
  """Writes scalars and sounds; process 0 alone does.

  Lines beyond the step that the run goes on from are dropped first, so that no
  step is told twice.
  """

  def __init__(self, model_dir: epath.Path, start: int, tensorboard: bool):
    """Opens the files; `start` is the step that the run goes on from."""
    self._file = None
    self._writer = None
    if jax.process_index():
      return
    keep_until(model_dir / NAME, start)
    self._file = (model_dir / NAME).open('a')
    if tensorboard:
      try:
        from clu import metric_writers
      except ImportError:
        logging.info('No TensorBoard events: pip install v2meow_jax[train]')
      else:
        self._writer = metric_writers.SummaryWriter(str(model_dir))

  def write(self, step: int, prefix: str, scalars: Mapping[str, float]) -> None:
    """A line of metrics.jsonl, and the same to TensorBoard."""
    if self._file is None:
      return
    named = {f'{prefix}/{k}': float(f'{v:.8g}') for k, v in scalars.items()}
    self._file.write(json.dumps({'step': step, **named}) + '\n')
    self._file.flush()
    if self._writer is not None:
      self._writer.write_scalars(step, named)

  def write_sounds(self, step: int, sounds: Mapping[str, media.Audio]) -> None:
    """Sounds and their spectrograms to TensorBoard."""
    if self._writer is None:
      return
    for name, audio in sounds.items():
      self._writer.write_audios(
        step,
        {name: audio.samples[None, :, None]},
        sample_rate=audio.rate_hz,
      )
      self._writer.write_images(
        step, {f'{name}/spectrogram': spectrogram(audio)}
      )

  def close(self) -> None:
    """Writes what waits."""
    if self._file is not None:
      self._file.close()
    if self._writer is not None:
      self._writer.close()


def keep_until(path: epath.Path, step: int) -> None:
  """Drops lines of later steps, and a line that was cut off; atomically."""
  if not path.exists():
    return
  lines = path.read_text().splitlines(keepends=True)
  kept = [line for line in lines if _step_of(line) <= step]
  if kept != lines:
    partial = path.with_name(path.name + '.partial')
    partial.write_text(''.join(kept))
    partial.replace(path)


def _step_of(line: str) -> float:
  """The step of a whole line; infinite of a line that was cut off."""
  try:
    return json.loads(line)['step'] if line.endswith('\n') else np.inf
  except ValueError:
    return np.inf


def summary(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Means over steps; skipped steps count in 'skipped' alone.

  Args:
    metrics: Of each step, still on the devices; nested dicts are left out.

  Returns:
    {name: mean}, empty for no steps; only 'skipped' when every step was.
  """
  flat = [
    {k: v for k, v in m.items() if not isinstance(v, Mapping)} for m in metrics
  ]
  host = jax.device_get(flat)
  good = [m for m in host if not m.get('skipped')]
  means = {
    k: float(good[-1][k] if k in _LAST else np.mean([m[k] for m in good]))
    for k in (good[0] if good else ())
  }
  if host and 'skipped' in host[0]:
    means['skipped'] = float(np.mean([m['skipped'] for m in host]))
  return means


def line(scalars: Mapping[str, float]) -> str:
  """The few numbers that a person watches."""
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


def spectrogram(audio: media.Audio) -> np.ndarray:
  """uint8[bands, frames, 1]: log mel energy, low below, 80 dB from black."""
  hop = round(audio.rate_hz * _SPECTROGRAM_HOP_SECONDS)
  energy = mel.log_mel(
    audio.samples, audio.rate_hz, hop, 4 * hop, _SPECTROGRAM_BANDS
  )
  db = 10 / np.log(10) * energy
  scaled = (db - db.max()) / _RANGE_DB + 1
  return np.uint8(255 * np.clip(scaled, 0, 1)).T[::-1, :, None]
