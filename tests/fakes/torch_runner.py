"""Forward passes in torch as functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

State = Mapping[str, np.ndarray]


def prepared(
  forward: Callable, state: State, config: Any, device: str = 'cpu'
) -> Callable[[np.ndarray], np.ndarray]:
  """A network of its weights: arrays in, arrays out.

  Args:
    forward: One of this module.
    state: Its weights.
    config: Its sizes.
    device: Of torch.

  Returns:
    A function of the inputs that `forward` describes.
  """
  import torch

  weights = {k: torch.from_numpy(x).to(device) for k, x in state.items()}

  def run(x):
    with torch.inference_mode():
      return (
        forward(weights, config, torch.from_numpy(x).to(device)).cpu().numpy()
      )

  return run
