"""Turns a plan into a stream that a stage reads: where each frame is in it."""

import numpy as np

from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors.planning import plan as plan_lib

# Turns of the phases a bar or a beat: bars, beats, eighths and sixteenths.
_PHASES = 8
_TEMPO, _BEAT, _DOWNBEAT, _CHANGE, _ENERGY, _METRE, _ENDED, _THERE = range(
  8, 16
)
_CHROMA = 16
DIM = _CHROMA + 12

_REFERENCE_BPM = 110.0
_TRIADS = {'major': (0, 4, 7), 'minor': (0, 3, 7)}


class PlanStream:
  """The stream of a plan, of `DIM` numbers a frame; it has no weights.

  Sine and cosine of the phases in bar, beat, eighth and sixteenth; tempo in
  octaves from 110 bpm; whether a beat, a downbeat or a section begins in the
  frame; energy from -1 to 1; beats in a bar below four; whether the music has
  ended; 1; and the triad of the key, as twelve pitch classes.

  A stage reads zeros where there is no plan, so no mean is taken away.

  Attributes:
    stream: Stream that it gives.
  """

  reads = 'plan'
  sample_rate_hz = None
  is_standardised = True

  def __init__(self, stream: specs.FeatureSpec):
    """Raises ValueError unless the stream has `DIM` numbers a frame."""
    extractor.check_dim(stream.name, stream.dim, DIM)
    self.stream = stream

  def __call__(self, item: plan_lib.MusicPlan) -> np.ndarray:
    """float32[round(seconds * rate_hz), DIM]."""
    rate_hz = self.stream.rate_hz
    num_frames = max(1, round(item.seconds * rate_hz))
    times = (np.arange(num_frames) + 0.5) / rate_hz
    frames = np.zeros((num_frames, DIM), np.float32)
    frames[:, _THERE] = 1
    frames[:, _ENERGY] = 2 * item.energy_at(times) - 1
    frames[:, _METRE] = 4 - item.beats_per_bar
    starts = [section.start_seconds for section in item.sections]
    for stretch, key in item.keys_of(times):
      frames[stretch, _triad(key)] = 1

    def at(seconds) -> np.ndarray:
      """Frames that hold some times."""
      index = np.floor(np.asarray(seconds) * rate_hz + 1e-6).astype(int)
      return index[index < num_frames]

    frames[at(starts[1:]), _CHANGE] = 1
    if not item.beats:
      return frames
    beats, bars, tempi = _positions(item, times)
    turns = np.stack([bars, beats, 2 * beats, 4 * beats], 1) * 2 * np.pi
    frames[:, 0:_PHASES:2] = np.sin(turns)
    frames[:, 1:_PHASES:2] = np.cos(turns)
    frames[:, _TEMPO] = np.log2(tempi / _REFERENCE_BPM)
    frames[at(item.beat_times), _BEAT] = 1
    downbeats = [beat.seconds for beat in item.beats if beat.downbeat]
    frames[at(downbeats), _DOWNBEAT] = 1
    if item.end_seconds is not None:
      ended = np.arange(num_frames) > np.floor(item.end_seconds * rate_hz)
      frames[ended, :_PHASES] = 0
      frames[ended, _ENDED] = 1
    return frames


def _triad(key: str) -> list[int]:
  """Columns of the pitch classes of a key's triad."""
  tonic, _, mode = key.partition(' ')
  root = plan_lib.TONICS.index(tonic)
  return [_CHROMA + (root + s) % 12 for s in _TRIADS[mode]]


def _positions(
  plan: plan_lib.MusicPlan, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Positions in beats and in bars, and local tempi in beats a minute."""
  beat_times = plan.beat_times
  gaps = np.append(np.diff(beat_times), 60 / plan.tempo_bpm)
  beats = _extended(
    times, beat_times, np.arange(len(beat_times)), 1 / gaps[0], 1 / gaps[-1]
  )
  starts = np.flatnonzero([beat.downbeat for beat in plan.beats])
  starts = starts if len(starts) else np.zeros(1, int)
  per_beat = 1 / plan.beats_per_bar
  bars = _extended(beats, starts, np.arange(len(starts)), per_beat, per_beat)
  at = np.searchsorted(beat_times, times, 'right') - 1
  return beats, bars, 60 / gaps[np.maximum(at, 0)]


def _extended(
  x: np.ndarray,
  nodes: np.ndarray,
  values: np.ndarray,
  slope_before: float,
  slope_after: float,
) -> np.ndarray:
  """Interpolates, and goes on before the first and after the last node."""
  before = np.minimum(x - nodes[0], 0) * slope_before
  after = np.maximum(x - nodes[-1], 0) * slope_after
  return np.interp(x, nodes, values) + before + after
