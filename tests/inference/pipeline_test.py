"""Windows cover a clip, go on from their prefix and do not depend on others."""

import dataclasses

import jax
import numpy as np
import pytest

from v2meow_jax import specs
from v2meow_jax.extractors.planning import themes
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import windows as windows_lib
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


class Kept:
  """Keeps windows in memory."""

  def __init__(self):
    self.codes = []

  def windows(self, spec):
    del spec
    return list(self.codes)

  def add(self, spec, codes):
    del spec
    self.codes.append(codes)


class Stopping(CopyingStage):
  """Fails at the call after so many."""

  def __init__(self, num_calls):
    super().__init__()
    self.num_calls = num_calls

  def sample(self, *args, **options):
    if len(self.calls) == self.num_calls:
      raise KeyboardInterrupt
    return super().sample(*args, **options)


@pytest.mark.parametrize('prefix_seconds', [0.0, 1.0])
@pytest.mark.parametrize('rows', [1, 2])
@pytest.mark.parametrize('num_calls', [0, 1, 2])
def test_what_was_interrupted_goes_on_at_its_window_to_the_same_codes(
  prefix_seconds, rows, num_calls
):
  windows = options.Windows(prefix_seconds=prefix_seconds, rows=rows)
  wanted, calls = run_batch([clip_of(s) for s in (11.0, 17.5)], windows)
  clips = [dataclasses.replace(clip_of(s), kept=Kept()) for s in (11.0, 17.5)]
  settings = {'sampling': options.Sampling(temperature=1.0), 'windows': windows}
  with pytest.raises(KeyboardInterrupt):
    pipeline.sample_stage(Stopping(num_calls), clips, **settings)
  rest = CopyingStage()
  seconds = []
  codes = pipeline.sample_stage(rest, clips, **settings, on_call=seconds.append)
  for one, other in zip(codes, wanted, strict=True):
    np.testing.assert_array_equal(one[..., 0], other)
  # Rows that were left over may share calls with others.
  assert len(rest.calls) <= len(calls) - num_calls
  assert sum(seconds) >= 11.0 + 17.5


def returning(start, stop, earlier):
  return themes.Return(
    times=np.array([start, stop]),
    earlier=np.array([earlier, earlier + stop - start]),
  )


def test_a_film_has_the_same_codes_on_a_disk_as_in_memory(tmp_path):
  clip = dataclasses.replace(
    clip_of(70.0), returns=(returning(62.0, 66.0, 1.0),)
  )

  def codes(scratch):
    (codes,) = pipeline.sample_stage(
      CopyingStage(),
      [clip],
      sampling=options.Sampling(temperature=1.0),
      windows=options.Windows(prefix_seconds=1.0),
      scratch=scratch,
    )
    return codes

  on_disk = codes(tmp_path)
  np.testing.assert_array_equal(on_disk, codes(None))
  assert isinstance(on_disk, np.memmap)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('prefix_seconds', [0.0, 1.0])
def test_music_returns_and_goes_on_from_there(prefix_seconds):
  windows = options.Windows(prefix_seconds=prefix_seconds)
  clip = dataclasses.replace(
    clip_of(20.0),
    returns=(returning(9.0, 12.5, 1.0), returning(12.5, 15.0, 10.0)),
  )
  (codes,), _ = run_batch([clip], windows)
  np.testing.assert_array_equal(codes[36:50], codes[4:18])
  np.testing.assert_array_equal(codes[50:60], codes[40:50])
  # All else is written from what is seen then, to the end.
  new = np.r_[0:36, 60:80]
  seen = np.repeat(np.arange(40), 2)
  np.testing.assert_array_equal(codes[new] // 10, seen[new])
  assert len(codes) == 80
  # The last window was led by what had returned.
  if prefix_seconds:
    windows_seen = [0.0, 3.0, 6.0, 14.0, 17.0]
    track = windows_lib.Track(SPEC, 20.0, prefix_seconds, clip.returns)
    assert [w.start_seconds for w in track.windows] == windows_seen


def test_stages_that_read_codes_follow_what_returned():
  target = dataclasses.replace(TARGET, name='coarse')
  spec = dataclasses.replace(
    SPEC, inputs=(TARGET,), target=target, name='coarse'
  )
  stage = CopyingStage()
  stage.spec = spec
  stage.sample = lambda inputs, rngs, *rest: inputs['semantic']
  clip = dataclasses.replace(clip_of(9.0), returns=(returning(5.0, 7.0, 1.0),))
  clip.streams['semantic'] = np.arange(36, dtype=np.int32)[:, None]
  (codes,) = pipeline.sample_stage(
    stage,
    [clip],
    sampling=options.Sampling(temperature=1.0),
    windows=options.Windows(),
  )
  np.testing.assert_array_equal(codes[:36], clip.streams['semantic'])


@pytest.mark.parametrize('prefix_seconds', [0.0, 1.0])
@pytest.mark.parametrize(('start', 'end'), [(5.0, 9.25), (0.0, 6.0), (9.0, 11)])
def test_a_stretch_is_made_again_and_the_rest_stays(prefix_seconds, start, end):
  windows = options.Windows(prefix_seconds=prefix_seconds)
  codes, _ = run(11.0, windows)
  codes = 2000 + codes[:44, None]
  clip = dataclasses.replace(
    clip_of(11.0),
    remade=windows_lib.Remade(start=start, end=end, codes={'semantic': codes}),
  )
  (again,), calls = run_batch([clip], windows)
  first, stop = round(4 * start), round(4 * end)
  seen = np.repeat(np.arange(22), 2)
  np.testing.assert_array_equal(again[:first], codes[:first, 0])
  np.testing.assert_array_equal(again[stop:44], codes[stop:, 0])
  np.testing.assert_array_equal(again[first:stop] // 10, seen[first:stop])
  assert len(calls) == -(-(stop - first) // round(4 * (4 - prefix_seconds)))


@pytest.mark.parametrize('choice', ['top_k', 'top_p', 'max_run'])
def test_nothing_is_chosen_among_codes_where_none_are_written(choice):
  target = specs.FeatureSpec(name='x', dim=3, rate_hz=5.0)
  spec = specs.StageSpec(name='m', inputs=(), target=target, crop_seconds=2.0)
  wanted = options.Sampling(**{choice: 1})
  with pytest.raises(ValueError, match=f'{choice} was given, and no stage'):
    pipeline.resolve(wanted, [options.Sampling()], [spec])
