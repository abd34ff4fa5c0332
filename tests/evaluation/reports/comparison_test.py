"""Folders of clips are paired, heard once and scored; no clip goes missing."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile

from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.evaluation.listening import pairs
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import comparison
from v2meow_jax.evaluation.reports import report as report_lib
from v2meow_jax.evaluation.reports import tables
from v2meow_jax.files import read

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
TONES = {f'clip{i}': 200.0 * 1.3**i for i in range(6)}


class Ear:
  """Energy in 8 bands a second, in dB: a joint space of tones and their names."""

  name = 'ear'
  sample_rate_hz = 8_000
  dim = 8
  output = 'embedding'
  digest = 'd' * 64

  def __init__(self):
    self.calls = 0

  def __call__(self, audio):
    self.calls += 1
    assert audio.rate_hz == self.sample_rate_hz
    count = len(audio.samples) // 4_000
    if not count:
      raise ValueError('the clip is too short')
    pieces = audio.samples[: 4_000 * count].reshape(count, 4_000)
    power = np.abs(np.fft.rfft(pieces)) ** 2
    bands = np.stack([b.sum(1) for b in np.array_split(power, 8, 1)], 1)
    return np.log10(bands + 1e-3).astype(np.float32)

  def embed_text(self, text):
    return np.asarray([float(word) for word in text.split()], np.float32)


class Classifier(Ear):
  name = 'judge'
  output = 'softmax'

  def __call__(self, audio):
    rows = super().__call__(audio)
    return rows**2 / (rows**2).sum(axis=1, keepdims=True)


def tone(hz, seconds=2.0, rate_hz=RATE_HZ, channels=1, noise=0.0):
  time = np.arange(round(seconds * rate_hz)) / rate_hz
  wave = 0.5 * np.sin(2 * np.pi * hz * time)
  wave = wave + noise * np.random.default_rng(1).normal(size=len(time))
  return np.repeat(wave[:, None], channels, axis=1)


@pytest.fixture
def folders(tmp_path):
  """Equal clips on both sides."""
  made, true = tmp_path / 'made', tmp_path / 'true'
  made.mkdir()
  true.mkdir()
  for name, hz in TONES.items():
    for folder in (made, true):
      soundfile.write(folder / f'{name}.wav', tone(hz), RATE_HZ)
  return made, true


def compare(folders, out, network=None, metrics=('fad', 'mcc'), **options):
  return comparison.compare(
    *folders,
    out,
    networks=[network or Ear()],
    metrics=metrics,
    num_plots=0,
    **options,
  )


def test_equal_clips_have_distance_zero_and_cosine_one(folders, tmp_path):
  report = compare(folders, tmp_path / 'out')
  found = report.scores.metrics
  assert found['fad/ear'].value == pytest.approx(0.0, abs=1e-6)
  assert found['mcc_audio/ear'].value == pytest.approx(1.0)
  assert found['mcc_audio_shuffled/ear'].value < 0.99
  assert report.scores.clips == tuple(sorted(TONES))
  assert scores.read(tmp_path / 'out') == report.scores
  assert report.scores.settings['networks'][0]['digest'] == 'd' * 64


def test_a_silent_clip_is_counted_and_named(folders, tmp_path, capsys):
  made, _ = folders
  names = sorted(TONES)[:2]
  levels = {names[0]: 0.0, names[1]: 10 ** (-61 / 20)}
  for name, peak in levels.items():
    soundfile.write(made / f'{name}.wav', peak * tone(440.0), RATE_HZ)
  report = compare(folders, tmp_path / 'out')
  assert report.silent == names
  assert scores.read(tmp_path / 'out').settings['silent'] == names
  assert report.summary.endswith('; 2 SILENT')
  text = (tmp_path / 'out' / 'report.md').read_text()
  assert f'Silent, and scored all the same:\n\n- `{names[0]}`' in text
  (row,) = [
    line for line in text.splitlines() if line.startswith('| `fad/ear`')
  ]
  assert row.endswith('2 silent |')
  assert f'{len(TONES)} clips, 2 silent)' in tables.markdown([report.scores])
  # Soft music is not silent.
  soundfile.write(made / f'{names[0]}.wav', 0.002 * tone(440.0), RATE_HZ)
  assert compare(folders, tmp_path / 'more').silent == names[1:]


def test_the_better_of_two_systems_scores_better(folders, tmp_path):
  made, true = folders
  found = {}
  for quality, noise in (('good', 0.01), ('bad', 0.3)):
    for name, hz in TONES.items():
      wave = tone(hz, noise=noise)
      soundfile.write(made / f'{name}.wav', wave, RATE_HZ)
    found[quality] = compare(folders, tmp_path / quality).scores.metrics
  assert found['good']['fad/ear'].value < found['bad']['fad/ear'].value
  name = 'mcc_audio/ear'
  assert found['good'][name].value > found['bad'][name].value


def test_every_clip_that_is_not_scored_is_listed_with_the_reason(
  folders, tmp_path
):
  made, true = folders
  (made / 'clip0.wav').unlink()
  (true / 'clip1.wav').unlink()
  (made / 'clip2.wav').write_bytes(b'no sound')
  shutil.copy(made / 'clip3.wav', made / 'clip3.flac')
  soundfile.write(made / 'clip4.wav', tone(300, seconds=0.1), RATE_HZ)
  (made / 'notes.txt').write_text('of the singer')
  (made / 'older').mkdir()
  shutil.copy(made / 'clip5.wav', made / 'older')
  (made / 'empty').mkdir()
  report = compare(folders, tmp_path / 'out')
  reasons = {fault.name: fault.reason for fault in report.faults}
  wanted = {
    'clip0': 'missing',
    'clip1': 'extra',
    'clip2': 'clip2.wav',
    'clip3': 'several files',
    'clip4': 'too short',
    'notes.txt': 'no media file',
    'older': 'with 1 media files',
  }
  assert sorted(reasons) == sorted(wanted)
  assert all(text in reasons[name] for name, text in wanted.items())
  assert [pair.name for pair in report.pairs] == ['clip5']
  assert not report.is_whole
  text = (tmp_path / 'out' / 'report.md').read_text()
  with open(tmp_path / 'out' / 'per_clip.csv') as file:
    rows = {row['clip']: row['left_out'] for row in csv.DictReader(file)}
  assert rows == {**reasons, 'clip5': ''}
  assert all(reason in text for reason in reasons.values())
  # One clip has no covariance of its own, and that is said.
  assert 'fad/ear' in report.missing


def test_a_second_run_hears_nothing_and_writes_the_same_bytes(
  folders, tmp_path
):
  ear, out = Ear(), tmp_path / 'out'

  def files():
    return {p: p.read_bytes() for p in out.rglob('*') if p.is_file()}

  compare(folders, out, ear)
  first, calls = files(), ear.calls
  compare(folders, out, ear)
  assert ear.calls == calls > 0
  assert files() == first


def test_what_was_heard_is_known_by_its_bytes_not_its_name(folders, tmp_path):
  ear, out = Ear(), tmp_path / 'out'
  compare(folders, out, ear)
  calls = ear.calls
  for folder in folders:
    (folder / 'clip0.wav').rename(folder / 'renamed.wav')
  compare(folders, out, ear)
  assert ear.calls == calls
  path = folders[0] / 'clip1.wav'
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  compare(folders, out, ear)
  assert ear.calls == calls + 1
  ear.digest = 'e' * 64
  compare(folders, out, ear)
  assert ear.calls > calls + len(TONES)


def test_rate_channels_and_length_do_not_change_what_is_heard(
  folders, tmp_path
):
  made, _ = folders
  for name, hz in TONES.items():
    wave = tone(hz, seconds=3.0, rate_hz=44_100, channels=2)
    soundfile.write(made / f'{name}.wav', wave, 44_100)
  report = compare(folders, tmp_path / 'out')
  assert report.scores.metrics['mcc_audio/ear'].value > 0.999
  assert {pair.seconds for pair in report.pairs} == {2.0}
  clip = report.scores.settings['clips']['clip0']['generated']
  assert clip['sample_rate_hz'] == 44_100 and clip['num_channels'] == 2
  text = (tmp_path / 'out' / 'report.md').read_text()
  assert 'sample rates in 6, numbers of channels in 6, lengths in 6' in text
  assert 'At most 1.000 s were cut' in text


def test_takes_are_scored_against_the_clip_they_are_of(folders, tmp_path):
  made, true = folders
  rows = []
  for name in TONES:
    rows.append({'id': name, 'caption': '1 2 3 4 5 6 7 8'})
    path = made / f'{name}.wav'
    for number in (1, 2, 3):
      shutil.copy(path, made / f'{name}_{number}.wav')
    path.unlink()
  prompts = tmp_path / 'prompts.jsonl'
  prompts.write_text('\n'.join(map(json.dumps, rows)))
  report = compare(folders, tmp_path / 'out', prompts=prompts)
  assert report.is_whole and len(report.pairs) == 3 * len(TONES)
  assert {(p.name, p.clip) for p in report.pairs if p.clip == 'clip0'} == {
    (f'clip0_{number}', 'clip0') for number in (1, 2, 3)
  }
  found = report.scores.metrics
  assert found['mcc_audio/ear'].value == pytest.approx(1.0)
  assert found['mcc_audio/ear'].details['num_references'] == len(TONES)
  assert '18 takes of 6 clips' in (tmp_path / 'out/report.md').read_text()

  # A clip of its own name is no take, and a take that others have is missed.
  soundfile.write(true / 'clip1_1.wav', tone(300), RATE_HZ)
  (made / 'clip2_3.wav').unlink()
  (made / 'clip3_2.wav').write_bytes(b'no sound')
  report = compare(folders, tmp_path / 'other')
  clips = {pair.name: pair.clip for pair in report.pairs}
  assert clips['clip1_1'] == 'clip1_1' and clips['clip1_2'] == 'clip1'
  reasons = {fault.name: fault.reason for fault in report.faults}
  assert (
    reasons.pop('clip2_3') == 'missing: other clips have a take of this number'
  )
  assert 'clip3_2.wav' in reasons.pop('clip3_2')
  assert not reasons


def test_prompts_are_scored_and_a_clip_without_one_is_listed(folders, tmp_path):
  ear = Ear()
  audio = read.read_audio(folders[0] / 'clip0.wav', rate_hz=8_000)
  own = ear(audio).mean(axis=0)
  file = tmp_path / 'prompts.jsonl'
  words = ' '.join(map(str, own.tolist()))
  rows = [{'id': name, 'caption': words} for name in [*TONES][:-1]]
  file.write_text('\n'.join(map(json.dumps, rows)))
  report = compare(folders, tmp_path / 'out', prompts=file)
  assert report.scores.task == 'video+text'
  score = report.scores.metrics['mcc_text/ear']
  assert score.per_clip[0] == pytest.approx(1.0, abs=1e-6)
  assert score.num_clips == len(TONES) - 1
  assert [fault.name for fault in report.faults] == [[*TONES][-1]]


@pytest.mark.parametrize(
  'line', ['no json', '[]', '{"id": "a"}', '{"id": "a", "caption": 3}']
)
def test_a_bad_line_of_prompts_is_named(line, tmp_path):
  file = tmp_path / 'prompts.jsonl'
  file.write_text(f'{{"id": "x", "caption": "calm"}}\n{line}\n')
  with pytest.raises(ValueError, match='line 2'):
    pairs.read_prompts(file)


def test_a_metric_without_its_network_says_how_to_get_one(folders, tmp_path):
  report = compare(folders, tmp_path / 'out', metrics=('fad', 'kld', 'is'))
  assert 'fad/ear' in report.scores.metrics
  for metric in ('kld', 'is'):
    assert '--network panns-softmax' in report.missing[metric]
    assert 'v2meow weights' in report.missing[metric]
  assert not report.is_whole


def test_a_classifier_gives_divergence_and_inception_score(folders, tmp_path):
  report = compare(
    folders, tmp_path / 'out', Classifier(), metrics=('kld', 'is')
  )
  found = report.scores.metrics
  assert found['kld_softmax/judge'].value == pytest.approx(0.0, abs=1e-6)
  assert found['is/judge'].value > 1.0
  assert report.is_whole


def test_a_wav_that_is_cut_short_is_left_out(folders, tmp_path):
  file = folders[0] / 'clip1.wav'
  file.write_bytes(file.read_bytes()[:3000])
  (fault,) = compare(folders, tmp_path / 'out').faults
  assert (fault.name, 'cut short: 3000' in fault.reason) == ('clip1', True)


def test_a_report_that_cannot_be_written_is_said_before_the_work(
  folders, tmp_path
):
  (tmp_path / 'file').write_text('of the singer')
  ear = Ear()
  with pytest.raises(OSError, match='cannot be written .* give -o another'):
    compare(folders, tmp_path / 'file', ear)
  assert ear.calls == 0


def test_a_cache_that_cannot_be_written_leaves_no_clip_out(folders, tmp_path):
  whole = compare(folders, tmp_path / 'whole')
  (tmp_path / 'file').write_text('of the singer')
  report = compare(folders, tmp_path / 'out', cache=tmp_path / 'file')
  assert report.is_whole
  assert report.scores.metrics == whole.scores.metrics


def test_an_unknown_metric_lists_those_there_are(folders, tmp_path):
  with pytest.raises(ValueError, match='fad, kld, mcc, is, beats'):
    compare(folders, tmp_path / 'out', metrics=('fid',))


def test_a_folder_without_media_is_refused(folders, tmp_path):
  (tmp_path / 'empty').mkdir()
  with pytest.raises(ValueError, match='holds no media file'):
    compare((tmp_path / 'empty', folders[1]), tmp_path / 'out')


def test_a_damaged_entry_of_the_cache_is_computed_again(tmp_path):
  cache = feature_cache.FeatureCache(tmp_path)
  key = {'what': 'x', 'n': 1}
  cache.get(key, lambda: {'a': np.arange(3)})
  (file,) = tmp_path.rglob('*.npz')
  for damage in (b'', b'text', file.read_bytes()[:50]):
    file.write_bytes(damage)
    found = cache.get(key, lambda: {'a': np.arange(4)})
    assert found['a'].tolist() == [0, 1, 2, 3]
  np.savez(file, a=np.array([{}], object), allow_pickle=True)
  assert cache.get(key, lambda: {'a': np.arange(5)})['a'].shape == (5,)
  assert cache.num_computed == 5
  assert [p.name for p in tmp_path.rglob('.*')] == []


def test_a_table_keeps_to_its_lines():
  text = report_lib.table([('a', 'b'), ('x|y', 'two\nlines')])
  assert text == '| a | b |\n| --- | --- |\n| x\\|y | two lines |\n'


def test_folders_without_a_name_in_common_leave_an_older_report(
  folders, tmp_path
):
  generated, reference = folders
  out = tmp_path / 'report'
  compare(folders, out)
  before = (out / 'scores.json').read_bytes()
  for file in reference.iterdir():
    file.rename(file.with_stem(f'other_{file.stem}'))
  with pytest.raises(ValueError, match='no clip of .* paired by their names'):
    compare((generated, reference), out)
  assert (out / 'scores.json').read_bytes() == before


def test_clips_and_report_in_a_bucket_give_the_same_scores(
  folders, bucket, tmp_path
):
  here = compare(folders, tmp_path / 'report', metrics=('fad',))
  for folder in folders:
    for file in folder.iterdir():
      bucket.objects[f'bucket/{folder.name}/{file.name}'] = file.read_bytes()
  url = 'gs://bucket'
  there = compare(
    (f'{url}/made', f'{url}/true'),
    f'{url}/report',
    metrics=('fad',),
  )
  assert not there.faults
  assert there.scores.metrics == here.scores.metrics
  names = {
    str(path.relative_to(tmp_path / 'report'))
    for path in (tmp_path / 'report').rglob('*')
    if path.is_file() and 'cache' not in path.parts
  }
  written = {
    name.removeprefix('bucket/report/')
    for name in bucket.objects
    if name.startswith('bucket/report/') and '/cache/' not in name
  }
  assert written == names
  assert scores.read(f'{url}/report').metrics == here.scores.metrics
  # Features were kept, in the bucket too.
  ear = Ear()
  compare(
    (f'{url}/made', f'{url}/true'),
    f'{url}/report',
    ear,
    metrics=('fad',),
  )
  assert ear.calls == 0
