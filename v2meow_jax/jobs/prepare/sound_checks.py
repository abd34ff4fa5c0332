"""Finds sound that teaches little: silence and clipping."""

from collections.abc import Mapping

import numpy as np

from v2meow_jax import media

BLOCK_SECONDS = 0.1  # ours: shorter than a rest in music.
# ours: a crop of such a clip is more likely without music than with it.
SILENT_SHARE = 0.5

SENTENCES = {
  'silent': '{:.0%} of its sound is silence',
  'clipped': '{:.2%} of its samples are at full scale',
}


def troubles(audio: media.Audio) -> dict[str, float]:
  """Measures what is wrong with a sound.

  Args:
    audio: Sound of a whole clip.

  Returns:
    For 'silent' the share of its time without sound and for 'clipped' the
    share of samples at full scale, of the channel that has most, where they
    are too large.
  """
  level = np.abs(audio.samples)
  block = max(1, round(BLOCK_SECONDS * audio.rate_hz))
  peaks = np.maximum.reduceat(level, np.arange(0, len(level), block))
  shares = {
    'silent': (float(np.mean(peaks <= media.SILENCE)), SILENT_SHARE),
    'clipped': (audio.clipped_share, media.CLIPPED_SHARE),
  }
  return {
    name: share for name, (share, most) in shares.items() if share >= most
  }


def sentence(found: Mapping[str, float]) -> str:
  """Says what `troubles` found, for people."""
  return ' and '.join(SENTENCES[name].format(x) for name, x in found.items())
