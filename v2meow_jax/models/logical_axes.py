"""Names of the axes of parameters, which rules split over a mesh."""

from __future__ import annotations

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
