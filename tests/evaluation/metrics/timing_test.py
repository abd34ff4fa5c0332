"""Coverage, onsets, beats and tempo of sound, and of times, in all forms."""

import mir_eval
import numpy as np
import pytest
import soundfile

from v2meow_jax import media
from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.evaluation.metrics import timing
from v2meow_jax.evaluation.reports import report
from v2meow_jax.files import read

librosa = numba_cache.librosa()

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
FORMS = ['adjusted', 'unadjusted']


def clicks(bpm, seconds=10.0, offset=0.21, rate_hz=RATE_HZ):
  """A click track: decaying noise bursts, the same at every beat."""
  burst = np.random.default_rng(0).normal(size=480) * np.exp(
    -np.arange(480) / 80
  )
  samples = np.zeros(round(seconds * rate_hz), np.float32)
  for t in np.arange(offset, seconds - 0.05, 60.0 / bpm):
    start = round(t * rate_hz)
    samples[start : start + 480] += 0.2 * burst[: len(samples) - start]
  return media.Audio(samples=samples, rate_hz=rate_hz)


def silence(seconds=10.0):
  return media.Audio(
    samples=np.zeros(round(seconds * RATE_HZ), np.float32), rate_hz=RATE_HZ
  )


def notes(times, seconds=10.0):
  """A short tone at each time, of a clip with silence in between."""
  samples = np.zeros(round(seconds * RATE_HZ), np.float32)
  decay = np.arange(3200) / RATE_HZ
  note = 0.3 * np.sin(2 * np.pi * 440 * decay) * np.exp(-20 * decay)
  for t in times:
    start = round(t * RATE_HZ)
    samples[start : start + 3200] += note[: len(samples) - start]
  return media.Audio(samples=samples, rate_hz=RATE_HZ)


def estimated(audio):
  return timing.Rhythm(
    onsets=beat_coverage.onsets(audio), beats=beat_scores.track(audio)
  )


def coverage(reference, generated, form='adjusted'):
  sides = [
    [beat_coverage.bins(clip, form) for clip in side]
    for side in (reference, generated)
  ]
  return beat_coverage.beat_coverage(*sides, form=form)


def values(found):
  return {name: score.value for name, score in found.items()}


def test_an_unaligned_click_track_saturates_the_papers_form_alone():
  reference, generated = [clicks(120)] * 2, [clicks(97, offset=0.37)] * 2
  for form, suffix in (('adjusted', ''), ('unadjusted', '_unadjusted')):
    found = coverage(reference, generated, form=form)
    for name in ('bcs', 'bhs', 'f1'):
      assert found[name + suffix].value == 1.0
      assert found[name + suffix].details['saturated'] is True
  windowed = timing.timing(
    list(map(estimated, reference)), list(map(estimated, generated))
  )
  for name in ('bcs_70ms', 'bhs_70ms', 'f1_70ms', 'onset_f', 'beat_f'):
    assert windowed[name].value < 0.6
  assert windowed['f1_70ms'].details['saturated'] is False
  lines = report.figures(found | windowed).splitlines()
  assert [line for line in lines if 'bcs_unadjusted' in line] == [
    '| `bcs_unadjusted` | 1.000 | 1.000 to 1.000 | 2 | saturated |'
  ]
  assert not any('saturated' in line for line in lines if '_70ms' in line)
  assert windowed['tempo_accuracy'].value == 0.0
  assert windowed['tempo_error'].value == pytest.approx(
    np.log2(120 / 97), abs=0.01
  )


@pytest.mark.parametrize('form, num', [('adjusted', 19), ('unadjusted', 18)])
def test_a_click_track_of_120_bpm_fills_all_bins_and_silence_none(form, num):
  onsets = beat_coverage.onsets(clicks(120, offset=0.0), form)
  assert beat_coverage.second_bins(onsets, 10.0).tolist() == [True] * 10
  assert len(onsets) == num  # Of 20: nothing rises before a click at 0 s.
  onsets = beat_coverage.onsets(silence(), form)
  assert beat_coverage.second_bins(onsets, 10.0).tolist() == [False] * 10


@pytest.mark.parametrize(
  'form, published',
  [
    ('adjusted', dict(pre_avg=3, post_avg=3, pre_max=3, post_max=3)),
    ('unadjusted', dict(pre_avg=1, post_avg=1, post_max=1)),
  ],
)
def test_onsets_are_those_of_the_published_call(form, published):
  noise = np.random.default_rng(0).normal(size=5 * 22_050) ** 3
  samples = (0.01 * noise).astype(np.float32)
  samples[: 2 * 22_050] += clicks(150, 2.0, rate_hz=22_050).samples
  wanted = librosa.onset.onset_detect(
    y=samples, sr=22_050, wait=1, delta=0.2, units='time', **published
  )
  onsets = beat_coverage.onsets(
    media.Audio(samples=samples, rate_hz=22_050), form
  )
  assert len(onsets) > 4 and onsets.tolist() == wanted.tolist()


def test_onsets_are_where_notes_start():
  planted = np.array([0.5, 2.2, 4.9, 7.25])
  onsets = beat_coverage.onsets(notes(planted))
  assert onsets == pytest.approx(planted, abs=0.05)


def test_coverage_sees_notes_that_are_missing_and_moved_by_seconds():
  reference = notes([0.5, 2.5, 4.5, 6.5])
  found = coverage(
    [reference] * 2, [notes([0.5, 2.5]), notes([1.5, 2.5, 3.5, 4.5])]
  )
  assert found['bcs'].per_clip == (1.0, 0.5)
  assert found['bhs'].per_clip == (0.5, 0.5)
  # Harmonic mean of the means 0.75 and 0.5, not the mean of harmonic means.
  assert found['f1'].value == pytest.approx(0.6)
  assert found['csd'].value == pytest.approx(np.std([1.0, 0.5], ddof=1))
  assert found['hsd'].value == 0.0
  assert not any(found[n].details['saturated'] for n in ('bcs', 'bhs', 'f1'))


def test_one_clip_has_no_deviation():
  found = coverage([clicks(120)], [clicks(120)])
  assert list(found) == ['bcs', 'bhs', 'f1']


def test_saturation_of_a_set_is_that_of_most_clips():
  full, part = clicks(120), notes([0.5, 2.5])
  found = coverage([full, part, part], [part] * 3)
  assert found['bcs'].details['saturated_share'] == pytest.approx(1 / 3)
  assert found['bcs'].details['saturated'] is False
  found = coverage([full, full, part], [part] * 3)
  assert found['bcs'].details['saturated'] is True
  assert found['f1'].details['saturated'] is True
  assert found['bhs'].details['saturated'] is False


@pytest.mark.parametrize('gain', [0.1, 3.0])
def test_gain_changes_no_score(gain):
  reference = notes([0.5, 2.2, 4.9, 7.25])
  generated = notes([0.5, 2.25, 5.9])
  loud = media.Audio(samples=generated.samples * gain, rate_hz=RATE_HZ)
  for form in FORMS:
    plain, scaled = (
      coverage([reference], [clip], form=form) for clip in (generated, loud)
    )
    assert values(plain) == values(scaled)
  true = estimated(reference)
  plain, scaled = (
    timing.timing([true], [estimated(clip)]) for clip in (generated, loud)
  )
  assert values(plain) == pytest.approx(values(scaled))


def test_stereo_duplicates_change_no_score(tmp_path):
  mono = clicks(97).samples
  soundfile.write(tmp_path / 'mono.wav', mono, RATE_HZ)
  soundfile.write(tmp_path / 'stereo.wav', np.stack([mono, mono], 1), RATE_HZ)
  one, two = (
    read.read_audio(tmp_path / name) for name in ('mono.wav', 'stereo.wav')
  )
  reference = clicks(120)
  assert coverage([reference], [one]) == coverage([reference], [two])
  true = estimated(reference)
  assert timing.timing([true], [estimated(one)]) == timing.timing(
    [true], [estimated(two)]
  )


def test_the_rate_of_a_clip_changes_no_score():
  reference, low, high = clicks(120), clicks(120), clicks(120, rate_hz=44_100)
  found = coverage([reference] * 2, [low, high])
  assert found['bcs'].per_clip == found['bhs'].per_clip == (1.0, 1.0)


@pytest.mark.parametrize('seed', range(5))
def test_windowed_f_is_mir_evals_for_onsets_too(seed):
  rng = np.random.default_rng(seed)
  one, other = (np.sort(rng.uniform(0, 10, n)) for n in (25, 30))
  wanted = mir_eval.onset.f_measure(one, other, window=0.07)[0]
  assert beat_scores.beat_f(other, one) == pytest.approx(wanted)
  assert beat_scores.beat_f(one, other) == pytest.approx(wanted)


def rhythm(times, tempo_bpm):
  return timing.Rhythm(
    onsets=times, beats=beat_scores.Beats(tempo_bpm=tempo_bpm, times=times)
  )


@pytest.mark.parametrize(
  'shift, f', [(0.0, 1.0), (0.06, 1.0), (0.08, 0.0), (0.25, 0.0)]
)
def test_a_planted_shift_counts_beyond_70_ms(shift, f):
  times = np.arange(0.3, 10.0, 0.5)
  found = timing.timing([rhythm(times, 120.0)], [rhythm(times + shift, 120.0)])
  assert values(found) == {
    'bcs_70ms': f,
    'bhs_70ms': f,
    'f1_70ms': f,
    'onset_f': f,
    'beat_f': f,
    'tempo_error': 0.0,
    'tempo_accuracy': 1.0,
  }


def test_windowed_coverage_and_hit_are_a_precision_and_a_recall():
  times = np.arange(0.3, 10.0, 0.5)
  late = np.concatenate([times[:5], times[5:10] + 0.1])
  found = timing.timing(
    [rhythm(times, 120.0)] * 2, [rhythm(times[::2], 60.0), rhythm(late, 120.0)]
  )
  assert found['bcs_70ms'].per_clip == (1.0, 0.5)
  assert found['bhs_70ms'].per_clip == (0.5, 0.25)
  # Of the means, 0.75 and 0.375.
  assert found['f1_70ms'].value == pytest.approx(0.5)


def test_onsets_so_dense_that_any_time_is_near_one_saturate_the_window():
  dense, times = np.arange(0.0, 10.0, 0.13), np.arange(0.3, 10.0, 0.5)
  found = timing.timing([rhythm(dense, None)], [rhythm(times, 120.0)])
  assert found['bcs_70ms'].value == 1.0
  assert found['bcs_70ms'].details['saturated'] is True
  assert found['bhs_70ms'].details['saturated'] is False
  assert found['f1_70ms'].details['saturated'] is True


def test_octave_errors_are_counted_and_silence_is_an_octave_off():
  times, none = np.arange(0.3, 10.0, 0.5), np.zeros(0)
  found = timing.timing(
    [rhythm(times, 120.0)] * 3,
    [rhythm(times[::2], 60.0), rhythm(times, 120.0), rhythm(none, None)],
  )
  assert found['tempo_error'].per_clip == (1.0, 0.0, 1.0)
  assert found['tempo_accuracy'].details['octave_errors'] == 1
  assert found['beat_f'].per_clip == pytest.approx((2 / 3, 1.0, 0.0))


@pytest.mark.parametrize(
  'pair, error',
  [
    ((120.0, 120.0), 0.0),
    ((120.0, 60.0), 1.0),
    ((50.0, 200.0), 1.0),
    ((100.0, 125.0), np.log2(1.25)),
    ((None, 100.0), 1.0),
    ((None, None), 0.0),
  ],
)
def test_tempo_error_is_in_octaves_and_symmetric(pair, error):
  assert beat_scores.tempo_error(*pair) == pytest.approx(error)
  assert beat_scores.tempo_error(*pair[::-1]) == pytest.approx(error)
