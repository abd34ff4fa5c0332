import dataclasses
import json
import weakref

import numpy as np
import pytest
import tensorflow as tf

from tests.fakes import planted_records
from tests.fakes import tiny_networks
from tests.fakes import torch_vision
from v2meow_jax import parts
from v2meow_jax import stages
from v2meow_jax.extractors import network_patches
from v2meow_jax.files import manifests
from v2meow_jax.jobs.prepare import extraction
from v2meow_jax.pretrained.vision import videomae
from v2meow_jax.synthetic import scene as scene_lib
from v2meow_jax.synthetic import score

pytestmark = pytest.mark.data


def _extract(tmp_path, content):
  (tmp_path / 'a.json').write_text(json.dumps(content))
  extract = extraction.Extract(planted_records.reading(min_seconds=2.0))
  extract.setup()
  clip = manifests.ManifestClip(id='a', path=str(tmp_path / 'a.json'))
  (result,) = extract.process([(('train', 0), clip)])
  return result


def _features(result):
  """Of the first record of a clip."""
  _, done = result
  (record, *_) = done.recording.pieces
  return tf.train.Example.FromString(record).features.feature


@pytest.mark.parametrize(
  ('video', 'audio', 'seconds'),
  [
    (10.0, 10.0, 10),
    (10.0, 9.96, 10),  # A container's rounding: filled up with silence.
    (9.95, 10.0, 10),
    (10.0, 9.8, 9),
    (5.7, 30.0, 5),
  ],
)
def test_all_streams_cover_the_same_whole_seconds(
  tmp_path, video, audio, seconds
):
  content = {'seconds': video, 'audio_seconds': audio}
  feature = _features(_extract(tmp_path, content))
  assert feature['seconds'].float_list.value[0] == seconds
  sizes = {
    s.name: feature[s.name].bytes_list.value for s in planted_records.STREAMS
  }
  # Two bytes a number; 12.5 Hz gives only the whole frames of an odd second.
  assert {k: len(v[0]) // 2 for k, v in sizes.items()} == {
    'appearance': seconds * 3,
    'motion': int(seconds * 12.5) * 2,
    'style': 4,
    'semantic': seconds * 25,
    'acoustic': seconds * 25 * 8,
  }


def test_a_short_clip_says_how_short(tmp_path):
  result = _extract(tmp_path, {'seconds': 1.5})
  assert result.tag == 'rejected'
  assert result.value['stage'] == 'align'
  assert 'gives 1 s' in result.value['message']
  assert 'at least 2 s' in result.value['message']


def test_a_stream_without_extractor_stops_the_worker():
  extract = extraction.Extract(
    planted_records.reading(min_seconds=2.0, make_extractors=lambda: {})
  )
  with pytest.raises(ValueError, match="no extractor.*'appearance'"):
    extract.setup()


def test_an_extractor_of_another_medium_stops_the_worker():
  clocks = planted_records.make_extractors()
  clocks['style'].reads = 'text'
  extract = extraction.Extract(
    planted_records.reading(min_seconds=2.0, make_extractors=lambda: clocks)
  )
  with pytest.raises(ValueError, match="'style' reads 'text'"):
    extract.setup()


class _Living:
  """Counts objects that are alive, and the most that were at once."""

  def __init__(self):
    self.now = self.most = self.total = 0

  def add(self, thing):
    self.now += 1
    self.total += 1
    self.most = max(self.most, self.now)
    weakref.finalize(thing, self._gone)

  def _gone(self):
    self.now -= 1


class _Seen(planted_records.Clock):
  """A network of frames whose inputs are counted."""

  batch_size = 8
  living: _Living

  def inputs(self, item):
    made = planted_records.Clock.__call__(self, item).copy()
    self.living.add(made)
    return made

  def outputs(self, inputs):
    return inputs


@pytest.mark.parametrize('seconds', [40.0, 400.0])
def test_what_is_in_memory_does_not_grow_with_the_length_of_a_video(
  tmp_path, seconds
):
  (tmp_path / 'a.json').write_text(json.dumps({'seconds': seconds}))
  pieces, waiting = _Living(), _Living()

  def read_video(path):
    for piece in planted_records.read_video(path):
      pieces.add(piece)
      yield piece

  extractors = planted_records.make_extractors()
  network = _Seen(extractors['appearance'].stream)
  network.living = waiting
  extractors |= {'appearance': network}
  extract = extraction.Extract(
    planted_records.reading(
      min_seconds=2.0, make_extractors=lambda: extractors, read_video=read_video
    )
  )
  extract.setup()
  clip = manifests.ManifestClip(id='a', path=str(tmp_path / 'a.json'))
  (result,) = extract.process([(('train', 0), clip)])
  assert _features(result)['seconds'].float_list.value[0] == seconds
  # One stretch is at work while the next one tells where it ends.
  assert pieces.total == seconds / 4 and pieces.most <= 3
  # A batch is of two stretches of four frames.
  assert waiting.total == seconds / 4 and waiting.most <= 3


def test_a_network_over_clips_of_frames_gives_the_steps_of_a_stream(tmp_path):
  sizes = dataclasses.replace(tiny_networks.VIDEOMAE, emb_dim=2, num_heads=1)
  params = videomae.read(torch_vision.videomae_state(sizes), sizes)
  extractors = planted_records.make_extractors()
  stream = extractors['motion'].stream
  network = network_patches.VideoPatches(stream, sizes, params)
  extractors |= {'motion': network}
  (tmp_path / 'a.json').write_text(json.dumps({'seconds': 9.0}))
  extract = extraction.Extract(
    planted_records.reading(make_extractors=lambda: extractors)
  )
  extract.setup()
  clip = manifests.ManifestClip(id='a', path=str(tmp_path / 'a.json'))
  (result,) = extract.process([(('train', 0), clip)])
  (found,) = _features(result)['motion'].bytes_list.value
  pieces = planted_records.read_video(clip.path)
  wanted = np.concatenate([network(piece) for piece in pieces])
  np.testing.assert_array_equal(
    np.frombuffer(found, np.float16).reshape(-1, 2),
    wanted[:112].astype(np.float16),  # Of 12.5 a second, the whole ones.
  )


def test_a_plan_becomes_a_stream_and_none_becomes_zeros(tmp_path):
  stream = stages.TINY['plan']
  (tmp_path / 'a.json').write_text(json.dumps({'seconds': 12.0}))
  scene = scene_lib.sample(0, 0, 11.8)
  clocks = planted_records.make_extractors()
  extract = extraction.Extract(
    planted_records.reading(
      streams=(*planted_records.STREAMS, stream),
      make_extractors=lambda: {
        **clocks,
        'plan': parts.Part(kind='plan', stream='plan').build(stream),
      },
    )
  )
  extract.setup()
  recorded = {}
  for plan in (None, score.plan(scene), {'beats': 'many'}):
    clip = manifests.ManifestClip(
      id='a', path=str(tmp_path / 'a.json'), plan=plan
    )
    (result,) = extract.process([(('train', 0), clip)])
    if plan and 'seconds' not in plan:
      assert result.tag == 'rejected'
      assert 'the plan lacks beats_per_bar' in result.value['message']
      continue
    _, done = result
    data = [
      tf.train.Example.FromString(piece)
      .features.feature['plan']
      .bytes_list.value[0]
      for piece in done.recording.pieces
    ]
    frames = np.frombuffer(b''.join(data), '<f2').reshape(300, stream.dim)
    recorded[plan is None] = frames
    assert 'plan' not in done.moments
  assert not recorded[True].any()
  beats = np.flatnonzero(recorded[False][:, 9])
  assert len(beats) in (len(scene.beat_times), len(scene.beat_times) + 1)
  np.testing.assert_allclose(
    beats[: len(scene.beat_times)] / 25, scene.beat_times, atol=0.061
  )
