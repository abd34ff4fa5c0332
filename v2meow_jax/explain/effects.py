"""Measures how the inputs of a stage act on the codes or frames that it wrote."""

import abc
from collections.abc import Callable
from collections.abc import Mapping
import math

import numpy as np

from v2meow_jax import specs
from v2meow_jax.explain import influence
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import restore
from v2meow_jax.models.adaptors import positions
from v2meow_jax.models.sampling import options


def check(stage: restore.ModelStage, settings: influence.Settings) -> None:
  """Raises ValueError unless the stage sees something, by the layer asked for."""
  if not stage.spec.inputs:
    raise ValueError(
      f'stage {stage.spec.name!r} reads nothing of a video, so that there is'
      ' nothing to explain; choose a system whose music follows videos.'
    )
  if not isinstance(stage.spec.target, specs.TokenSpec):
    if settings.layer is not None:
      raise ValueError(
        f'layer is {settings.layer}, and stage {stage.spec.name!r} follows a flow,'
        ' in which no layer attends to the picture; leave it out.'
      )
    return
  num_layers = stage.model.network.num_decoder_layers
  if settings.layer is not None and not 0 <= settings.layer < num_layers:
    raise ValueError(
      f'layer is {settings.layer}; the decoder of stage {stage.spec.name!r} has'
      f' layers 0 to {num_layers - 1}, or give none for the mean of all.'
    )


def measure(
  stage: restore.ModelStage,
  streams: Mapping[str, np.ndarray],
  *,
  seconds: float,
  windows: options.Windows,
  settings: influence.Settings,
  on_pass: Callable[[float], object] = lambda share: None,
) -> influence.Influence:
  """Measures attention and influence over a clip, window by window.

  Windows are those of the sampling; each code counts in the window that drew
  it. Frames that a window mirrors beyond the end of the clip count at their
  own time.

  Args:
    stage: The trained stage.
    streams: Inputs and target of the stage over the whole clip, by name, as in
      `requests.Soundtrack.streams`.
    seconds: Length of the clip, in seconds.
    windows: Windows of the sampling.
    settings: Settings of the measurement.
    on_pass: Function called after each pass of the network with its share of
      all, for progress.

  Returns:
    Attention, or gates, and influence of every input of the stage.

  Raises:
    ValueError: The stage has no such layer, or the clip has too many bins.
  """
  check(stage, settings)
  sums = _Sums(stage.spec, streams, seconds, settings)
  kind = _FlowWindow if sums.is_flow else _CodesWindow
  starts = pipeline.window_starts(
    seconds, stage.spec.crop_seconds, windows.prefix_seconds
  )
  for start in starts:
    prefix_seconds = windows.prefix_seconds if start else 0.0

    def on_share(share: float) -> None:
      on_pass(share / len(starts))

    window = kind(stage, sums, start, prefix_seconds, on_share)
    # A clip may end before the middle of the first code that a window writes.
    if window.is_written:
      window.measure()
  return sums.means()


class _Sums:
  """Sums over the windows of a clip."""

  def __init__(
    self,
    spec: specs.StageSpec,
    streams: Mapping[str, np.ndarray],
    seconds: float,
    settings: influence.Settings,
  ):
    self.spec = spec
    self.streams = streams
    self.seconds = seconds
    self.settings = settings
    n = influence.count_bins(seconds, settings.bin_seconds)
    # A last bin in which no code is written is part of the one before.
    rate_hz = spec.target.rate_hz
    last = max(0.0, (math.ceil(seconds * rate_hz - 0.5) - 0.5) / rate_hz)
    n = int(influence.bin_of(np.array([last]), settings.bin_seconds, n)[0]) + 1
    self.num_bins = n
    self.counts = np.zeros(n)  # Codes or frames in each bin of music.
    self.key_bins = {s.name: self._frame_bins(s) for s in spec.inputs}
    self.blanks = {
      s.name: _blank(streams[s.name], s, settings.blank) for s in spec.inputs
    }
    self.is_flow = isinstance(spec.target, specs.FeatureSpec)
    self.attention = {
      s.name: np.zeros((n, 1 if _is_static(s) else n))
      for s in (() if self.is_flow else spec.inputs)
    }
    self.gates: dict[str, np.ndarray] = {}
    self.without_stream = {s.name: np.zeros(n) for s in spec.inputs}
    self.without_bin = {
      s.name: np.zeros((n, n)) for s in spec.inputs if not _is_static(s)
    }
    self.cells = {
      s.name: np.zeros((len(streams[s.name]), s.num_positions))
      for s in spec.token_inputs
      if s.is_picture
    }

  def _frame_bins(self, stream: specs.Stream) -> np.ndarray:
    """Finds the bin of each frame of a stream of the clip."""
    if _is_static(stream):
      return np.zeros(1, int)
    times = positions.frame_times(
      len(self.streams[stream.name]), stream.rate_hz
    )
    return influence.bin_of(times, self.settings.bin_seconds, self.num_bins)

  def means(self) -> influence.Influence:
    """Divides the sums by the number of codes."""
    counts = np.maximum(self.counts, 1)
    return influence.Influence(
      bin_seconds=self.settings.bin_seconds,
      attention={k: x / counts[:, None] for k, x in self.attention.items()},
      without_stream={k: x / counts for k, x in self.without_stream.items()},
      without_bin={k: x / counts[:, None] for k, x in self.without_bin.items()},
      cells={k: x / counts.sum() for k, x in self.cells.items()},
      unit=influence.MOVES if self.is_flow else influence.NATS,
      gates=self.gates,
    )


class _Window(abc.ABC):
  """One window: inputs and target of the stage, and what of it counts."""

  def __init__(
    self,
    stage: restore.ModelStage,
    sums: _Sums,
    start: float,
    prefix_seconds: float,
    on_share: Callable[[float], None],
  ):
    spec, target = stage.spec, stage.spec.target
    crop_seconds = spec.crop_seconds
    self._stage, self._sums, self._on_share = stage, sums, on_share
    # Frames of the clip in the window.
    self._frames = {
      s.name: pipeline.cut(
        np.arange(len(sums.streams[s.name])), s, start, crop_seconds
      )
      for s in (*spec.inputs, target)
    }
    self._inputs = {
      s.name: sums.streams[s.name][self._frames[s.name]][None]
      for s in spec.inputs
    }
    self._target = sums.streams[target.name][self._frames[target.name]][None]
    times = self._times(target)
    # What the prefix holds was drawn, and counted, in the window before.
    self._is_known = times <= prefix_seconds
    self._drawn = ~self._is_known & (start + times < sums.seconds)
    self._bins = influence.bin_of(
      start + times[self._drawn], sums.settings.bin_seconds, sums.num_bins
    )

  def _times(self, target: specs.Stream) -> np.ndarray:
    """Middles of what the window holds, in seconds from its start."""
    num_frames = target.num_frames(self._stage.spec.crop_seconds)
    if isinstance(target, specs.TokenSpec):
      return positions.token_times(target, num_frames)
    return positions.frame_times(num_frames, target.rate_hz)

  @property
  def is_written(self) -> bool:
    """Whether the window wrote anything before the end of the clip."""
    return bool(self._drawn.any())

  def measure(self) -> None:
    """Adds the window to the sums."""
    sums = self._sums
    seen_bins = {
      name: sums.key_bins[name][self._frames[name]] for name in self._inputs
    }
    num_passes = 2 + len(seen_bins)
    num_passes += sum(len(np.unique(seen_bins[n])) for n in sums.without_bin)
    self._share = 1 / num_passes
    sums.counts += np.bincount(self._bins, minlength=sums.num_bins)
    self._look()
    whole = self._predicted(self._inputs)
    for name in self._inputs:
      seen = seen_bins[name]
      sums.without_stream[name] += self._lost(whole, name, seen >= 0)
      if name in sums.without_bin:
        for column in np.unique(seen):
          lost = self._lost(whole, name, seen == column)
          sums.without_bin[name][:, column] += lost

  @abc.abstractmethod
  def _look(self) -> None:
    """Adds what the stage looks at."""

  @abc.abstractmethod
  def _predicted(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the stage says of each place that counts, first axis."""

  @abc.abstractmethod
  def _distances(self, whole: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far two predictions of each place are apart."""

  def _lost(self, whole: np.ndarray, name: str, gone: np.ndarray) -> np.ndarray:
    """Sums what is lost in each bin of music by blanking some frames."""
    values = self._inputs[name].copy()
    values[:, gone] = self._sums.blanks[name]
    if np.array_equal(values, self._inputs[name]):
      self._on_share(self._share)
      return np.zeros(self._sums.num_bins)
    other = self._predicted({**self._inputs, name: values})
    lost = self._distances(whole, other)
    return np.bincount(self._bins, lost, minlength=self._sums.num_bins)


class _CodesWindow(_Window):
  """A window of a stage that writes codes: attention, and nats."""

  def _look(self) -> None:
    sums, layer = self._sums, self._sums.settings.layer
    weights = self._stage.attention(self._inputs, self._target)
    self._on_share(self._share)
    for name, of_layers in weights.items():
      chosen = of_layers.mean(0) if layer is None else of_layers[layer]
      drawn = np.float64(chosen[0, self._drawn])
      frames = self._frames[name]
      of_frames = drawn.reshape(len(drawn), len(frames), -1)
      sums.attention[name] += influence.sum_by_bins(
        of_frames.sum(-1),
        self._bins,
        sums.key_bins[name][frames],
        sums.attention[name].shape,
      )
      if name in sums.cells:
        np.add.at(sums.cells[name], frames, of_frames.sum(0))

  def _predicted(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    log_p = self._stage.log_probabilities(inputs, self._target)
    self._on_share(self._share)
    return log_p[0, self._drawn]

  def _distances(self, whole: np.ndarray, other: np.ndarray) -> np.ndarray:
    return influence.kl_divergence(whole, other)


class _FlowWindow(_Window):
  """A window of a stage that follows a flow: gates, and moves of velocities."""

  def _look(self) -> None:
    sums = self._sums
    for name, weights in self._stage.gates(self._inputs).items():
      shape = (len(sums.streams[name]), weights.shape[-1])
      of_clip = sums.gates.setdefault(name, np.zeros(shape))
      # A gate depends on its frame alone, so that windows agree.
      of_clip[self._frames[name]] = weights[0]
    self._on_share(self._share)

  def _predicted(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    velocities = self._stage.velocities(inputs, self._target, self._is_known)
    self._on_share(self._share)
    return np.float64(velocities[:, 0, self._drawn]).swapaxes(0, 1)

  def _distances(self, whole: np.ndarray, other: np.ndarray) -> np.ndarray:
    return ((whole - other) ** 2).mean((1, 2))


def _is_static(stream: specs.Stream) -> bool:
  return isinstance(stream, specs.FeatureSpec) and stream.is_static


def _blank(
  array: np.ndarray, stream: specs.Stream, kind: influence.Blank
) -> np.ndarray:
  """Makes the frame, [dim | levels], that replaces others; see `influence.Settings`."""
  if isinstance(stream, specs.TokenSpec):
    return np.array([np.bincount(column).argmax() for column in array.T])
  if kind == 'zero' or stream.is_static:
    return np.zeros(array.shape[1:], array.dtype)
  return array.mean(0)
