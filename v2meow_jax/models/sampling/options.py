"""How a stage generates: one frozen value from the command line to the sampler."""

from __future__ import annotations

import dataclasses
import fractions
import functools
import math

import jax

from v2meow_jax import specs


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=[
    *('temperature', 'top_p', 'style_guidance', 'video_guidance'),
    'steps',
  ],
  meta_fields=['top_k', 'max_run'],
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """Options of a sampler.

  A pytree, so that a compiled sampler serves every temperature; what changes
  the program is static. An option that is None is left open: `over` fills it,
  and what nobody says is as trained.

  Attributes:
    temperature: Divisor of the logits, >= 0; 0 takes the likeliest code; None:
      1.
    top_k: Number of likeliest codes to draw among; None: all codes.
    top_p: Share of the probability, (0, 1], whose likeliest codes to draw
      among; None: 1.
    max_run: Number of times that a code may stand in succession at its level;
      None: any.
    style_guidance: Weight of the style, >= 0: see `guidance`; None: 1, which
      costs and changes nothing.
    video_guidance: Weight of the video, as that of the style.
    steps: Number of steps of a flow, from 1 to `MAX_STEPS`; None: that of the
      sampler. What writes codes takes none.
  """

  temperature: float | jax.Array | None = None
  top_k: int | None = None
  top_p: float | jax.Array | None = None
  max_run: int | None = None
  style_guidance: float | jax.Array | None = None
  video_guidance: float | jax.Array | None = None
  steps: int | jax.Array | None = None

  def __post_init__(self):
    number = self.temperature
    # Inside jax.jit it is an array without a value.
    if isinstance(number, int | float) and not (
      math.isfinite(number) and number >= 0
    ):
      raise ValueError(
        f'temperature is {number}; wanted a finite number of 0 or more (1.0'
        ' samples as trained, lower is safer, 0 takes the likeliest code).'
      )
    for name in ('style_guidance', 'video_guidance'):
      weight = getattr(self, name)
      if isinstance(weight, int | float) and not (0 <= weight <= MAX_GUIDANCE):
        raise ValueError(
          f'{name} is {weight}; wanted 0 to {MAX_GUIDANCE} (1 leaves the music as'
          ' it is, 2 to 4 follow more strictly).'
        )
    if isinstance(self.top_p, int | float) and not 0 < self.top_p <= 1:
      raise ValueError(
        f'top_p is {self.top_p}; wanted above 0 and at most 1, or None.'
      )
    for name in ('top_k', 'max_run'):
      count = getattr(self, name)
      if count is not None and count < 1:
        raise ValueError(f'{name} is {count}; wanted 1 or more, or None.')
    if isinstance(self.steps, int) and not 1 <= self.steps <= MAX_STEPS:
      raise ValueError(
        f'steps is {self.steps}; wanted 1 to {MAX_STEPS} (12 to 50 are usual,'
        ' fewer are faster and rougher).'
      )

  def over(self, base: Sampling) -> Sampling:
    """These options, and those of `base` where these are None.

    >>> Sampling(top_k=5).over(Sampling(temperature=0.4)).temperature
    0.4
    """
    given = {k: v for k, v in vars(self).items() if v is not None}
    return dataclasses.replace(base, **given)


MAX_GUIDANCE = 100  # ours: far beyond where music is still music.
MAX_STEPS = 1000  # ours: far beyond where a solver gains anything.
AS_TRAINED = Sampling(temperature=1.0)
MAX_ROWS = 256  # ours: an accelerator is full long before.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Windows:
  """How a stage covers a clip that is longer than its crop.

  Attributes:
    prefix_seconds: Length of the part of a window that the window before has
      already written; 0: windows are independent.
    rows: Number of windows in one compiled call. Calls are padded to it, so
      that a window does not depend on how many others there are.
  """

  prefix_seconds: float = 0.0
  rows: int = 1

  def __post_init__(self):
    if not 1 <= self.rows <= MAX_ROWS:
      raise ValueError(
        f'rows is {self.rows}; wanted 1 to {MAX_ROWS}: calls are padded to it,'
        ' so more rows than there are windows only cost time and memory.'
      )

  def prefix_frames(self, target: specs.Stream) -> int:
    """Number of frames of a stage's target that its prefix has."""
    return round(self.prefix_seconds * target.rate_hz)


def windows(
  stage: specs.StageSpec, prefix_share: float = 0.0, rows: int = 1
) -> Windows:
  """Windows whose prefix is so long that the next begins on whole frames.

  A window that began between two frames of a stream would be read beside its
  place: by half a second, of pictures at 1 Hz.

  >>> from v2meow_jax import stages
  >>> windows(stages.coarse(), 0.25).prefix_seconds
  2.52

  `prefix_share` is the least part of a window, which is a crop of the stage,
  that the one before has written; the prefix is shorter than the crop.
  """
  rates = [
    fractions.Fraction(s.rate_hz).limit_denominator(1000)
    for s in (*stage.inputs, stage.target)
    if s.rate_hz
  ]
  # The least common multiple of the lengths of the frames.
  step = fractions.Fraction(
    math.lcm(*(r.denominator for r in rates)),
    math.gcd(*(r.numerator for r in rates)),
  )
  crop = fractions.Fraction(stage.crop_seconds).limit_denominator(1000)
  wanted = crop * fractions.Fraction(prefix_share).limit_denominator(1000)
  seconds = float(min(math.ceil(wanted / step) * step, crop - step))
  return Windows(prefix_seconds=seconds, rows=rows)
