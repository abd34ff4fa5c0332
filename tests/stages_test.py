"""The paper's streams, and those of another codec in SoundStream's place."""

import dataclasses

import pytest

from v2meow_jax import parts
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax import tokens


def test_the_paper_s_streams_are_the_default():
  assert stages.paper_streams() == stages.PAPER


def test_another_codec_changes_coarse_and_fine_alone():
  # EnCodec at 32 kHz: 50 Hz, four levels of 2,048 codes.
  table = stages.paper_streams(
    acoustic_codebook_size=2048, num_coarse_levels=1, num_fine_levels=3
  )
  changed = {name for name in table if table[name] != stages.PAPER[name]}
  assert changed == {'coarse', 'fine'}
  assert stages.acoustic(table) == specs.TokenSpec(
    name='acoustic', codebook_size=2048, num_codebooks=4, rate_hz=50.0
  )
  fine = stages.fine(streams=table)
  assert fine.feature_lengths() == {'coarse': 150, 'fine': 450}
  assert tokens.IdSpace(fine).num_ids == 2 + 4 * 2048
  assert fine.target.first_codebook == 1


def test_another_network_s_patches_change_their_width_alone():
  table = stages.paper_streams(patch_dim=768, slow_patch_dim=768)
  changed = {name for name in table if table[name] != stages.PAPER[name]}
  assert changed == {'patches', 'slow_patches'}
  for name in changed:
    wanted = dataclasses.replace(stages.PAPER[name], dim=768)
    assert table[name] == wanted


def test_a_rate_without_whole_frames_says_so():
  with pytest.raises(ValueError, match=r'86.1328 Hz has no crops of whole'):
    stages.paper_streams(acoustic_rate_hz=44_100 / 512, num_fine_levels=5)


def test_a_codec_without_whole_frames_says_so_too():
  class Codec:
    stream = specs.TokenSpec(
      name='acoustic', codebook_size=1024, num_codebooks=9, rate_hz=44_100 / 512
    )

  with pytest.raises(ValueError, match='no crops of whole frames.*44.1 kHz'):
    parts.check_codec(Codec, stages.acoustic(stages.PAPER))
