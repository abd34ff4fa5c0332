"""A stage of tokens with the objective and sampler that gin usually names."""

from v2meow_jax.models import stage_model
from v2meow_jax.models.objectives import next_token
from v2meow_jax.models.sampling import autoregressive


def make(spec, config, **objective):
  """A model of these streams and sizes; `objective` as of `NextToken`."""
  return stage_model.StageModel(
    spec,
    config,
    next_token.NextToken(**objective),
    autoregressive.Autoregressive(),
  )
