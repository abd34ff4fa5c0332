import itertools
import json
import re
import shutil
import time

import numpy as np
import pytest
import seqio
import tensorflow as tf

from tests.fakes import planted_records
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax import tokens
from v2meow_jax.data import batches
from v2meow_jax.data import feature_converters
from v2meow_jax.data import preprocessors
from v2meow_jax.data import task_builder
from v2meow_jax.inference import pipeline

pytestmark = pytest.mark.data

SEMANTIC = stages.semantic(
  inputs=('appearance', 'motion', 'style'), streams=planted_records.TINY
)
COARSE = stages.coarse(
  inputs=('semantic', 'appearance'),
  crop_seconds=4.0,
  streams=planted_records.TINY,
)
FINE = stages.fine(
  inputs=('coarse',), crop_seconds=3.0, streams=planted_records.TINY
)


def _make(stage=COARSE, **changes):
  arguments = {'dataset': 'planted', 'batch_size': 8, 'seed': 1, **changes}
  return batches.TaskBatches(stage, **arguments)


def _take(iterator, count):
  return list(itertools.islice(iterator, count))


def _equal(a, b):
  assert a.keys() == b.keys()
  return all(np.array_equal(a[k], b[k]) for k in a)


def test_a_crop_is_the_same_stretch_of_time_of_every_stream(planted_data):
  starts = set()
  for batch in _take(_make(SEMANTIC)(0), 12):
    codes = batch['decoder_target_tokens'] - tokens.IdSpace(SEMANTIC).offset(
      SEMANTIC.target
    )
    seconds = batch['encoder_inputs_appearance'][:, 0, 0]
    # Codes count frames, at 25 Hz; features are their time.
    np.testing.assert_array_equal(codes[:, 0], seconds * 25)
    np.testing.assert_array_equal(
      batch['encoder_inputs_motion'][:, 0, 0], seconds
    )
    np.testing.assert_array_equal(np.diff(codes, axis=1), 1)
    starts.update(seconds.tolist())
  # Clips of 12-18 s, crops of 10 s, on the 2 s grid of 1 Hz and 12.5 Hz.
  assert starts == {0, 2, 4, 6, 8}


def test_the_grid_is_whole_frames_of_every_stream():
  assert preprocessors.grid_seconds(SEMANTIC) == 2.0
  assert preprocessors.grid_seconds(COARSE) == 1.0
  assert preprocessors.grid_seconds(FINE) == 0.04


@pytest.mark.parametrize('stage', [COARSE, FINE], ids=lambda s: s.name)
def test_ids_are_those_of_tokens_codes_to_ids(planted_data, stage):
  batch = next(_make(stage)(0))
  frame = tokens.IdSpace(stage).ids_to_codes(
    batch['decoder_target_tokens'], stage.target
  )
  # All levels of a planted frame hold its number.
  np.testing.assert_array_equal(frame, frame[..., :1] + 0 * frame)
  np.testing.assert_array_equal(np.diff(frame, axis=1), 1)
  source = stage.token_inputs[0]
  codes = (frame[..., :1] % source.codebook_size).repeat(
    source.num_codebooks, -1
  )
  np.testing.assert_array_equal(
    batch[f'encoder_inputs_{source.name}'],
    tokens.IdSpace(stage).codes_to_ids(codes, source),
  )


def test_the_decoder_reads_the_targets_one_step_late(planted_data):
  batch = next(_make()(0))
  inputs = batch['decoder_input_tokens']
  assert (inputs[:, 0] == specs.PAD_ID).all()
  np.testing.assert_array_equal(
    inputs[:, 1:], batch['decoder_target_tokens'][:, :-1]
  )
  assert (batch['decoder_loss_weights'] == 1).all()
  assert batch['decoder_target_tokens'].dtype == np.int32
  assert batch['encoder_inputs_appearance'].shape == (8, 4, 3)


def test_a_prefix_comes_before_the_target_and_costs_nothing(planted_data):
  plain = next(_make()(0))
  prefixed = next(_make(layout='prefix')(0))
  ids = np.concatenate(
    [plain['encoder_inputs_semantic'], plain['decoder_target_tokens']], 1
  )
  np.testing.assert_array_equal(prefixed['decoder_target_tokens'], ids)
  np.testing.assert_array_equal(
    prefixed['decoder_input_tokens'][:, 1:], ids[:, :-1]
  )
  weights = prefixed['decoder_loss_weights']
  assert (weights[:, :100] == 0).all() and (weights[:, 100:] == 1).all()
  assert 'encoder_inputs_semantic' not in prefixed
  assert 'encoder_inputs_appearance' in prefixed


def test_packing_is_refused():
  with pytest.raises(ValueError, match='pack=False'):
    feature_converters.StageFeatureConverter(COARSE, pack=True)


def test_wrong_lengths_are_refused():
  converter = feature_converters.StageFeatureConverter(FINE)
  lengths = {**FINE.feature_lengths(), 'fine': 7}
  task = task_builder.build_task('planted', FINE)
  spec = {
    'coarse': tf.TensorSpec([150], tf.int32),
    'fine': tf.TensorSpec([450], tf.int32),
  }
  assert set(task.output_features) == set(spec)
  ds = tf.data.Dataset.from_generator(lambda: [], output_signature=spec)
  with pytest.raises(ValueError, match='pass stage.feature_lengths'):
    converter(ds, lengths)


def test_batch_k_is_the_same_from_anywhere_and_by_any_number(planted_data):
  # 24 recordings and batches of 20: every other batch is of two epochs.
  def made():
    return _make(SEMANTIC, batch_size=20, drop_rates={'style': 0.5})

  straight = _take(made()(0), 7)
  for start, count in ((5, 1), (1, 2), (0, 4)):
    slices = [made()(start, (i, count)) for i in range(count)]
    for batch in straight[start : start + 2]:
      parts = [next(s) for s in slices]
      assert {len(p['example_ids']) for p in parts} == {20 // count}
      assert _equal(_joined(parts), batch)
  with pytest.raises(ValueError, match='20 rows do not divide among 3'):
    made()(0, (0, 3))


def _joined(parts):
  return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def test_every_epoch_is_every_recording_once_and_seeds_differ(planted_data):
  # What a row holds follows from its position, not from its batch.
  rows = _joined(_take(_make(batch_size=9)(0), 8))
  assert _equal(rows, _joined(_take(_make(batch_size=24)(0), 3)))
  ids = rows['example_ids']
  assert ids.dtype == 'S64'
  epochs = ids.reshape(3, 24)
  assert all(len(set(epoch)) == 24 for epoch in epochs)
  assert set(epochs[0]) == set(epochs[1]) == set(epochs[2])
  other = next(_make(batch_size=24, seed=2)(0))['example_ids']
  assert len({tuple(e) for e in (*epochs, other)}) == 4
  # The crop of a recording is another in each epoch: 12 s and more leave nine
  # starts and more, so that 24 of them never agree by chance.
  start = rows['encoder_inputs_appearance'][:, 0, 0].reshape(3, 24)
  by_id = [s[np.argsort(e)] for s, e in zip(start, epochs, strict=True)]
  assert (by_id[0] != by_id[1]).any() and (by_id[1] != by_id[2]).any()


def test_a_far_step_is_reached_at_once(planted_data):
  def seconds(step):
    begin = time.process_time()
    next(_make()(step))
    return time.process_time() - begin

  seconds(0)
  # To skip eight million rows would take minutes.
  assert seconds(10**6) < 10 * seconds(0)


def test_a_damaged_record_is_refused_by_file_when_it_is_read(
  planted_data, tmp_path, monkeypatch
):
  shutil.copytree(planted_data, tmp_path / 'planted')
  name = 'v2meow-train.tfrecord-00001-of-00003'
  data = bytearray((tmp_path / 'planted' / name).read_bytes())
  data[-100] ^= 1
  (tmp_path / 'planted' / name).write_bytes(data)
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path))
  with pytest.raises(ValueError, match=f'{name}: the record at byte'):
    _take(_make()(0), 60)  # Sooner or later a crop lies there.
  (tmp_path / 'planted' / name).write_bytes(data[:-100])
  with pytest.raises(ValueError, match=f'damaged: {name}'):
    next(_make()(0))


def test_evaluation_is_one_pass_of_first_crops(planted_data):
  made = _make(split='validation', batch_size=4, repeat=False)
  once, twice = list(made(0)), list(made(0))
  assert len(once) == 2 and all(map(_equal, once, twice))
  codes = tokens.IdSpace(COARSE).ids_to_codes(
    once[0]['decoder_target_tokens'], COARSE.target
  )
  assert (codes[:, 0] == 0).all()
  # 6 recordings: the second batch has two rows, and two without weight.
  weights = np.concatenate([b['decoder_loss_weights'] for b in once])
  np.testing.assert_array_equal(weights.mean(1), [1, 1, 1, 1, 1, 1, 0, 0])
  ids = np.concatenate([b['example_ids'] for b in once])
  assert len(set(ids[:6])) == 6
  slices = [made(1, (i, 2)) for i in range(2)]
  assert _equal(_joined([next(s) for s in slices]), once[1])
  assert not any(list(s) for s in slices)


def test_a_short_recording_is_evaluated_as_far_as_it_goes(
  planted_prepare, tmp_path, monkeypatch
):
  clips = {
    'long': ('validation', {'seconds': 12.0}),
    'short': ('validation', {'seconds': 3.0}),
    'useless': ('train', {'seconds': 3.0}),
    'useful': ('train', {'seconds': 12.0}),
  }
  manifest = planted_records.write_manifest(tmp_path / 'media', clips)
  summary = planted_prepare(tmp_path / 'few', manifest)
  assert summary.num_examples == {'train': 1, 'validation': 2}
  assert summary.num_rejected == 1
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path))
  options = {'dataset': 'few', 'split': 'validation', 'batch_size': 2}
  wanted = np.arange(100) < 75  # Three of four seconds, at 25 Hz.
  video, semantic = np.arange(3.0)[:, None], np.arange(75)[:, None]
  mirrored = {
    # As generation completes the last window of a clip.
    'appearance': (video + np.zeros(3), 4),
    'semantic': (2 + semantic, 100),
  }
  for layout in ('encoder-decoder', 'prefix'):
    (batch,) = _make(**options, repeat=False, layout=layout)(0)
    row = dict(zip(batch['example_ids'], range(2), strict=True))
    target = slice(-200, None)
    weights = batch['decoder_loss_weights'][:, target].reshape(2, 100, 2)
    np.testing.assert_array_equal(weights[row[b'long']], 1)
    np.testing.assert_array_equal(weights[row[b'short']].mean(1), wanted)
    ids = batch['decoder_target_tokens'][:, target].reshape(2, 100, 2)
    assert ((ids != specs.PAD_ID) == weights).all()
    assert (np.diff(ids[row[b'short'], :75], axis=0) == 1).all()
    for name, (recorded, length) in mirrored.items():
      stream = planted_records.TINY[name]
      found = batch.get(
        f'encoder_inputs_{name}', batch['decoder_target_tokens'][:, :100]
      )[row[b'short']].reshape(length, -1)
      cut = pipeline.cut(recorded, stream, 0.0, COARSE.crop_seconds)
      np.testing.assert_array_equal(found, cut)
  motion = specs.StageSpec(
    name='motion',
    inputs=(planted_records.TINY['appearance'],),
    target=planted_records.TINY['motion'],
    crop_seconds=4.0,
  )
  (batch,) = _make(motion, **options, repeat=False, layout='frames')(0)
  row = list(batch['example_ids']).index(b'short')
  # At 12.5 Hz three seconds have 37 whole frames.
  known = np.arange(50) < 37
  np.testing.assert_array_equal(batch['decoder_loss_weights'][row], known)
  times = batch['decoder_target_frames'][row, :, 0]
  np.testing.assert_allclose(times, known * np.arange(50) / 12.5, atol=1e-2)


def test_a_recording_shorter_than_the_crop_is_named(planted_data):
  stage = stages.coarse(
    inputs=('semantic',), crop_seconds=30.0, streams=planted_records.TINY
  )
  with pytest.raises(ValueError, match='30 s crop of stage') as e:
    next(_make(stage)(0))
  # One sentence, of what TensorFlow says about its graph.
  assert re.fullmatch(
    r'a recording is short.* seconds: clip\S+ \d+', str(e.value)
  )


def test_a_stage_with_other_sizes_than_the_records_is_refused(planted_data):
  stage = stages.semantic(inputs=('appearance',), streams=stages.TINY)
  with pytest.raises(ValueError, match='dim=96.*recorded.*dim=3'):
    next(_make(stage)(0))


def test_streams_are_dropped_as_often_as_asked():
  example = {k: tf.ones([2, 3]) for k in ('style', 'appearance', 'motion')}
  ds = tf.data.Dataset.from_tensors(example).repeat(4000)
  with seqio.utils.map_seed_manager(3):
    rates = {'style': 0.2, 'appearance': 0.1}
    ds = preprocessors.give_seeds(ds)
    ds = preprocessors.drop_streams(ds, rates=rates)
  rows = list(ds.as_numpy_iterator())
  kept = {k: np.array([r[k].max() for r in rows]) for k in example}
  assert all(len(np.unique(r['style'])) == 1 for r in rows)
  assert (kept['motion'] == 1).all()
  # Four standard deviations of 4000 draws are at most 0.032.
  assert kept['style'].mean() == pytest.approx(0.8, abs=0.032)
  # One is dropped as often whether the other is or not.
  for style in (0, 1):
    appearance = kept['appearance'][kept['style'] == style].mean()
    assert appearance == pytest.approx(0.9, abs=0.043)


def test_a_mixture_holds_the_rows_of_its_parts(planted_data):
  stage = stages.semantic(('appearance', 'style'), 2.0, planted_records.TINY)
  parts = [
    batches.TaskBatches(
      stage,
      dataset='planted',
      batch_size=size,
      seed=seed,
      drop_rates={'style': rate},
    )
    for size, seed, rate in ((3, 0, 1.0), (5, 1, 0.0))
  ]
  mixed = batches.MixedBatches(parts)
  first, second = (next(part(4)) for part in parts)
  both = next(mixed(4))
  for key, rows in both.items():
    np.testing.assert_array_equal(rows[:3], first[key])
    np.testing.assert_array_equal(rows[3:], second[key])
  # Four processes of two rows: one reads of both parts.
  slices = [next(mixed(4, (i, 4))) for i in range(4)]
  assert _equal(_joined(slices), both)
  style = both['encoder_inputs_style']
  assert not style[:3].any() and style[3:].any(axis=(1, 2)).all()
  with pytest.raises(ValueError, match='parts is empty'):
    batches.MixedBatches([])


def test_parts_say_how_many_of_their_rows_may_have_a_known_beginning(
  planted_data,
):
  parts = [
    _make(batch_size=size, prefix_rate=rate)
    for size, rate in ((3, 0.5), (1, 1))
  ]
  batch = next(batches.MixedBatches(parts)(0))
  np.testing.assert_array_equal(
    batch['decoder_prefix_rates'], np.array([0.5, 0.5, 0.5, 1.0], np.float32)
  )
  assert 'decoder_prefix_rates' not in next(_make()(0))
  with pytest.raises(ValueError, match='others none; give all of them'):
    batches.MixedBatches([parts[0], _make()])
  with pytest.raises(ValueError, match='prefix_rate is 2'):
    _make(prefix_rate=2)


def test_a_mixture_that_evaluates_ends_for_all_processes_at_once(planted_data):
  parts = [
    _make(split=split, batch_size=4, repeat=False)
    for split in ('train', 'validation')
  ]
  mixed = batches.MixedBatches(parts)
  # 24 and 6 recordings are six and two batches.
  assert [len(list(mixed(0, (i, 2)))) for i in range(2)] == [2, 2]


def test_only_a_continuous_input_can_be_dropped():
  with pytest.raises(ValueError, match="cannot drop the stream 'semantic'"):
    task_builder.build_task('planted', COARSE, drop_rates={'semantic': 0.1})
  with pytest.raises(ValueError, match='drop rate is 2'):
    preprocessors.drop_streams(tf.data.Dataset.range(1), rates={'style': 2})


def test_the_synthetic_tasks_are_registered_for_the_embedded_default():
  import tasks.seqio_tasks  # noqa: F401

  names = seqio.TaskRegistry.names()
  for stage in ('semantic', 'coarse', 'fine'):
    assert {f'synthetic_{stage}', f'synthetic_{stage}_eval'} <= set(names)
  task = seqio.TaskRegistry.get('synthetic_coarse')
  assert set(task.output_features) == {'semantic', 'coarse'}


def test_seqio_gives_a_registered_task_to_a_trainer_as_t5x_does(planted_data):
  task_builder.add_task('planted', FINE)

  def batch(seed):
    ds = seqio.get_dataset(
      'planted_fine',
      FINE.feature_lengths(),
      feature_converters.StageFeatureConverter(FINE, pack=False),
      shuffle=True,
      num_epochs=1,
      seed=seed,
      batch_size=24,
    )
    assert set(ds.element_spec) == {
      'encoder_inputs_coarse',
      'decoder_input_tokens',
      'decoder_target_tokens',
      'decoder_loss_weights',
    }
    return next(ds.as_numpy_iterator())['decoder_target_tokens']

  codes = tokens.IdSpace(FINE).ids_to_codes(batch(0), FINE.target)
  assert codes.shape == (24, 75, 6)
  # Crops of 3 s out of 12 s and more start anywhere: 24 of 226 or more places.
  assert len(np.unique(codes[:, 0, 0])) > 12
  np.testing.assert_array_equal(batch(0), batch(0))
  assert (batch(0) != batch(1)).any()


def test_batches_describe_all_that_their_order_follows_from(
  planted_dir, planted_data, planted_prepare, tmp_path, monkeypatch
):
  described = [
    _make().describe(),
    _make(split='validation').describe(),
    _make(seed=2).describe(),
    _make(batch_size=4).describe(),
    _make(FINE).describe(),
    batches.MixedBatches([_make(), _make(seed=2)]).describe(),
    batches.MixedBatches([_make(seed=2), _make()]).describe(),
  ]
  # Other records under the same name: longer clips only.
  planted_prepare(tmp_path / 'planted', min_seconds=15.0)
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path))
  described.append(_make().describe())
  assert all(a != b for a, b in itertools.combinations(described, 2))
  # The same records elsewhere are the same data.
  shutil.copytree(planted_dir / 'planted', tmp_path / 'moved' / 'planted')
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path / 'moved'))
  assert _make().describe() == described[0]
  assert json.loads(json.dumps(described)) == described


def test_a_stream_that_is_always_dropped_need_not_be_recorded(planted_data):
  absent = specs.FeatureSpec(name='plan', dim=5, rate_hz=25.0)
  streams = {**planted_records.TINY, 'plan': absent}
  stage = stages.semantic(('appearance', 'plan'), streams=streams)
  batch = next(_make(stage, drop_rates={'plan': 1})(0))
  assert batch['encoder_inputs_plan'].shape == (8, 250, 5)
  assert not batch['encoder_inputs_plan'].any()
  without = stages.semantic(('appearance',), streams=streams)
  same = next(_make(without)(0))
  np.testing.assert_array_equal(
    batch['encoder_inputs_appearance'], same['encoder_inputs_appearance']
  )
  for rates in ({'plan': 0.9}, {}):
    with pytest.raises(ValueError, match="needs the recorded stream 'plan'"):
      next(_make(stage, drop_rates=rates)(0))
