"""Loads the style embedding of a system as a network of the metrics.

The one of the tiny system needs no download. It is this project's own:
compare checkpoints with it, and nothing with the papers' figures.
"""

import pathlib

from v2meow_jax.evaluation.listening import joint_embedding
from v2meow_jax.inference import system as system_lib


def load(
  name: str, path: pathlib.Path | None
) -> joint_embedding.JointEmbedding:
  """Loads the style embedding of a system.

  Args:
    name: Name of the network of the tiny system.
    path: Folder of another system, which names the network; None: the embedded
      one.

  Returns:
    The network.

  Raises:
    DamagedSystem: The folder is no whole system.
  """
  system = system_lib.load(path or 'tiny')
  return joint_embedding.JointEmbedding(
    name=f'{system.config["name"]}-style' if path else name,
    sample_rate_hz=system.styles['style'].sample_rate_hz,
    digest=system.digest,
    dim=system.styles['style'].stream.dim,
    embed=system.styles['style'],
    embed_words=system.styles['style_text'],
  )
