"""Parameters of one run as the start of another: fine-tuning."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models.blocks import layer_stacking

Params = Mapping[str, Any]  # A nested dict of arrays, not boxed.


def warm_start(
  params: Params, source: Params
) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
  """Parameters that begin as those of another run, where they can.

  A decoder-only and an encoder-decoder model share everything of the decoder
  but cross-attention. Equal shapes of embedding and logits do not prove that
  an id means the same in both: `align_ids` sees to that.

  Args:
    params: Fresh; its layers may be stacked, whatever those of `source` are.
    source: Parameters of the other run.

  Returns:
    `params` with every array of `source` that has its name and shape, in the
    type that it had; the names of those, like 'decoder_0/mlp/wo'; the names of
    those that stay fresh.
  """
  stacked = any(name in params for name in layer_stacking.STACKS)
  change = layer_stacking.stack if stacked else layer_stacking.unstack
  theirs = traverse_util.flatten_dict(change(source), sep='/')
  ours = traverse_util.flatten_dict(dict(params), sep='/')
  taken = tuple(
    sorted(
      name
      for name, value in ours.items()
      if name in theirs and jnp.shape(theirs[name]) == jnp.shape(value)
    )
  )
  left = tuple(sorted(set(ours) - set(taken)))
  ours |= {n: jnp.asarray(theirs[n], ours[n].dtype) for n in taken}
  return traverse_util.unflatten_dict(ours, sep='/'), taken, left


def align_ids(
  source: Params,
  source_spec: specs.StageSpec,
  params: Params,
  spec: specs.StageSpec,
) -> dict[str, Any]:
  """Moves the rows of ids and levels to where another stage has them.

  Stages that read the same token streams in the same order have the same ids,
  whatever continuous streams they read besides. Otherwise a stream begins
  elsewhere, or only one of the stages knows it.

  Args:
    source: Parameters of a run of `source_spec`.
    source_spec: Streams of the source.
    params: Fresh parameters of `spec`; they stay in the rows of streams that
      the source does not know.
    spec: Streams of the new run.

  Returns:
    `source`, its tables in the layout and the size of those of `params`.
  """
  ids = [(0, 0, specs.NUM_RESERVED_IDS)]
  levels = []
  ours, theirs = _places(spec), _places(source_spec)
  for stream in set(ours) & set(theirs):
    (id_, level), (their_id, their_level) = ours[stream], theirs[stream]
    ids.append((id_, their_id, stream.num_ids))
    levels.append((level, their_level, stream.num_codebooks))
  moves = {'token_embedding': ids, 'logits': ids, 'level_embedding': levels}
  aligned = dict(source)
  for name, rows in moves.items():
    if name in source and name in params:
      aligned[name] = _move_rows(source[name], params[name], rows)
  return aligned


def _places(
  spec: specs.StageSpec,
) -> dict[specs.TokenSpec, tuple[int, int]]:
  """First id and first level of each token stream of a stage."""
  places = {}
  level = 0
  for stream in spec.token_streams:
    places[stream] = (tokens.IdSpace(spec).offset(stream), level)
    level += stream.num_codebooks
  return places


def _move_rows(
  source: jax.Array, table: jax.Array, rows: list[tuple[int, int, int]]
) -> jax.Array:
  """`table` with rows (to, from, how many) of a table as wide, or `source`."""
  if source.shape[1:] != table.shape[1:]:
    return source
  table = jnp.asarray(table)
  for to, start, count in rows:
    table = table.at[to : to + count].set(source[start : start + count])
  return table
