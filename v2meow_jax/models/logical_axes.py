"""Names of parameter axes, and which mesh axis each one is split over."""

from __future__ import annotations

# Names as in T5X, so that its rules apply; the last three are ours.
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
)


def data_parallel_rules(
  mesh_axis: str = 'data',
) -> tuple[tuple[str, str | None], ...]:
  """Rules that split the batch and copy every parameter.

  Args:
    mesh_axis: Of the mesh, over which the batch is split.

  Returns:
    (logical axis, mesh axis) pairs for `flax.linen.logical_axis_rules`.
  """
  return tuple((n, mesh_axis if n == BATCH else None) for n in NAMES)
