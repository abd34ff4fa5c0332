import json

import pytest
import tensorflow as tf

from tests.data import planted
from v2meow_jax.data import extraction
from v2meow_jax.data import manifests

pytestmark = pytest.mark.data


def _extract(tmp_path, content):
  (tmp_path / 'a.json').write_text(json.dumps(content))
  extract = extraction.Extract(
    streams=planted.STREAMS,
    make_extractors=planted.make_extractors,
    video_seconds=planted.video_seconds,
    read_video=planted.read_video,
    read_audio=planted.read_audio,
    min_seconds=2.0,
    progress_dir=None,
  )
  extract.setup()
  clip = manifests.Clip(id='a', path=str(tmp_path / 'a.json'))
  (result,) = extract.process([(('train', 0), clip)])
  return result


def _features(result):
  _, (_, record) = result
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
  sizes = {s.name: feature[s.name].bytes_list.value for s in planted.STREAMS}
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
    streams=planted.STREAMS,
    make_extractors=lambda: {},
    video_seconds=planted.video_seconds,
    read_video=planted.read_video,
    read_audio=planted.read_audio,
    min_seconds=2.0,
    progress_dir=None,
  )
  with pytest.raises(ValueError, match="no extractor.*'appearance'"):
    extract.setup()
