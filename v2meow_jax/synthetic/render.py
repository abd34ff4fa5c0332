"""Draws a scene: shapes that pulse on every beat, and cuts on bar lines."""

from collections.abc import Iterator
import colorsys

import numpy as np

from v2meow_jax.synthetic import scene as scene_lib

# A pulse lasts about a frame, so that no frame rate misses its peak, and ends
# well before the next beat.
_HOLD_SECONDS = 0.042
_DECAY_SECONDS = 0.045
_WEAK_BEAT = 0.65
_STRIP_SHARE = 0.1


def frames(scene: scene_lib.Scene) -> Iterator[np.ndarray]:
  """Draws the frames of a scene.

  A frame shows the middle of its exposure, half a frame after its time stamp,
  so a beat appears in the frame whose time is nearest to it.

  Args:
    scene: Scene to draw.

  Yields:
    uint8[height, width, 3], RGB; `scene.num_frames` of them, at
    `scene.rate_hz`.
  """
  times = scene.frame_times + 0.5 / float(scene.rate_hz)
  sections = scene.section_at(times)
  beats = scene.beats_at(times) + 1e-9
  pulses = _pulses(scene, beats)
  shown, painter = None, None
  for time, section, beat, pulse in zip(
    times, sections, beats, pulses, strict=True
  ):
    if painter is None or section != shown:
      shown, painter = section, _Section(scene, int(section))
    yield painter.draw(time, int(np.floor(beat)), float(pulse))


def _pulses(scene: scene_lib.Scene, beats: np.ndarray) -> np.ndarray:
  """Returns pulses by frame, float64: 1 on a downbeat, then falling to 0."""
  whole = np.floor(beats)
  since = (beats - whole) * scene.beat_seconds
  fall = np.exp(-np.maximum(since - _HOLD_SECONDS, 0) / _DECAY_SECONDS)
  return fall * np.where(scene.is_downbeat(whole), 1.0, _WEAK_BEAT)


class _Section:
  """Draws one section of a scene."""

  def __init__(self, scene: scene_lib.Scene, section: int):
    width, height = scene.size
    rng = np.random.default_rng([scene.seed, scene.index, 1, section])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    self._x = (x + 0.5) / height
    self._y = (y + 0.5) / height
    self._aspect = width / height
    self._scene = scene
    self._activity = scene.activity[section]
    count = 2 + round(5 * self._activity)
    places = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count
    self._centre_x = places * self._aspect
    self._centre_y = rng.uniform(0.2, 0.75, count)
    self._radius = rng.uniform(0.09, 0.15, count)
    self._angle = rng.uniform(0, 2 * np.pi, (2, count))
    self._drift_hz = (0.05 + 0.1 * self._activity) * rng.uniform(
      0.8, 1.2, count
    )
    hue, saturation, value = scene.palette[0]
    hue = (hue + 0.05 * (section % 3 - 1)) % 1.0
    value = value * (0.75 + 0.25 * self._activity)
    back = np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)
    shade = _texture(scene.texture, self._x, self._y, float(rng.uniform()))
    self._back = back * shade[:, :, None] * 255.0
    self._colours = [
      255.0 * np.array(colorsys.hsv_to_rgb(*c), np.float32)
      for c in scene.palette[1:3]
    ]
    self._accent = 255.0 * np.array(
      colorsys.hsv_to_rgb(*scene.palette[3]), np.float32
    )

  def draw(self, time: float, beat: int, pulse: float) -> np.ndarray:
    """Draws one frame, uint8[height, width, 3]."""
    masks = self._masks(time, beat, pulse)
    image = self._back * (1.0 + 0.25 * pulse)
    for start, colour in enumerate(self._colours):
      mask = masks[start::2].max(axis=0)[:, :, None]
      lit = colour + (255.0 - colour) * (0.7 * pulse)
      image = image + mask * (lit - image)
    self._draw_strip(image, beat, pulse)
    return np.clip(image, 0, 255).astype(np.uint8)

  def _masks(self, time: float, beat: int, pulse: float) -> np.ndarray:
    """Computes the coverage by shapes, float32[shapes, height, width]."""
    turn = 2 * np.pi * self._drift_hz * time
    # Besides growing, shapes step to and fro on each beat.
    step = 0.02 if beat % 2 else -0.02
    x = self._centre_x + 0.08 * np.sin(turn + self._angle[0]) + step
    y = self._centre_y + 0.08 * np.sin(0.8 * turn + self._angle[1])
    radius = self._radius * (0.8 + 0.7 * pulse)
    column = np.s_[:, None, None]
    dx = self._x[None] - x.astype(np.float32)[column]
    dy = self._y[None] - y.astype(np.float32)[column]
    radius = radius.astype(np.float32)[column]
    return _mask(self._scene.shapes, dx, dy, radius, len(self._y))

  def _draw_strip(self, image: np.ndarray, beat: int, pulse: float) -> None:
    """Draws a strip in the key's colour; its bright quarter shows the chord."""
    height, width = image.shape[:2]
    top = height - round(_STRIP_SHARE * height)
    chord = self._scene.chord_at(beat // self._scene.beats_per_bar)
    image[top:] = self._accent * 0.45
    quarter = slice(chord * width // 4, (chord + 1) * width // 4)
    image[top:, quarter] = self._accent * (0.8 + 0.2 * pulse)


def _mask(
  kind: str,
  dx: np.ndarray,
  dy: np.ndarray,
  radius: np.ndarray,
  pixels_per_unit: int,
) -> np.ndarray:
  """Computes the coverage by a shape around (0, 0), float32 in [0, 1]."""
  if kind == 'blob':
    return np.exp(-(dx * dx + dy * dy) / (1.6 * radius * radius))
  distance = {
    'square': lambda: np.maximum(abs(dx), abs(dy)) - radius,
    'ring': lambda: abs(np.sqrt(dx * dx + dy * dy) - radius) - 0.03,
    'bar': lambda: np.maximum(abs(dx) - 0.05, abs(dy) - 2.6 * radius),
    'triangle': lambda: np.maximum(
      0.87 * abs(dx) - 0.5 * dy - 0.6 * radius, dy - 0.6 * radius
    ),
    'diamond': lambda: 1.6 * abs(dx) + 0.6 * abs(dy) - radius,
  }[kind]()
  return np.clip(0.5 - distance * pixels_per_unit, 0.0, 1.0)


def _texture(
  kind: str, x: np.ndarray, y: np.ndarray, phase: float
) -> np.ndarray:
  """Computes the shade of the background, float32[height, width], around 1."""
  return {
    'gradient': lambda: 1.3 - 0.7 * y + 0.05 * np.sin(6 * (x + phase)),
    'checker': lambda: (
      0.85 + 0.3 * ((np.floor(4 * x + phase) + np.floor(4 * y)) % 2)
    ),
    'columns': lambda: 0.92 + 0.1 * np.sin(40 * (x + phase)),
    'spots': lambda: (
      0.8 + 0.4 * (np.sin(25 * (x + phase)) * np.sin(25 * y) > 0.4)
    ),
    'diagonals': lambda: 0.8 + 0.4 * (np.sin(18 * (x + y + phase)) > 0),
    'scanlines': lambda: 0.7 + 0.5 * (np.sin(50 * (y + phase)) > 0),
  }[kind]().astype(np.float32)
