"""Frames of many clips, mixed, in blocks that fit into memory."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import json
import pathlib

from absl import logging
import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors import clustered_tokens
from v2meow_jax.pretrained.audio import semantic_encoder

LEDGER_NAME = 'rejected.jsonl'


class TooManyRejected(ValueError):
  """So many clips gave no frames that something else must be wrong."""


class Ledger:
  """Clips that gave no frames, and why.

  Attributes:
    reasons: By clip.
  """

  def __init__(self, folder: pathlib.Path | None, most: float):
    """Takes over what a folder's ledger has.

    Args:
      folder: Keeps the ledger, one json object a line; None: memory alone.
      most: Clips that may be rejected.
    """
    self._file = folder / LEDGER_NAME if folder else None
    self._most = most
    self.reasons: dict[str, str] = {}
    if self._file and self._file.exists():
      *lines, unfinished = self._file.read_text('utf-8').split('\n')
      rows = map(json.loads, lines)
      self.reasons = {row['clip']: row['error'] for row in rows}
      if unfinished:
        whole = ''.join(f'{line}\n' for line in lines)
        self._file.write_text(whole, 'utf-8')

  def reject(self, clip: str, error: Exception) -> None:
    """Adds a clip; TooManyRejected when there are more than may be."""
    reason = f'{type(error).__name__}: {error}'
    logging.warning('No frames of %s: %s', clip, reason)
    is_new = clip not in self.reasons
    self.reasons[clip] = reason
    if self._file and is_new:
      self._file.parent.mkdir(parents=True, exist_ok=True)
      with self._file.open('a', encoding='utf-8') as f:
        f.write(json.dumps({'clip': clip, 'error': reason}) + '\n')
    if len(self.reasons) > self._most:
      raise TooManyRejected(
        f'clips that gave no frames: {len(self.reasons)}, more than'
        f' {self._most:g}; the last is {clip}: {reason}. Mend them or leave them'
        ' out, or raise max_rejected.'
      ) from error


class ClipFrames:
  """Reads and hears clips: names -> rows."""

  def __init__(
    self,
    clips: Sequence[str],
    read_audio: Callable[[str], media.Audio],
    encoder: semantic_encoder.SemanticEncoder,
    ledger: Ledger,
    *,
    seed: int,
    clip_seconds: float,
  ):
    """Nothing is read yet.

    Args:
      clips: Names or paths.
      read_audio: Gives the audio of a name.
      encoder: Encoder of audio, which gives the frames.
      ledger: Ledger of clips for which one of the two raised.
      seed: Seed of the stretches and of the order.
      clip_seconds: Longest stretch of one clip.
    """
    self.clips = clips
    self._read_audio = read_audio
    self._encoder = encoder
    self._ledger = ledger
    self._seed = seed
    self._clip_seconds = clip_seconds

  def rows(self, clip: int, epoch: int) -> np.ndarray | None:
    """float32[frames, dim] of a clip, of a drawn stretch of it when it is long.

    Another pass, `epoch`, draws another stretch. None: it went to the ledger.
    """
    name = self.clips[clip]
    rng = np.random.default_rng([self._seed, epoch, clip])
    # Anything that goes wrong with a clip is its own affair.
    try:
      audio = self._read_audio(name)
      length = round(self._clip_seconds * audio.rate_hz)
      first = rng.integers(max(len(audio.samples) - length, 0) + 1)
      stretch = media.Audio(
        samples=audio.samples[first : first + length], rate_hz=audio.rate_hz
      )
      return clustered_tokens.encode(self._encoder, stretch)
    except Exception as e:
      self._ledger.reject(name, e)
      return None

  def blocks(
    self,
    order: np.ndarray,
    epoch: int,
    position: int,
    *,
    block_rows: int,
    on_clip: Callable[[int], None],
  ) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of clip after clip; those of a block are mixed.

    Args:
      order: int[n], numbers of clips.
      epoch: Number of the pass, as in `rows`.
      position: Place in `order` to begin at.
      block_rows: Number of rows; the clip that reaches it ends a block.
      on_clip: Called with the position behind each clip.

    Yields:
      float32[rows, dim] and the position behind it.
    """
    pending, num_rows = [], 0
    for behind in range(position + 1, len(order) + 1):
      rows = self.rows(int(order[behind - 1]), epoch)
      on_clip(behind)
      if rows is not None:
        pending.append(rows)
        num_rows += len(rows)
      if num_rows >= block_rows or (num_rows and behind == len(order)):
        block = np.concatenate(pending)
        pending, num_rows = [], 0
        # In place: a block is large.
        np.random.default_rng([self._seed, epoch, behind]).shuffle(block)
        yield block, behind
