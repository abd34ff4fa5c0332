"""Samples a flow: follows its velocity from noise to frames.

The network of a stage gives the velocity at a point and a time; a solver walks
from time 0, noise, to time 1, data, in equal steps. All frames of a window are
written at once.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

Inputs = Mapping[str, jax.Array]
# (point, time) -> velocity, of the shape of the point.
Velocity = Callable[[jax.Array, jax.Array], jax.Array]
# (velocity, point, time, length of the step) -> the point after the step.
Solver = Callable[[Velocity, jax.Array, jax.Array, jax.Array], jax.Array]


def euler(velocity, x, time, step):
  """Explicit Euler: one call of the network a step, error of order 1."""
  return x + step * velocity(x, time)


def midpoint(velocity, x, time, step):
  """The midpoint rule: two calls of the network a step, error of order 2."""
  half = x + step / 2 * velocity(x, time)
  return x + step * velocity(half, time + step / 2)


def heun(velocity, x, time, step):
  """Heun's method: two calls of the network a step, error of order 2."""
  first = velocity(x, time)
  second = velocity(x + step * first, time + step)
  return x + step / 2 * (first + second)


SOLVERS: dict[str, Solver] = {
  'euler': euler,
  'midpoint': midpoint,
  'heun': heun,
}


def integrate(
  velocity: Velocity, x: jax.Array, steps: int | jax.Array, solver: str
) -> jax.Array:
  """Walks from time 0 to time 1.

  >>> integrate(lambda x, t: jnp.ones_like(x), jnp.zeros(2), 4, 'heun').tolist()
  [1.0, 1.0]

  Args:
    velocity: Velocity at a point and a time.
    x: Point at time 0.
    steps: Number of equal steps.
    solver: Name of one of `SOLVERS`.

  Returns:
    The point at time 1.
  """
  step = 1 / jnp.asarray(steps, jnp.float32)
  return jax.lax.fori_loop(
    0,
    steps,
    lambda i, x: SOLVERS[solver](velocity, x, i * step, step),
    x,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSampling:
  """Samples a stage whose network gives velocities, as a `dit.Dit`.

  Attributes:
    sampling: Options that hold unless others are given.
    windows: Cover of a clip longer than a crop.
    solver: Name of one of `SOLVERS`.
    steps: Number of steps unless the options name another.
  """

  sampling: options.Sampling = options.AS_TRAINED
  windows: options.Windows = options.Windows()
  solver: str = 'euler'
  steps: int = 25

  def __post_init__(self):
    if self.solver not in SOLVERS:
      raise ValueError(
        f'solver is {self.solver!r}; wanted one of {sorted(SOLVERS)}.'
      )
    if self.steps < 1:
      raise ValueError(f'steps is {self.steps}; wanted 1 or more.')

  def sample(
    self,
    network: Any,
    spec: specs.StageSpec,
    params: Any,
    inputs: Inputs,
    rngs: jax.Array,
    sampling: options.Sampling,
    *,
    prefix: jax.Array | None,
    num_frames: int,
    negative: Inputs | None = None,
  ) -> jax.Array:
    """Draws the target, all frames at once; see `stage_model.Sampler`.

    A temperature scales the noise at the start: below 1 the frames are nearer
    to what is usual. A shorter target is one of its own length, not the
    beginning of a longer one.
    """
    for name in ('top_k', 'top_p', 'max_run'):
      if getattr(sampling, name) is not None:
        raise ValueError(
          f'{name} was given, and stage {spec.name!r} writes no codes that it'
          ' could choose among; leave it out.'
        )
    inputs, weights = guidance.branches(spec, inputs, sampling, negative)
    if not isinstance(spec.target, specs.FeatureSpec):
      raise ValueError(
        f'stage {spec.name!r} writes codes of {spec.target.name!r}; a flow writes'
        ' a continuous stream, so name another sampler.'
      )
    if prefix is None:
      prefix = jnp.zeros((rngs.shape[0], 0, spec.target.dim), jnp.float32)
    steps = self.steps if sampling.steps is None else sampling.steps
    temperature = sampling.temperature
    return sample(
      dataclasses.replace(network, scan_layers=False).module(spec),
      layer_stacking.unstack(params),
      inputs,
      jnp.asarray(prefix, jnp.float32),
      rngs,
      jnp.asarray(steps),
      1.0 if temperature is None else temperature,
      weights,
      num_frames=num_frames,
      solver=self.solver,
    )


@functools.partial(jax.jit, static_argnames=('module', 'num_frames', 'solver'))
def sample(
  module: Any,
  params: Any,
  inputs: Inputs,
  prefix: jax.Array,
  rngs: jax.Array,
  steps: jax.Array,
  temperature: jax.Array | float,
  weights: jax.Array | None,
  *,
  num_frames: int,
  solver: str,
) -> jax.Array:
  """Draws frames; see `FlowSampling.sample`.

  Args:
    module: Network with the pieces of a `dit.Dit`: 'condition' of inputs, and
      'velocity' of a condition, frames, known frames and times.
    params: Parameters of the network.
    inputs: Inputs of all branches.
    prefix: float32[b, n, dim], known frames, n < num_frames.
    rngs: key[b]; the noise of a row is drawn with its key.
    steps: int32[], number of steps.
    temperature: Deviation of the noise.
    weights: float32[branches], as of `guidance.branches`; None: one branch.
    num_frames: Number of frames, those of the prefix included.
    solver: Name of one of `SOLVERS`.

  Returns:
    float32[b, num_frames, dim], which begin with the prefix.
  """
  spec = module.spec
  variables = {'params': params}
  # Drawn for a whole crop, so that a length changes nothing about the others.
  shape = (spec.target.num_frames(spec.crop_seconds), spec.target.dim)
  noise = jax.vmap(lambda rng: jax.random.normal(rng, shape))(rngs)
  x = temperature * noise[:, :num_frames]
  is_known = jnp.arange(num_frames) < prefix.shape[1]
  rest = ((0, 0), (0, num_frames - prefix.shape[1]), (0, 0))
  known_frames = jnp.pad(prefix, rest)
  condition = module.apply(variables, inputs, num_frames, method='condition')
  known = guidance.repeat(
    jnp.broadcast_to(is_known.astype(jnp.float32), x.shape[:2]), weights
  )

  def with_known(x):
    return jnp.where(is_known[:, None], known_frames, x)

  def velocity(x, time):
    frames = guidance.repeat(with_known(x), weights)
    times = jnp.full(len(frames), time, jnp.float32)
    v = module.apply(
      variables, condition, frames, known, times, method='velocity'
    )
    return guidance.combine(v.astype(jnp.float32), weights)

  return with_known(integrate(velocity, x, steps, solver))
