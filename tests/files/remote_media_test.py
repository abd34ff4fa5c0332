"""Media and manifests in a bucket are read as those here, by the same rules."""

import json
import pathlib

import numpy as np
import pytest

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.data import waveforms
from v2meow_jax.files import copies
from v2meow_jax.files import manifests
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.files.films import remux

TONE = media.Audio(
  samples=np.float32(0.3 * np.sin(np.arange(16_000) / 10)), rate_hz=16_000
)
URL = 'gs://bucket/world/clips/a.mp4'


@pytest.fixture
def clip(bucket, tmp_path) -> pathlib.Path:
  """A second of planted pictures with a tone, here and in the bucket."""
  path = tmp_path / 'a.mp4'
  frames = media_clips.planted(np.arange(25))
  write.write_video(path, frames, rate_hz=25, audio=TONE)
  bucket.objects['bucket/world/clips/a.mp4'] = path.read_bytes()
  return path


def test_a_clip_in_a_bucket_is_read_as_one_here_and_copied_once(clip, bucket):
  here, there = read.read_video(clip), read.read_video(URL)
  np.testing.assert_array_equal(here.frames, there.frames)
  np.testing.assert_array_equal(
    read.read_audio(clip).samples, read.read_audio(URL).samples
  )
  assert probe.probe(URL).path == URL
  # The first bytes are looked at each time; the whole was fetched once.
  (copy,) = copies._folder().iterdir()
  assert copy.read_bytes() == clip.read_bytes()


def test_a_clip_goes_from_bucket_to_bucket(clip, bucket, tmp_path):
  out = 'gs://bucket/out/b.mp4'
  assert remux.replace_sound(URL, TONE, out).is_copied
  remux.replace_sound(clip, TONE, tmp_path / 'b.mp4')
  made = bucket.objects['bucket/out/b.mp4']
  assert made == (tmp_path / 'b.mp4').read_bytes()
  write.write_audio('gs://bucket/out/b.flac', TONE)
  assert read.read_audio('gs://bucket/out/b.flac').seconds == 1
  assert sorted(bucket.objects) == [
    *('bucket/out/b.flac', 'bucket/out/b.mp4'),
    'bucket/world/clips/a.mp4',
  ]


def test_what_is_not_media_is_refused_before_it_is_copied(bucket):
  content = b'#EXTM3U\n#EXTINF:1,\n/etc/passwd\n' * 1000
  bucket.objects['bucket/a.mp4'] = content
  with pytest.raises(probe.UnsupportedMedia, match='gs://.*text, not media'):
    probe.probe('gs://bucket/a.mp4')
  assert not list(copies._folder().iterdir())
  with pytest.raises(probe.UnsupportedMedia, match='gs://bucket/no.mp4'):
    probe.probe('gs://bucket/no.mp4')


def test_limits_hold_for_clips_in_buckets(clip, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setenv(copies.SIZE_VARIABLE, '1e-7')
    with pytest.raises(probe.UnsupportedMedia, match='raise .V2MEOW_CACHE_GB'):
      probe.probe(URL)
  with pytest.raises(probe.UnsupportedMedia, match=f'{URL}: pictures of 64x48'):
    probe.probe(URL, probe.Limits(max_pixels=100))


def test_rows_are_relative_to_their_manifest_wherever_it_lies(clip, bucket):
  paths = ['clips/a.mp4', '../other/b.mp4', str(clip), 's3://bucket/c.mp4']
  rows = [{'id': str(n), 'path': path} for n, path in enumerate(paths)]
  text = ''.join(json.dumps(row) + '\n' for row in rows).encode()
  bucket.objects['bucket/world/manifest.jsonl'] = text
  read_paths = [
    c.path for c in manifests.read('gs://bucket/world/manifest.jsonl')
  ]
  assert read_paths == [
    *(URL, 'gs://bucket/other/b.mp4', str(clip), 's3://bucket/c.mp4')
  ]
  here = clip.parent / 'manifest.jsonl'
  row = {'id': 'a', 'path': URL}
  here.write_text(json.dumps(row))
  assert manifests.read(here)[0].path == URL
  here.write_text(json.dumps({**row, 'path': 'http://host/a.mp4'}))
  with pytest.raises(ValueError, match='line 1: .*begins with http://'):
    manifests.read(here)
  with pytest.raises(ValueError, match='no manifest .gs://bucket/no.jsonl'):
    manifests.read('gs://bucket/no.jsonl')


def test_batches_of_waveforms_come_out_of_a_bucket(clip, bucket):
  row = json.dumps({'id': 'a', 'path': 'clips/a.mp4'})
  bucket.objects['bucket/world/manifest.jsonl'] = row.encode()
  batches = waveforms.WaveformBatches(
    manifest='gs://bucket/world/manifest.jsonl',
    batch_size=2,
    crop_seconds=0.5,
    seed=0,
    read=read.read_audio,
  )
  assert batches.batch(0)['waveform'].std() > 0.1
