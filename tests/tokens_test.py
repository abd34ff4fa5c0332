"""Codes and ids: a bijection within a level, and an error outside it."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from tests.fakes import token_stage
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax import tokens

FINE = stages.fine()


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_ids_give_back_their_codes(frames, seed):
  codes = np.random.default_rng(seed).integers(0, 1024, (2, frames, 8))
  ids = tokens.IdSpace(FINE).codes_to_ids(codes, FINE.target)
  assert ids.shape == (2, frames * 8)
  np.testing.assert_array_equal(
    tokens.IdSpace(FINE).ids_to_codes(ids, FINE.target), codes
  )


def test_ids_run_level_by_level_within_a_frame():
  # 2 reserved + 4 x 1024 coarse ids come before the first fine level.
  codes = np.zeros((2, 8), int)
  ids = tokens.IdSpace(FINE).codes_to_ids(codes, FINE.target)
  np.testing.assert_array_equal(ids[:8], 4098 + 1024 * np.arange(8))
  np.testing.assert_array_equal(ids[8:], ids[:8])


def test_ids_to_codes_names_the_misplaced_id():
  ids = tokens.IdSpace(FINE).codes_to_ids(np.zeros((3, 8), int), FINE.target)
  ids[9], ids[10] = ids[10], ids[9]
  with pytest.raises(ValueError, match='frame 1, level 1 of stream .fine.'):
    tokens.IdSpace(FINE).ids_to_codes(ids, FINE.target)


@pytest.mark.parametrize('bad', [-1, 1024])
def test_a_code_outside_the_codebook_is_refused(bad):
  with pytest.raises(ValueError, match=f'code {bad} of stream .fine.'):
    tokens.IdSpace(FINE).codes_to_ids(np.full((1, 8), bad), FINE.target)


def test_codes_with_the_wrong_number_of_levels_are_refused():
  with pytest.raises(ValueError, match=r'\[\.\.\., frames, 8\]'):
    tokens.IdSpace(FINE).codes_to_ids(np.zeros((5, 4), int), FINE.target)


def test_ids_that_are_not_whole_frames_are_refused():
  with pytest.raises(ValueError, match='whole frames'):
    tokens.IdSpace(FINE).ids_to_codes(np.full(7, 4098), FINE.target)


def test_levels_part_the_targets_ids():
  masks = token_stage.level_masks(FINE)
  assert masks.shape == (8, tokens.IdSpace(FINE).vocab_size)
  assert masks.sum(axis=1).tolist() == [1024] * 8
  allowed = masks.any(axis=0)
  assert masks.sum() == allowed.sum() == FINE.target.num_ids
  assert not allowed[: specs.NUM_RESERVED_IDS].any()


def test_a_code_has_one_id_in_every_cell_of_a_picture():
  stage = stages.coarse(inputs=('semantic', 'vit_vqgan'))
  stream = stages.PAPER['vit_vqgan']
  codes = np.tile([0, 8191], (2, 128))
  ids = tokens.IdSpace(stage).codes_to_ids(codes, stream)
  # 2 reserved and 1,024 semantic ids come before.
  assert ids.tolist() == [1026, 1026 + 8191] * 256
  np.testing.assert_array_equal(
    tokens.IdSpace(stage).ids_to_codes(ids, stream), codes
  )
