"""Names of the axes of parameters, which rules split over a mesh."""

from flax import linen as nn
import jax

# Names as in T5X, so that its rules apply; the last five are ours.
BATCH = 'batch'
EMBED = 'embed'
HEADS = 'heads'
KV = 'kv'
MLP = 'mlp'
VOCAB = 'vocab'
RELPOS_BUCKETS = 'relpos_buckets'
LAYERS = 'layers'
INPUT_DIM = 'input_dim'
TIME_BUCKETS = 'time_buckets'
LEVELS = 'levels'
LENGTH = 'length'
JOINT_DIM = 'joint_dim'

NAMES = (
  BATCH,
  EMBED,
  HEADS,
  KV,
  MLP,
  VOCAB,
  RELPOS_BUCKETS,
  LAYERS,
  INPUT_DIM,
  TIME_BUCKETS,
  LEVELS,
  LENGTH,
  JOINT_DIM,
)


def split_rows(x: jax.Array) -> jax.Array:
  """Keeps activations split by rows where the trainer set rules, else as is.

  Without this, XLA may give every device all rows and a part of their width,
  as FSDP splits parameters.
  """
  return nn.with_logical_constraint(x, (BATCH, *(None,) * (x.ndim - 1)))
