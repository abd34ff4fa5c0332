"""Attention equals that of torch, and jax's own."""

import jax
import numpy as np
import pytest

from v2meow_jax.pretrained.vision import attention


def heads(seed):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(2, 7, 3, 5)).astype(np.float32)


def test_heads_one_by_one_are_those_of_all_at_once():
  rows = heads(0), heads(1), heads(2)
  np.testing.assert_allclose(
    attention.full(*rows), jax.nn.dot_product_attention(*rows), atol=1e-6
  )


@pytest.mark.torch
def test_attention_is_that_of_torch():
  import torch

  rows = heads(0), heads(1), heads(2)
  moved = (torch.from_numpy(x).transpose(1, 2) for x in rows)
  wanted = torch.nn.functional.scaled_dot_product_attention(*moved)
  np.testing.assert_allclose(
    attention.full(*rows), wanted.transpose(1, 2).numpy(), atol=1e-6
  )
