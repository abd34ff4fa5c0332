"""Codes of a sidecar are those that were written, or refused."""

import base64
import json
import zlib

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.inference.films import recorded_codes

CODES = np.random.default_rng(0).integers(0, 65_536, (250, 4)).astype(np.int32)


def test_codes_come_back():
  codes = recorded_codes.unpack(recorded_codes.pack(CODES))
  np.testing.assert_array_equal(codes, CODES)
  assert codes.dtype == np.int32


def bomb(size):
  return base64.b64encode(zlib.compress(bytes(size))).decode()


@pytest.mark.parametrize(
  'packed',
  [
    None,
    {},
    {'shape': [2, 2]},
    {'shape': [2], 'zlib': ''},
    {'shape': [2, 2], 'zlib': 'no base64'},
    {'shape': [2, 2], 'zlib': 'AAAA'},
    {'shape': [2, 2], 'zlib': bomb(7)},
    {'shape': [2, 2], 'zlib': bomb(10_000_000)},
    {'shape': [10**9, 10**9], 'zlib': bomb(8)},
    {'shape': [-2, -2], 'zlib': bomb(8)},
    {'shape': ['2', 2], 'zlib': bomb(8)},
  ],
)
def test_what_is_none_is_refused(packed):
  with pytest.raises(ValueError, match='recorded codes are damaged'):
    recorded_codes.unpack(packed)


def test_the_digest_of_a_sound_is_that_of_its_samples():
  samples = np.zeros(2 * media.PIECE_SAMPLES + 5, np.float32)
  sound = media.Audio(samples=samples, rate_hz=8000)
  before = recorded_codes.sound_sha256(sound)
  assert before == recorded_codes.sound_sha256(sound)
  samples[-1] = 1e-7
  assert before != recorded_codes.sound_sha256(sound)


FACTS = {
  'output_sha256': 'a',
  'seed': 1,
  'prompt': 'jazz',
  'plan': {'beats': [{'seconds': 0.1}]},
  'sampling': {'semantic': {'temperature': 0.9}},
  'video': 'in.mp4',
}


@pytest.mark.parametrize(
  'change',
  [
    {'output_sha256': 'b'},
    {'seed': 2},
    {'prompt': None},
    {'plan': {'beats': [{'seconds': 0.2}]}},
    {'sampling': {'semantic': {'temperature': 1.0}}},
    {'finish_options': {'fade_in_seconds': 1.0}},
  ],
)
def test_facts_that_act_on_a_stretch_are_those_that_were_written(change):
  digest = recorded_codes.facts_sha256(FACTS)
  assert recorded_codes.facts_sha256({**FACTS, **change}) != digest


def test_facts_come_back_from_json_and_others_may_change():
  written = json.dumps({**FACTS, 'video': 'moved.mp4'}, indent=1)
  digest = recorded_codes.facts_sha256(FACTS)
  assert recorded_codes.facts_sha256(json.loads(written)) == digest
