"""What is heard of a song is what the song says, for independent listeners.

The instruments are those in numpy, or a bank that $V2MEOW_SOUNDFONT names;
`pytest -s` prints the figures.
"""

import os

import numpy as np
import pytest

from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.evaluation.metrics import soundtrack_figures
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.songs import mixing
from v2meow_jax.synthetic.songs import song as song_lib

pytestmark = pytest.mark.slow
SECONDS = 16.0
# Krumhansl and Kessler 1982, as in `soundtrack_figures`; rising from the tonic.
MAJOR = 6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88
MINOR = 6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17


@pytest.fixture(scope='module')
def played():
  bank = banks.load(os.environ.get(banks.VARIABLE, banks.NUMPY), 16_000)
  songs = {}
  for index in range(400):
    song = song_lib.sample(6, index, SECONDS)
    songs.setdefault(song.style, song)
  return [(s, mixing.render(s, bank)) for s in songs.values()]


def show(**figures):
  print(*(f'{name} {value:.3f}' for name, value in figures.items()))


def test_tempo_and_beats_are_heard_where_they_are(played):
  right, on_beat, off_beat = [], [], []
  for song, audio in played:
    assert np.abs(audio.samples).max() < 1
    heard = beat_scores.track(audio).tempo_bpm
    right.append(soundtrack_figures.plays_tempo(heard, song.tempo_bpm))
    envelope = beat_scores.onset_envelope(audio)
    plays = ~song.is_rest(np.arange(len(song.beat_times)))
    beats = song.beat_times[plays]
    for places, late in ((on_beat, 0.0), (off_beat, 0.4)):
      at = (beats + late * 60 / song.tempo_bpm) / beat_scores.HOP_SECONDS
      near = np.round(at).astype(int)[:, None] + np.arange(-4, 5)
      near = np.clip(near, 0, len(envelope) - 1)
      places.append(envelope[near].max(1).mean())
  show(tempo=np.mean(right), onset_on_beat=np.mean(on_beat))
  assert np.mean(right) >= 0.9
  assert np.mean(on_beat) > 2 * np.mean(off_beat)


def test_the_key_is_heard(played):
  librosa = numba_cache.librosa()

  right, clarity = [], []
  for song, audio in played:
    if song.style == 'percussion':
      continue
    chroma = librosa.feature.chroma_stft(
      y=audio.samples, sr=audio.rate_hz, n_fft=4096
    ).mean(1)
    fits = {
      (tonic, mode): np.corrcoef(chroma, np.roll(profile, tonic))[0, 1]
      for mode, profile in (('major', MAJOR), ('minor', MINOR))
      for tonic in range(12)
    }
    right.append(max(fits, key=lambda k: fits[k]) == (song.key, song.mode))
    clarity.append(max(fits.values()))
  show(key_right=np.mean(right), key=np.mean(clarity))
  assert np.mean(right) >= 0.8
  assert np.mean(clarity) > 0.7  # Recorded music: 0.6 to 0.9.


def test_the_pulse_is_as_clear_as_that_of_recorded_music(played):
  clarity = {
    s.style: soundtrack_figures.pulse_clarity(audio) for s, audio in played
  }
  electronic = [
    clarity[style] for style in ('house', 'techno', 'synthwave', 'chiptune')
  ]
  show(pulse=np.mean(list(clarity.values())), electronic=np.mean(electronic))
  assert np.mean(electronic) > 0.5  # Recorded electronic music: 0.65 to 0.74.
  assert np.mean(list(clarity.values())) > 0.35


def test_loudness_follows_energy_over_a_wide_range(played):
  song_rows = []
  for song, audio in played:
    loudness = soundtrack_figures.loudness(audio)
    times = (np.arange(len(loudness)) + 0.5) * soundtrack_figures.STEP_SECONDS
    energy = song.energy_of(song.beats_at(times))
    end = song.end_seconds or song.seconds
    song_rows.append((energy, loudness, (energy > 0) & (times < end)))
  energy, loudness = (
    np.concatenate([row[n][row[2]] for row in song_rows]) for n in (0, 1)
  )
  assert np.corrcoef(energy, loudness)[0, 1] > 0.7
  low, high = np.percentile(loudness, (5, 95))
  assert high - low > 12
  show(energy_in_loudness=np.corrcoef(energy, loudness)[0, 1], db=high - low)


def test_a_song_that_ends_dies_away(played):
  ended = [(s, a) for s, a in played if s.end_seconds is not None]
  assert len(ended) > len(played) / 2
  for song, audio in ended:
    end = round(song.end_seconds * audio.rate_hz)
    chord = audio.samples[end : end + audio.rate_hz // 4]
    last = audio.samples[-audio.rate_hz // 20 :]
    assert np.square(last).mean() < 0.01 * np.square(chord).mean()


def test_styles_are_told_apart(played):
  librosa = numba_cache.librosa()
  from sklearn import discriminant_analysis
  from sklearn import model_selection

  features, names = [], []
  for song, audio in played:
    mel = librosa.power_to_db(
      librosa.feature.melspectrogram(y=audio.samples, sr=16_000, n_mels=24),
      top_db=60,
    )
    onsets = beat_scores.onset_envelope(audio)
    for part in np.array_split(np.arange(mel.shape[1]), 4):
      piece = mel[:, part]
      share = onsets[round(part[0] * 3.2) : round(part[-1] * 3.2)]
      features.append([*piece.mean(1), *piece.std(1), share.mean()])
      names.append(song.style)
  judged = model_selection.cross_val_score(
    discriminant_analysis.LinearDiscriminantAnalysis(
      solver='lsqr', shrinkage='auto'
    ),
    np.array(features),
    names,
    cv=model_selection.StratifiedKFold(4),
  )
  show(style_right=judged.mean(), chance=1 / len(song_lib.STYLES))
  assert judged.mean() > 4 / len(song_lib.STYLES)
