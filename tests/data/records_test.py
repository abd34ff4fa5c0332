import numpy as np
import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.fakes import planted_records
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.data import record_source
from v2meow_jax.data import records

pytestmark = pytest.mark.data

CODES = specs.TokenSpec(
  name='acoustic', codebook_size=1024, rate_hz=50.0, num_codebooks=4
)
CLIP = specs.FeatureSpec(name='clip', dim=768, rate_hz=1.0)
FLOW = specs.FeatureSpec(name='flow', dim=1024, rate_hz=1.0)
SEMANTIC = specs.TokenSpec(name='semantic', codebook_size=1024, rate_hz=25.0)
STREAMS = (CLIP, FLOW, SEMANTIC, CODES)


def _values(seconds=10.0):
  rng = np.random.default_rng(0)
  return {
    s.name: rng.integers(0, s.codebook_size, (int(seconds * s.rate_hz), 1))
    + np.zeros((1, s.num_codebooks), int)
    if isinstance(s, specs.TokenSpec)
    else rng.normal(size=(int(seconds * s.rate_hz), s.dim))
    for s in STREAMS
  }


def _raw(record, streams):
  names = ['id', *(s.name for s in streams)]
  description = {n: tf.io.FixedLenFeature([], tf.string) for n in names}
  description['seconds'] = tf.io.FixedLenFeature([], tf.float32)
  return tf.io.parse_single_example(record, description)


def test_a_record_gives_back_what_was_written():
  values = _values()
  (record,) = records.serialise('a', 10.0, values, STREAMS)
  parsed = records.parse(_raw(record, STREAMS), STREAMS)
  assert parsed['id'].numpy() == b'a'
  for stream in STREAMS:
    wanted = values[stream.name]
    if isinstance(stream, specs.FeatureSpec):
      wanted = wanted.astype(np.float16)
    np.testing.assert_array_equal(parsed[stream.name].numpy(), wanted)


def test_a_ten_second_record_is_little_more_than_half_a_plain_one():
  values = _values()
  plain = tf.train.Example()
  for stream in STREAMS:
    feature = plain.features.feature[stream.name]
    flat = values[stream.name].ravel()
    if isinstance(stream, specs.TokenSpec):
      feature.int64_list.value.extend(flat)
    else:
      feature.float_list.value.extend(flat)
  (record,) = records.serialise('a', 10.0, values, STREAMS)
  # 10 x 1792 float16 and 250 + 2000 uint16 are 40,340 bytes.
  assert 40_340 < len(record) <= 41_000
  assert len(plain.SerializeToString()) > 1.8 * len(record)


@pytest.mark.parametrize(
  ('stream', 'change', 'message'),
  [
    (CODES, lambda v: v + 1024, 'holds the code 1'),
    (CODES, lambda v: v - 1024, r'codes in \[0, 1024\)'),
    (CODES, lambda v: v.astype(np.float32), 'float32'),
    (CODES, lambda v: v[:, ::-1][:, :3], r'wanted \(500, 4\)'),
    (CODES, lambda v: v[:-1], r'shape \(499, 4\)'),
    (CLIP, lambda v: v * np.nan, 'holds nan'),
    (CLIP, lambda v: v + 1e6, 'float16'),
    (CLIP, lambda v: v[:, :512], r'wanted \(10, 768\)'),
  ],
)
def test_a_wrong_stream_is_refused_by_clip_and_name(stream, change, message):
  values = _values()
  values[stream.name] = change(values[stream.name])
  with pytest.raises(ValueError, match=message) as error:
    records.serialise('clip7', 10.0, values, STREAMS)
  assert f"stream '{stream.name}' of example 'clip7'" in str(error.value)


def test_a_missing_stream_is_refused():
  values = _values()
  del values['flow']
  with pytest.raises(ValueError, match="'flow' of example 'x' is missing"):
    records.serialise('x', 10.0, values, STREAMS)


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('acoustic', np.full((500, 4), 1024, '<u2').tobytes()),
    ('acoustic', np.zeros((499, 4), '<u2').tobytes()),
    ('clip', np.full((10, 768), np.nan, '<f2').tobytes()),
  ],
)
def test_a_damaged_record_is_refused_by_id_when_read(name, value):
  raw = _raw(records.serialise('clip9', 10.0, _values(), STREAMS)[0], STREAMS)
  raw[name] = tf.constant(value)
  ds = tf.data.Dataset.from_tensors(raw)
  ds = ds.map(lambda example: records.parse(example, STREAMS))
  with pytest.raises(tf.errors.InvalidArgumentError) as error:
    list(ds)
  assert name in str(error.value)
  assert 'clip9' in str(error.value)


def test_streams_survive_the_metadata():
  rows = records.streams_to_json(planted_records.STREAMS)
  assert records.streams_from_json(rows) == planted_records.STREAMS


def test_tfds_reads_the_dataset_without_our_code(planted_data):
  builder = tfds.builder_from_directory(str(planted_data))
  ids = {e['id'] for e in tfds.as_numpy(builder.as_dataset(split='train'))}
  # Clips of 12 to 18 s are two records of up to 10 s.
  assert len(ids) == builder.info.splits['train'].num_examples / 2 == 24
  assert builder.info.metadata['streams'][0]['name'] == 'appearance'


def test_seqio_reads_the_dataset_without_our_code(planted_data):
  source = seqio.TfdsDataSource(tfds_data_dir=str(planted_data), read_only=True)
  example = next(iter(source.get_dataset('validation', shuffle=False)))
  parsed = records.parse(example, planted_records.STREAMS, piece_seconds=10.0)
  assert example['piece'] == 0
  np.testing.assert_array_equal(parsed['appearance'][:, 0], np.arange(10))


def test_a_source_reads_every_example_once(planted_data):
  source = record_source.RecordSource('planted', full_check=True)
  ids = [e['id'] for e in source.get_dataset('train').as_numpy_iterator()]
  assert len(set(ids)) == len(ids) == source.num_input_examples('train') == 24
  assert source.streams == planted_records.STREAMS


def test_a_missing_dataset_says_what_to_run(tmp_path, monkeypatch):
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path))
  source = record_source.RecordSource('absent')
  with pytest.raises(FileNotFoundError, match='v2meow data prepare'):
    source.num_input_examples('train')


def test_a_missing_split_names_those_there_are(planted_data):
  source = record_source.RecordSource('planted')
  with pytest.raises(ValueError, match=r"no split 'test'.*'train'"):
    source.get_dataset('test')


@pytest.mark.parametrize(
  'stage',
  [
    stages.semantic(),
    stages.coarse(),
    stages.semantic(inputs=('coarse',), streams=stages.TINY),
  ],
)
def test_a_stage_that_the_dataset_cannot_serve_is_refused(stage):
  # The planted dims differ from TINY's; the paper's streams are absent.
  recorded = [s for s in planted_records.STREAMS if s.name != 'acoustic']
  with pytest.raises(ValueError, match=f'stage {stage.name!r}'):
    records.check_stage(recorded, stage)
