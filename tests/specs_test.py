"""Lengths, id ranges and vocabulary sizes, against the published figures."""

import dataclasses

import pytest

from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax import tokens


@pytest.mark.parametrize(
  ('stage', 'lengths', 'vocab_size'),
  [
    (
      stages.semantic(),
      {'clip': 10, 'flow': 10, 'style': 1, 'semantic': 250},
      1152,
    ),
    (stages.coarse(), {'semantic': 250, 'coarse': 2000}, 5248),
    (stages.fine(), {'coarse': 600, 'fine': 1200}, 12416),
  ],
)
def test_the_papers_stages_have_the_papers_lengths(stage, lengths, vocab_size):
  assert stage.feature_lengths() == lengths
  assert tokens.IdSpace(stage).vocab_size == vocab_size


def test_ten_seconds_of_the_tiny_system_are_850_steps():
  tiny = stages.TINY
  steps = tiny['semantic'].length(10.0) + tiny['coarse'].length(10.0)
  # Fine windows of 2 s are sampled side by side.
  assert steps + tiny['fine'].length(2.0) == 850


def test_crop_that_is_not_whole_frames_is_refused():
  with pytest.raises(ValueError, match="'motion'.*crop_seconds"):
    stages.TINY['motion'].length(1.03)


def test_an_unknown_stream_is_named_with_the_known_ones():
  with pytest.raises(ValueError, match="'clop'.*clip"):
    stages.semantic(inputs=('clop',))


def test_a_continuous_target_has_frames_and_no_ids():
  stage = specs.StageSpec(
    name='semantic',
    inputs=(stages.PAPER['clip'], PICTURE),
    target=specs.FeatureSpec(name='semantic', dim=64, rate_hz=25.0),
    crop_seconds=10.0,
  )
  lengths = {'clip': 10, 'vit_vqgan': 2_560, 'semantic': 250}
  assert stage.feature_lengths() == lengths
  assert stage.token_streams == stage.token_inputs == (PICTURE,)
  assert tokens.IdSpace(stage).num_ids == 2 + 8192
  with pytest.raises(KeyError, match='semantic'):
    tokens.IdSpace(stage).offset(stage.target)
  assert specs.stage_from_dict(specs.stage_to_dict(stage)) == stage


def test_patches_of_a_frame_are_positions_and_old_json_has_none():
  stream = specs.FeatureSpec(name='x', dim=3, rate_hz=2.0, num_positions=4)
  assert stream.frame_shape == (4, 3)
  assert (stream.num_frames(5.0), stream.length(5.0)) == (10, 40)
  old = specs.stream_from_dict({'name': 'x', 'dim': 3, 'rate_hz': 2.0})
  assert old == dataclasses.replace(stream, num_positions=1)
  assert old.frame_shape == (3,)


def test_a_stream_used_twice_is_refused():
  with pytest.raises(ValueError, match='twice'):
    stages.semantic(inputs=('clip', 'clip'))


def test_streams_of_a_stage_have_disjoint_ids():
  stage = stages.fine()
  ranges = [
    (
      tokens.IdSpace(stage).offset(s),
      tokens.IdSpace(stage).offset(s) + s.num_ids,
    )
    for s in stage.token_streams
  ]
  assert ranges[0][0] == specs.NUM_RESERVED_IDS
  assert ranges[0][1] == ranges[1][0]
  assert (
    ranges[1][1]
    == tokens.IdSpace(stage).num_ids
    <= tokens.IdSpace(stage).vocab_size
  )


def test_a_stream_without_ids_is_named():
  with pytest.raises(KeyError, match='coarse'):
    tokens.IdSpace(stages.semantic()).offset(stages.PAPER['coarse'])


@pytest.mark.parametrize('make', [stages.semantic, stages.coarse, stages.fine])
def test_a_stage_survives_json(make):
  stage = make()
  assert specs.stage_from_dict(specs.stage_to_dict(stage)) == stage


PICTURE = stages.PAPER['vit_vqgan']


def test_the_cells_of_a_picture_share_one_range_of_ids():
  stage = stages.semantic(inputs=('vit_vqgan', 'flow', 'style'))
  assert stage.feature_lengths()['vit_vqgan'] == 10 * 16 * 16
  assert tokens.IdSpace(stage).offset(PICTURE) == 2
  assert tokens.IdSpace(stage).offset(stage.target) == 2 + 8192
  assert (
    tokens.IdSpace(stage).vocab_size == 9344
  )  # 2 + 8,192 + 1,024, in units of 128.


def test_a_picture_of_several_levels_is_refused():
  with pytest.raises(ValueError, match='256 positions and 2 codebooks'):
    dataclasses.replace(PICTURE, num_codebooks=2)


def test_a_stage_that_writes_pictures_is_refused():
  with pytest.raises(ValueError, match="cannot write 'vit_vqgan'"):
    specs.StageSpec(name='paint', inputs=(), target=PICTURE, crop_seconds=1.0)
