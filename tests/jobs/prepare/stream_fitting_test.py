"""`v2meow data fit` fits the tiny system's streams to the clips it chooses."""

import json

import numpy as np
import pytest

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax import stages
from v2meow_jax.extractors.embedded import color_motion
from v2meow_jax.extractors.embedded import fitted
from v2meow_jax.extractors.embedded import semantic_tokens
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.files import read
from v2meow_jax.files import tensors
from v2meow_jax.files import write
from v2meow_jax.jobs.prepare import stream_fitting

SECONDS = 11.0  # Two of them have more frames than there are clusters.
CAPTIONS = ('calm piano', 'rock', 'a waltz')


@pytest.fixture(scope='module')
def manifest(tmp_path_factory):
  """Three captioned clips to train on, one to judge, one without a caption."""
  folder = tmp_path_factory.mktemp('clips')
  lines = []
  for i in range(5):
    rng = np.random.default_rng(i)
    write.write_video(
      folder / f'{i}.mp4',
      media_clips.gray(rng.integers(10 + 40 * i, 50 + 40 * i, 55), 16, 16),
      rate_hz=5,
      audio=media.Audio(
        samples=rng.normal(0, 0.1, 176_000).astype(np.float32), rate_hz=16_000
      ),
    )
    line = {'id': str(i), 'path': f'{i}.mp4'}
    lines.append(line | ({'caption': CAPTIONS[i]} if i < 3 else {}))
  lines[3] |= {'caption': 'judged', 'split': 'validation'}
  path = folder / 'manifest.jsonl'
  path.write_text('\n'.join(map(json.dumps, lines)))
  return path


@pytest.mark.slow
def test_it_fits_to_captioned_clips_spread_over_the_training_split(
  manifest, tmp_path
):
  out = tmp_path / 'new' / 'features.safetensors'
  assert stream_fitting.fit(str(manifest), str(out), 2, 0) == out
  found = tensors.flatten(tensors.read(out))
  # The first and the last of three.
  chosen = [read.read_video(manifest.parent / f'{i}.mp4') for i in (0, 2)]
  for name, frames_of in (
    ('appearance', color_motion.appearance_frames),
    ('motion', color_motion.motion_frames),
  ):
    frames = np.concatenate([frames_of(v, stages.TINY[name]) for v in chosen])
    np.testing.assert_allclose(found[f'{name}/mean'], frames.mean(0), atol=1e-5)
    np.testing.assert_allclose(
      found[f'{name}/std'], np.maximum(frames.std(0), 1e-3), rtol=1e-3
    )
  texts = [style_features.text_features(CAPTIONS[i]) for i in (0, 2)]
  np.testing.assert_array_equal(found['example/text_features'], texts)
  music = found['example/music_features']
  # Two numbers are standardised to their middle and one deviation away.
  np.testing.assert_allclose(music.mean(0), 0, atol=1e-3)
  tokens = semantic_tokens.SemanticTokens(
    stages.TINY['semantic'], fitted.read('semantic', out)[0]
  )
  codes = tokens(read.read_audio(manifest.parent / '1.mp4'))
  assert len(codes) == 275 and len(np.unique(codes)) > 20


def test_without_captions_or_clips_it_says_what_is_missing(manifest, tmp_path):
  out = str(tmp_path / 'features.safetensors')
  lines = manifest.read_text().splitlines()
  (bare := tmp_path / 'bare.jsonl').write_text('\n'.join(lines[3:]))
  for i in (3, 4):
    (tmp_path / f'{i}.mp4').symlink_to(manifest.parent / f'{i}.mp4')
  with pytest.raises(ValueError, match="no clip of split 'train' with a capt"):
    stream_fitting.fit(str(bare), out, 2, 0)
  with pytest.raises(ValueError, match='num is 0; wanted at least 1 clip'):
    stream_fitting.fit(str(manifest), out, 0, 0)


@pytest.mark.slow
def test_music_alone_is_heard_beside_that_of_the_videos(manifest, tmp_path):
  rng = np.random.default_rng(9)
  samples = 0.02 * rng.normal(0, 1, 352_000).cumsum() % 1 - 0.5
  write.write_audio(
    tmp_path / 'song.wav',
    media.Audio(samples=samples.astype(np.float32), rate_hz=16_000),
  )
  line = {'id': 'song', 'path': 'song.wav', 'caption': 'a song'}
  (songs := tmp_path / 'songs.jsonl').write_text(json.dumps(line))
  alone, both = tmp_path / 'alone.safetensors', tmp_path / 'both.safetensors'
  stream_fitting.fit(str(manifest), str(alone), 2, 0)
  stream_fitting.fit(str(manifest), str(both), 2, 0, str(songs))
  before, after = (tensors.flatten(tensors.read(f)) for f in (alone, both))
  for name in before:
    is_of_pictures = name.startswith(('appearance/', 'motion/'))
    assert np.array_equal(before[name], after[name]) or not is_of_pictures
  assert len(after['example/text_features']) == 3
  assert not np.array_equal(before['style/mean'], after['style/mean'])
