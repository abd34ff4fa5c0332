"""Tokens are fitted to planted frames, whatever some clips hold."""

import numpy as np
import pytest

from tests.fakes import folded_encoder
from v2meow_jax import specs
from v2meow_jax.clusters import clustering
from v2meow_jax.clusters import snapshots
from v2meow_jax.extractors import clustered_tokens
from v2meow_jax.jobs.prepare import clip_frames
from v2meow_jax.jobs.prepare import token_fitting

K = 5
SIZES = token_fitting.FrameSampling(clip_seconds=4, block_rows=300)
MINI_BATCH = clustering.MiniBatch(batch_rows=100, num_passes=2)
LLOYD = clustering.Lloyd(init='random', start_rows=40)
HEARD_BY = {'kind': 'folded', 'sha256': '00', 'settings': {'layer': 7}}
CENTRES = np.random.default_rng(0).normal(0, 20, (K, 4)) + 7


def labels_of(name):
  """int[100 or 5000]: what is planted in each frame; 'long' plays one thing."""
  if name == 'long':
    return np.zeros(5000, int)
  return np.random.default_rng(int(name)).integers(0, K, 100)


def frames_of(name):
  labels = labels_of(name)
  noise = np.random.default_rng(len(labels)).normal(size=(len(labels), 4))
  return CENTRES[labels] + noise


def read_audio(name):
  return folded_encoder.audio_of(frames_of(name))


CLIPS = [str(i) for i in range(20)]
ENCODER = folded_encoder.Folded()


def fit(clips=CLIPS, read=read_audio, sampling=SIZES, **options):
  options = {
    'seed': 0,
    'heard_by': HEARD_BY,
    'clustering': MINI_BATCH,
  } | options
  return token_fitting.fit_tokens(
    clips, read, ENCODER, K, sampling=sampling, **options
  )


def equal(one, two):
  for name in one.params:
    np.testing.assert_array_equal(one.params[name], two.params[name])
  np.testing.assert_array_equal(one.report.usage, two.report.usage)
  assert str(one.report) == str(two.report)
  assert one.rejected == two.rejected


@pytest.fixture(scope='module')
def whole():
  return fit()


def test_codes_are_the_planted_labels(whole):
  stream = specs.TokenSpec(name='semantic', codebook_size=K, rate_hz=25.0)
  extract = clustered_tokens.ClusteredTokens(stream, ENCODER, whole.params)
  codes = extract(read_audio('99'))[:, 0]
  pairs = set(zip(codes.tolist(), labels_of('99').tolist(), strict=True))
  assert len(pairs) == K == len({code for code, _ in pairs})
  every = np.concatenate([frames_of(c) for c in CLIPS])
  np.testing.assert_allclose(whole.params['mean'], every.mean(0), rtol=1e-5)
  np.testing.assert_allclose(whole.params['std'], every.std(0), rtol=1e-5)
  assert whole.report.num_rows == len(every) == whole.report.usage.sum()
  assert not whole.rejected


class Stop(BaseException):
  """What no ledger may catch."""


class Interrupted:
  """Reads so many clips, then is told to stop."""

  def __init__(self, most):
    self.left = most

  def __call__(self, name):
    if not self.left:
      raise Stop
    self.left -= 1
    return read_audio(name)


# 20 clips for the scaling, 20 in each of two passes, a save at each third.
@pytest.mark.parametrize('stop', [1, 8, 20, 25, 41, 59])
def test_an_interrupted_run_ends_to_the_bit_where_a_whole_one_does(
  tmp_path, whole, stop
):
  with pytest.raises(Stop):
    fit(read=Interrupted(stop), state_dir=tmp_path)
  # Not more than the clips since the last save, two, are read again.
  rest = Interrupted(60 - stop + 2)
  equal(fit(read=rest, state_dir=tmp_path), whole)
  equal(fit(read=Interrupted(0), state_dir=tmp_path), whole)


# 20 clips for the scaling, 20 that are gathered, then iterations.
@pytest.mark.parametrize('stop', [8, 25, 39])
def test_a_lloyd_run_goes_on_without_hearing_again_what_is_kept(tmp_path, stop):
  whole = fit(clustering=LLOYD)
  with pytest.raises(Stop):
    fit(read=Interrupted(stop), clustering=LLOYD, state_dir=tmp_path)
  rest = Interrupted(40 - stop + 2)
  equal(fit(read=rest, clustering=LLOYD, state_dir=tmp_path), whole)
  equal(fit(read=Interrupted(0), clustering=LLOYD, state_dir=tmp_path), whole)


@pytest.mark.parametrize('init', ['random', 'k-means++'])
def test_lloyd_is_that_of_all_rows(init):
  found = fit(clustering=clustering.Lloyd(init=init, num_iterations=200))
  assert found.report.moved == 0
  every = np.concatenate([frames_of(c) for c in CLIPS])
  every = (every - every.mean(0)) / every.std(0)
  distance = ((every[:, None] - found.params['centroids']) ** 2).sum(-1)
  # A fixed point: each centroid is the mean of its rows.
  means = [every[distance.argmin(1) == i].mean(0) for i in range(K)]
  np.testing.assert_allclose(found.params['centroids'], means, atol=1e-4)
  assert found.report.num_rows == len(every) == found.report.usage.sum()


def test_rows_that_were_cut_are_refused(tmp_path):
  with pytest.raises(Stop):
    fit(read=Interrupted(30), clustering=LLOYD, state_dir=tmp_path)
  rows = tmp_path / 'rows.float32'
  rows.write_bytes(rows.read_bytes()[:-17])
  with pytest.raises(snapshots.SnapshotError, match='rows.float32 is damaged'):
    fit(clustering=LLOYD, state_dir=tmp_path)


@pytest.mark.parametrize(
  'other',
  [
    HEARD_BY | {'settings': {'layer': 9}},
    HEARD_BY | {'sha256': '11'},
    HEARD_BY | {'kind': 'other'},
  ],
)
@pytest.mark.parametrize('method', [MINI_BATCH, LLOYD])
def test_the_state_of_another_encoder_is_refused(tmp_path, method, other):
  with pytest.raises(Stop):
    fit(read=Interrupted(30), clustering=method, state_dir=tmp_path)
  with pytest.raises(snapshots.SnapshotError) as e:
    fit(heard_by=other, clustering=method, state_dir=tmp_path)
  assert str(HEARD_BY) in str(e.value) and str(other) in str(e.value)


@pytest.fixture
def read_most():
  """Of the clips, one cannot be opened and one is not a number throughout."""

  def read(name):
    if name == '3':
      raise OSError('truncated')
    if name == '11':
      return folded_encoder.audio_of(np.full((100, 4), np.nan))
    return read_audio(name)

  return read


def test_bad_clips_are_told_and_left_out(tmp_path, read_most):
  found = fit(read=read_most, max_rejected=0.1, state_dir=tmp_path)
  assert sorted(found.rejected) == ['11', '3']
  assert found.rejected['3'] == 'OSError: truncated'
  assert 'NaN or infinity in 100 of 100 frames' in found.rejected['11']
  assert found.report.num_rows == 1800
  # The file has each once, though each was met three times.
  ledger = tmp_path / clip_frames.LEDGER_NAME
  assert len(ledger.read_text().splitlines()) == 2
  # A line that was being written when the machine stopped.
  ledger.write_text(ledger.read_text() + '{"clip": "1')
  assert clip_frames.Ledger(tmp_path, 5).reasons == found.rejected
  assert len(ledger.read_text().splitlines()) == 2


def test_too_many_bad_clips_end_the_run(read_most):
  with pytest.raises(
    clip_frames.TooManyRejected, match='2, more than 1; the last is (3|11): '
  ):
    fit(read=read_most)
  with pytest.raises(clip_frames.TooManyRejected, match='1, .* 0; .* 3: '):
    fit(CLIPS[3:4], read=read_most, max_rejected=0.0)
  with pytest.raises(ValueError, match='none of the clips gave a frame'):
    fit(CLIPS[3:4], read=read_most, max_rejected=1.0)


def test_a_long_clip_counts_as_one_of_many():
  clips = [*CLIPS, 'long']
  found = fit(clips)
  assert found.report.num_rows == 21 * 100
  assert found.report.usage.max() < 700  # 400 of all clips, 100 of this.


def test_blocks_are_bounded_and_mixed():
  heard = []

  class Listening(folded_encoder.Folded):
    def __call__(self, audio):
      heard.append(audio.seconds)
      return super().__call__(audio)

  source = clip_frames.ClipFrames(
    [*CLIPS, 'long'],
    read_audio,
    Listening(),
    clip_frames.Ledger(None, 0),
    seed=0,
    clip_seconds=4,
  )
  blocks = list(
    source.blocks(np.arange(21), 0, 2, block_rows=250, on_clip=lambda _: None)
  )
  assert max(heard) == 4
  assert [len(rows) for rows, _ in blocks] == [300] * 6 + [100]
  assert [behind for _, behind in blocks] == [5, 8, 11, 14, 17, 20, 21]
  together = np.concatenate([frames_of(c) for c in CLIPS[2:5]]).astype('f')
  found = blocks[0][0]
  assert not np.array_equal(found, together)
  np.testing.assert_array_equal(np.sort(found, 0), np.sort(together, 0))
  # Another pass draws another stretch of a long clip.
  one, two = source.rows(20, 0), source.rows(20, 1)
  assert one is not None and two is not None
  assert not np.array_equal(one, two)


def test_held_out_clips_are_told_apart():
  sampling = token_fitting.FrameSampling(
    clip_seconds=4, block_rows=300, held_out_clips=4
  )
  method = clustering.MiniBatch(batch_rows=100)
  report = fit(sampling=sampling, clustering=method).report
  assert report.num_rows == 1600 and report.held_out_rows == 400
  assert report.held_out_inertia_per_row == pytest.approx(
    report.inertia_per_row, rel=0.5
  )


def test_the_state_of_another_run_is_refused(tmp_path):
  fit(state_dir=tmp_path)
  with pytest.raises(snapshots.SnapshotError, match='seed 0'):
    fit(state_dir=tmp_path, seed=1)
  with pytest.raises(snapshots.SnapshotError, match='clips'):
    fit(CLIPS[:-1], state_dir=tmp_path)
  with pytest.raises(snapshots.SnapshotError, match=r'k 5 \(wanted 4\)'):
    token_fitting.fit_tokens(
      CLIPS,
      read_audio,
      ENCODER,
      4,
      heard_by=HEARD_BY,
      seed=0,
      sampling=SIZES,
      clustering=MINI_BATCH,
      state_dir=tmp_path,
    )
  (tmp_path / 'scaling.safetensors').write_bytes(b'')
  with pytest.raises(snapshots.SnapshotError, match='damaged'):
    fit(state_dir=tmp_path)


def test_refuses_what_cannot_be_fitted():
  with pytest.raises(ValueError, match='leave none'):
    fit([])
  with pytest.raises(ValueError, match='block_rows is 3'):
    fit(sampling=token_fitting.FrameSampling(block_rows=3))
