"""Windows cover a clip, go on from their prefix and do not depend on others."""

import jax
import numpy as np
import pytest

from v2meow_jax import specs
from v2meow_jax.inference import pipeline
from v2meow_jax.models.sampling import options

MOTION = specs.FeatureSpec(name='motion', dim=1, rate_hz=2.0)
STYLE = specs.FeatureSpec(name='style', dim=3, rate_hz=0.0)
TARGET = specs.TokenSpec(name='semantic', codebook_size=1000, rate_hz=4.0)
SPEC = specs.StageSpec(
  name='semantic', inputs=(MOTION, STYLE), target=TARGET, crop_seconds=4.0
)


class CopyingStage:
  """Writes what it sees: motion's number of the moment, plus key noise."""

  spec = SPEC

  def __init__(self):
    self.calls = []

  def sample(self, inputs, rngs, sampling, prefix=None, negative=None):
    del sampling
    self.calls.append(len(rngs))
    seen = np.repeat(inputs['motion'][..., 0], 2, axis=1).astype(int)
    noise = [int(jax.random.randint(k, (), 0, 10)) for k in rngs]
    codes = (seen * 10 + np.array(noise)[:, None])[..., None]
    if prefix is not None:
      codes[:, : prefix.shape[1]] = prefix
    return codes.astype(np.int32)


def clip_of(seconds, seed=0):
  frames = round(seconds * MOTION.rate_hz)
  return pipeline.ClipStreams(
    streams={
      'motion': np.arange(frames, dtype=np.float32)[:, None],
      'style': np.zeros((1, 3), np.float32),
    },
    seconds=seconds,
    seed=seed,
  )


def run_batch(clips, windows):
  stage = CopyingStage()
  codes = pipeline.sample_stage(
    stage,
    clips,
    sampling=options.Sampling(temperature=1.0),
    windows=windows,
  )
  return [c[..., 0] for c in codes], stage.calls


def run(seconds, windows, seed=0):
  (codes,), calls = run_batch([clip_of(seconds, seed)], windows)
  return codes, calls


@pytest.mark.parametrize('prefix_seconds', [0.0, 1.0, 2.0])
def test_every_moment_of_the_clip_is_written_from_what_is_seen_then(
  prefix_seconds,
):
  codes, _ = run(11.0, options.Windows(prefix_seconds=prefix_seconds))
  np.testing.assert_array_equal(codes[:44] // 10, np.repeat(np.arange(22), 2))


def test_a_longer_clip_begins_as_a_shorter_one():
  windows = options.Windows(prefix_seconds=1.0)
  short, _ = run(10.0, windows)
  long, _ = run(19.0, windows)
  np.testing.assert_array_equal(long[:40], short[:40])


def test_rows_that_go_together_change_nothing():
  one, calls_of_one = run(11.0, options.Windows(rows=1))
  four, calls_of_four = run(11.0, options.Windows(rows=4))
  np.testing.assert_array_equal(one, four)
  assert calls_of_one == [1, 1, 1]
  assert calls_of_four == [4]


@pytest.mark.parametrize('prefix_seconds', [0.0, 1.0])
@pytest.mark.parametrize('rows', [1, 2, 3, 8])
def test_a_clip_among_others_is_as_alone(prefix_seconds, rows):
  windows = options.Windows(prefix_seconds=prefix_seconds, rows=rows)
  clips = [clip_of(s, seed) for seed, s in enumerate((11.0, 0.5, 4.0, 17.5))]
  together, _ = run_batch(clips, windows)
  for clip, codes in zip(clips, together, strict=True):
    (alone,), _ = run_batch([clip], windows)
    np.testing.assert_array_equal(codes, alone)


@pytest.mark.parametrize(
  # Windows of 4 s: 3, 1 and 5 of them, or 4, 1 and 6 with a prefix of 1 s.
  ('prefix_seconds', 'calls'),
  [(0.0, 5), (1.0, 2 + 1 + 1 + 1 + 1 + 1)],
)
def test_windows_of_many_clips_fill_calls_of_one_shape(prefix_seconds, calls):
  windows = options.Windows(prefix_seconds=prefix_seconds, rows=2)
  _, made = run_batch([clip_of(s) for s in (11.5, 2.0, 18.0)], windows)
  assert made == [2] * calls


def test_no_clips_need_no_call():
  assert run_batch([], options.Windows(prefix_seconds=1.0)) == ([], [])


def test_a_call_without_rows_is_refused():
  with pytest.raises(ValueError, match='rows is 0'):
    options.Windows(rows=0)
  with pytest.raises(ValueError, match='rows is 257; wanted 1 to 256'):
    options.Windows(rows=257)


def test_options_left_open_are_those_below():
  own = options.Sampling(temperature=0.4, top_k=7)
  assert options.Sampling().over(own) == own
  greedy = options.Sampling(temperature=0.0)
  assert greedy.over(own) == options.Sampling(temperature=0.0, top_k=7)


def test_another_seed_draws_otherwise():
  windows = options.Windows()
  assert (run(8.0, windows, seed=1)[0] != run(8.0, windows, seed=2)[0]).any()


def test_beyond_the_end_the_clip_is_mirrored():
  array = np.arange(4)[:, None]
  window = pipeline.cut(array, MOTION, start=1.0, seconds=3.0)
  assert window[:, 0].tolist() == [2, 3, 3, 2, 1, 0]


def test_a_static_stream_is_the_same_in_every_window():
  style = np.ones((1, 3))
  assert pipeline.cut(style, STYLE, 7.0, 4.0).shape == (1, 3)


@pytest.mark.parametrize(
  ('seconds', 'starts'),
  [(0.5, [0.0]), (10.0, [0.0]), (10.1, [0.0, 8.0]), (18.0, [0.0, 8.0])],
)
def test_windows_are_no_more_than_the_clip_needs(seconds, starts):
  assert pipeline.window_starts(seconds, 10.0, 2.0) == starts


def test_a_prefix_that_fills_the_window_is_refused():
  with pytest.raises(ValueError, match='shorter'):
    pipeline.window_starts(10.0, 2.0, 2.0)


@pytest.mark.parametrize('temperature', [-1.0, float('nan'), float('inf')])
def test_a_temperature_that_cannot_be_sampled_at_is_refused(temperature):
  with pytest.raises(ValueError, match='temperature'):
    options.Sampling(temperature=temperature)


def test_top_k_of_none_left_is_refused():
  with pytest.raises(ValueError, match='top_k'):
    options.Sampling(temperature=1.0, top_k=0)
