"""Loads the style embedding of a system as a network of the metrics.

The one of the embedded system needs no download. It is this project's own:
compare checkpoints with it, and nothing with the papers' figures.
"""

from __future__ import annotations

import pathlib

from v2meow_jax.evaluation.listening import joint_embedding
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.inference import system as system_lib


def load(
  name: str, path: pathlib.Path | None
) -> joint_embedding.JointEmbedding:
  """Loads the style embedding of a system.

  Args:
    name: Name of the network of the embedded system.
    path: Folder of another system, which names the network; None: the embedded
      one.

  Returns:
    The network.

  Raises:
    DamagedSystem: The folder is no whole system.
  """
  system = system_lib.load(path)
  return joint_embedding.JointEmbedding(
    name=f'{system.config["name"]}-style' if path else name,
    sample_rate_hz=style_features.SAMPLE_RATE_HZ,
    digest=system.digest,
    dim=system.extractors['style'].stream.dim,
    embed=system.extractors['style'],
    embed_words=system.extractors['style_text'],
  )
