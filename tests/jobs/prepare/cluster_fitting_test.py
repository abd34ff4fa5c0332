"""`v2meow data fit` of a recipe finds the clusters that were planted in a manifest."""

import dataclasses
import json
import types

import numpy as np
import pytest
import soundfile

from v2meow_jax import specs
from v2meow_jax.clusters import clustering
from v2meow_jax.extractors import clustered_tokens
from v2meow_jax.jobs.prepare import cluster_fitting
from v2meow_jax.jobs.prepare import preparation
from v2meow_jax.jobs.prepare import token_fitting

pytestmark = pytest.mark.slow

K = 3
RATE_HZ = 8_000
# Each frame of 25 Hz is as loud as one of these.
LOUDNESS = (0.1, 0.4, 0.8)
FAR = 0.99  # Of the clips that must not be heard.
IDENTITY = {'kind': 'level', 'weights': 'x', 'sha256': '00', 'settings': {}}


@dataclasses.dataclass(frozen=True)
class Level:
  """Hears the mean of each frame's samples."""

  sample_rate_hz: int = RATE_HZ
  rate_hz: float = 25.0
  dim: int = 1

  def __call__(self, audio):
    return audio.samples.reshape(-1, RATE_HZ // 25).mean(1)[:, None]


def part(stream='semantic'):
  return types.SimpleNamespace(
    stream=stream, network=Level, encoder_identity=lambda: IDENTITY
  )


def prepared(*parts):
  stream = specs.TokenSpec(name='semantic', codebook_size=K, rate_hz=25.0)
  return preparation.Preparation(
    table={'semantic': stream},
    parts=parts,
    clustering=clustering.MiniBatch(batch_rows=50, num_passes=2),
    sampling=token_fitting.FrameSampling(block_rows=500),
  )


def write(folder, levels_by_name, **rows):
  """A manifest of wav files whose frames have these levels."""
  lines = []
  for name, levels in levels_by_name.items():
    path = folder / f'{name}.wav'
    samples = np.repeat(levels, RATE_HZ // 25)
    soundfile.write(path, samples, RATE_HZ, 'FLOAT')
    lines.append({'id': name, 'path': path.name, **rows.get(name, {})})
  manifest = folder / 'manifest.jsonl'
  manifest.write_text('\n'.join(map(json.dumps, lines)))
  return str(manifest)


@pytest.fixture
def manifest(tmp_path):
  rng = np.random.default_rng(0)
  clips = {f'clip{i}': rng.choice(LOUDNESS, 100) for i in range(5)}
  clips['judged'] = np.full(100, FAR)
  return write(tmp_path, clips, judged={'split': 'validation'})


def centres(path):
  params = clustered_tokens.read_clusters(path, 'semantic', IDENTITY)
  scaled = params['centroids'][:, 0]
  return np.sort(scaled * params['std'] + params['mean'])


def test_clusters_are_the_planted_ones_of_clips_to_train_on(manifest, tmp_path):
  out = tmp_path / 'clusters.safetensors'
  said = cluster_fitting.fit(
    prepared(part('clip'), part()), manifest, str(out), 0, None
  )
  np.testing.assert_allclose(centres(out), LOUDNESS, atol=1e-3)
  assert said.endswith(str(out)) and 'inertia per row' in said
  assert not list(tmp_path.glob('*.fitting'))
  again = tmp_path / 'again.safetensors'
  cluster_fitting.fit(prepared(part()), manifest, str(again), 0, None)
  assert again.read_bytes() == out.read_bytes()


def test_a_few_clips_are_spread_evenly_over_the_manifest(tmp_path):
  # The first, the middle and the last, of levels that no others have.
  clips = {f'clip{i}': np.full(100, FAR) for i in range(5)}
  for name, level in zip(('clip0', 'clip2', 'clip4'), LOUDNESS, strict=True):
    clips[name] = np.full(100, level)
  out = tmp_path / 'clusters.safetensors'
  cluster_fitting.fit(prepared(part()), write(tmp_path, clips), str(out), 0, 3)
  np.testing.assert_allclose(centres(out), LOUDNESS, atol=1e-3)


def test_a_clip_that_cannot_be_read_is_said_and_left_out(manifest, tmp_path):
  rows = [json.loads(line) for line in open(manifest)]
  good = [dict(rows[0], id=f'more{i}') for i in range(20)]
  (tmp_path / 'broken.wav').write_bytes(b'no sound')
  bad = {'id': 'broken', 'path': 'broken.wav'}
  with open(manifest, 'w') as f:
    f.write('\n'.join(map(json.dumps, [*rows, *good, bad])))
  out = tmp_path / 'clusters.safetensors'
  said = cluster_fitting.fit(prepared(part()), manifest, str(out), 0, None)
  assert 'broken.wav: ' in said.splitlines()[0]
  np.testing.assert_allclose(centres(out), LOUDNESS, atol=1e-3)


@pytest.mark.parametrize('count', [0, 2])
def test_only_one_part_may_give_semantic_tokens(count, manifest, tmp_path):
  parts = [part('clip'), *[part()] * count]
  out = str(tmp_path / 'clusters.safetensors')
  with pytest.raises(ValueError, match=f'{count} parts give semantic tokens'):
    cluster_fitting.fit(prepared(*parts), manifest, out, 0, None)
