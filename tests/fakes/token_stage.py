"""A stage of tokens with the objective and sampler that gin usually names."""

import numpy as np

from v2meow_jax import tokens
from v2meow_jax.models import stage_model
from v2meow_jax.models.objectives import next_token
from v2meow_jax.models.sampling import autoregressive


def level_masks(spec):
  """bool[levels, vocab_size]: ids that may stand at each level of the target."""
  space = tokens.IdSpace(spec)
  ids = np.arange(space.vocab_size)
  low = space.level_offsets(spec.target)[:, None]
  return (ids >= low) & (ids < low + spec.target.codebook_size)


def make(spec, config, **objective):
  """A model of these streams and sizes; `objective` as of `NextToken`."""
  return stage_model.StageModel(
    spec,
    config,
    next_token.NextToken(**objective),
    autoregressive.Autoregressive(),
  )
