"""Batches of prompts and captions of songs, which teach a style network words."""

from collections.abc import Iterator
import itertools
from typing import Any

from etils import epath
import jax.numpy as jnp
import numpy as np

from v2meow_jax.data import order
from v2meow_jax.extractors.embedded import joint_embedding
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.synthetic.songs import song as song_lib
from v2meow_jax.synthetic.songs.words import song_captions
from v2meow_jax.synthetic.songs.words import song_prompts
from v2meow_jax.training.checkpoints import checkpoints

_SECONDS = 60.0
# Songs of a split are numbered from here on.
_FIRST = {'train': 0, 'validation': 500_000_000}


class SynonymBatches:
  """Captions and prompts of songs that nobody has to play.

  Half of the rows are captions, so that what is known stays known. Batch k
  depends on seed and k alone.
  """

  def __init__(
    self,
    model_dir: epath.PathLike,
    *,
    num: int,
    batch_size: int,
    seed: int,
    split: str,
  ):
    """Draws the songs and embeds their captions.

    Args:
      model_dir: MODEL_DIR of the style network to learn from.
      num: Number of songs, at least 1.
      batch_size: Number of texts in a batch, at least 1.
      seed: Seed of the songs and of the batches.
      split: 'train', or 'validation', which has other songs.

    Raises:
      ValueError: `num` or `batch_size` is below 1, or there is no such split.
      checkpoints.CheckpointError: There is no such run.
    """
    if num < 1 or batch_size < 1:
      raise ValueError(
        f'num is {num} and batch_size is {batch_size}; wanted at least 1 each.'
      )
    if split not in _FIRST:
      raise ValueError(f'split is {split!r}; wanted one of {sorted(_FIRST)}.')
    self._settings = {
      'num': num,
      'batch_size': batch_size,
      'seed': seed,
      'split': split,
    }
    params = checkpoints.restore_variables(model_dir)[0]['params']
    songs = [
      song_lib.sample(seed, _FIRST[split] + i, _SECONDS) for i in range(num)
    ]
    captions = _features([song_captions.caption(song) for song in songs])
    prompts = _features([song_prompts.prompt(song) for song in songs])
    wanted = joint_embedding.towers_of(params).apply(
      {'params': params},
      jnp.asarray(captions),
      method=joint_embedding.StyleTowers.embed_text,
    )
    self._arrays = {
      'text_features': np.concatenate([captions, prompts]),
      'wanted': np.tile(np.asarray(wanted), (2, 1)),
    }

  def describe(self) -> dict[str, Any]:
    """Describes what determines the examples, as JSON data."""
    return dict(self._settings)

  def __len__(self) -> int:
    """Counts the texts."""
    return len(self._arrays['wanted'])

  def __call__(
    self, start_step: int = 0, shard: tuple[int, int] = (0, 1)
  ) -> Iterator[dict[str, np.ndarray]]:
    """Iterates over {name: array[rows, ...]} without end, from a step on."""
    rows = order.shard_rows(self._settings['batch_size'], shard)
    for step in itertools.count(start_step):
      rng = np.random.default_rng([self._settings['seed'], step])
      drawn = rng.integers(len(self), size=self._settings['batch_size'])
      chosen = drawn[rows]
      yield {name: x[chosen] for name, x in self._arrays.items()}


def _features(texts: list[str]) -> np.ndarray:
  return np.stack([style_features.text_features(text) for text in texts])
