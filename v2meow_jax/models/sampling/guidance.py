"""Classifier-free guidance: logits with and without a condition, as one row.

The logits of a row are l(without) + w * (l(with) - l(without)): Ho and Salimans
2022, https://arxiv.org/abs/2207.12598. Style and video have weights of their
own, and where both are guided one is taken away after the other, as in Brooks
et al. 2023, https://arxiv.org/abs/2211.09800: the video first. So what the video
adds is what it adds to that style; taken away from no style at all, it would
bring the style that most music of such a video has, and a strong weight of the
video would drown the prompt. What is taken away is zeros, as dropped in
training; of a style it may be a negative one instead.
"""

from collections.abc import Mapping
import dataclasses

import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax.models.sampling import options

Inputs = Mapping[str, jax.Array]


def style_streams(spec: specs.StageSpec) -> list[str]:
  """Names of the inputs that are one vector for a whole clip."""
  return [s.name for s in spec.feature_inputs if s.is_static]


def negative_streams(
  spec: specs.StageSpec, sampling: options.Sampling
) -> list[str]:
  """Names of the styles that a sampler is given a negative of.

  None where style is not guided; what makes programs ready and what calls them
  both ask here, for a call with other arguments is another program.
  """
  is_guided = sampling.style_guidance not in (None, 1)
  return style_streams(spec) if is_guided else []


def video_streams(spec: specs.StageSpec) -> list[str]:
  """Names of the continuous inputs that go along with time."""
  return [s.name for s in spec.moving_inputs]


def active(
  sampling: options.Sampling, spec: specs.StageSpec
) -> options.Sampling:
  """Options without a guidance that changes nothing: of 1, or of no stream.

  A guidance costs a pass of the network, so that these are left out before
  anything is compiled.
  """
  changes = {}
  for name, streams in (
    ('style_guidance', style_streams(spec)),
    ('video_guidance', video_streams(spec)),
  ):
    weight = getattr(sampling, name)
    # Inside jax.jit it is an array without a value.
    is_one = isinstance(weight, int | float) and weight == 1
    if is_one or not streams:
      changes[name] = None
  return dataclasses.replace(sampling, **changes)


def branches(
  spec: specs.StageSpec,
  inputs: Inputs,
  sampling: options.Sampling,
  negative: Inputs | None = None,
) -> tuple[dict[str, jax.Array], jax.Array | None]:
  """Inputs of every branch of every row, and the weight of each branch.

  Args:
    spec: Streams of the stage.
    inputs: 'encoder_inputs_<stream>' of every input, [b, ...].
    sampling: Options whose guidances act: see `active`.
    negative: 'encoder_inputs_<stream>' of styles to go away from, [b, ...];
      None: zeros.

  Returns:
    Inputs of shape [branches * b, ...], the whole first branch first; the
    float32[branches] weights, whose sum is 1, or None with one branch.
  """
  style, video = sampling.style_guidance, sampling.video_guidance
  if style is None and video is None:
    return dict(inputs), None
  no_video = dict(inputs)
  for name in video_streams(spec):
    key = f'encoder_inputs_{name}'
    no_video[key] = jnp.zeros_like(inputs[key])
  no_style = dict(inputs if video is None else no_video)
  for name in style_streams(spec):
    key = f'encoder_inputs_{name}'
    no_style[key] = jnp.zeros_like(inputs[key])
    if negative is not None:
      no_style[key] = jnp.asarray(negative[key])
  if video is None:
    made, weights = [inputs, no_style], [style, 1.0 - style]
  elif style is None:
    made, weights = [inputs, no_video], [video, 1.0 - video]
  else:
    made = [inputs, no_video, no_style]
    weights = [video, style - video, 1.0 - style]
  joined = {key: jnp.concatenate([b[key] for b in made]) for key in inputs}
  return joined, jnp.stack([jnp.asarray(w, jnp.float32) for w in weights])


def combine(logits: jax.Array, weights: jax.Array | None) -> jax.Array:
  """Logits of each row, [b, ...], out of those of [branches * b, ...]."""
  if weights is None:
    return logits
  stacked = logits.reshape(len(weights), -1, *logits.shape[1:])
  return jnp.tensordot(weights, stacked, 1)


def repeat(rows: jax.Array, weights: jax.Array | None) -> jax.Array:
  """Rows [b, ...] for every branch, [branches * b, ...]."""
  if weights is None:
    return rows
  return jnp.tile(rows, (len(weights),) + (1,) * (rows.ndim - 1))
