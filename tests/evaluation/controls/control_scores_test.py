"""Figures of conditions, from clips whose judgement is planted."""

import dataclasses
import types

import numpy as np
import pytest

from v2meow_jax.evaluation.controls import control_clips
from v2meow_jax.evaluation.controls import control_scores
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.listening import analyser
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import scores

GENRES = ('house', 'rock', 'waltz', 'waltz')


def clip(genre, bpm=120.0):
  beats = np.arange(0.5, 5, 60 / bpm) if bpm else np.zeros(0)
  return judges.JudgedClip(
    genre=genre, beats=beat_scores.Beats(tempo_bpm=bpm or None, times=beats)
  )


def test_shuffled_clips_meet_all_other_truths_and_blank_ones_all_truths():
  truths = [clip(genre) for genre in GENRES]
  blank = [clip('rock', bpm=0)] * 4
  found = control_scores.judged(
    {'': truths, '_blank': blank}, truths, shuffle=True, seed=0, truth='known'
  )
  assert found['genre_accuracy'].value == 1
  assert found['genre_accuracy'].per_clip == (1, 1, 1, 1)
  # Only the two waltzes meet one of their genre, among three others.
  shuffled = found['genre_accuracy_shuffled']
  assert shuffled.value == pytest.approx(2 / 12)
  assert shuffled.per_clip == pytest.approx((0, 0, 1 / 3, 1 / 3))
  # Whatever the picture, rock is one of four truths; silence has no tempo.
  assert found['genre_accuracy_blank'].value == pytest.approx(1 / 4)
  assert found['tempo_accuracy_blank'].value == 0
  assert found['tempo_accuracy_shuffled'].value == 1
  assert {score.details['truth'] for score in found.values()} == {'known'}
  assert 'genre_accuracy_blank_shuffled' not in found


def features(genre, bpm=120.0):
  """What the detectors would give of such a clip."""
  judged = clip(genre, bpm)
  return analyser.ClipFeatures(
    rows={},
    arrays={
      'genre': {'features': np.array([GENRES.index(genre)])},
      'beats': {
        'onsets': judged.beats.times,
        'beats': judged.beats.times,
        'tempo_bpm': np.float64(bpm),
      },
    },
  )


PROBE = genre_probe.GenreProbe(
  genres=GENRES,
  accuracy=0.75,
  digest='d' * 64,
  classifier=types.SimpleNamespace(
    predict=lambda rows: [GENRES[int(row[0])] for row in rows]
  ),
)


def row(number, *, group, truth, prompted='rock', heard='rock'):
  """A clip that plays its truth, and `heard` when told to play `prompted`."""
  paths = dict.fromkeys(('video', 'blank', 'reference'), None)
  return control_scores.ControlRow(
    clip=control_clips.ControlClip(
      name=f'clip{number}',
      group=group,
      prompt=f'some {prompted}',
      prompt_genre=prompted,
      truth=truth,
      **paths,
    ),
    pairs={},
    features={'real': features(GENRES[number]), 'prompt': features(heard)},
    reference=features(GENRES[number]),
  )


def run(rows, **options):
  options = {'networks': [], 'metrics': [], 'shuffle': True, **options}
  return control_scores.of_rows(rows, PROBE, seed=0, **options)


def test_each_condition_is_judged_and_a_prompt_is_followed_or_not():
  rows = [
    row(i, group='ab'[i > 1], truth=clip(genre), heard=heard)
    for i, (genre, heard) in enumerate(
      zip(GENRES, ('rock', 'rock', 'house', 'rock'), strict=True)
    )
  ]
  found, missing, sections = run(rows)
  assert found['genre_accuracy'].value == 1
  assert found['genre_accuracy_true_music'].value == 1
  assert found['prompt_following'].value == 3 / 4
  # Told to play rock, one of four plays its own genre.
  assert found['genre_accuracy_prompt'].value == 1 / 4
  assert 'genre_accuracy_prompt_shuffled' not in found
  # Group a plays house and rock, b waltz alone: 1/2 from all clips, each.
  assert found['genre_bias'].value == pytest.approx(1 / 2)
  assert found['genre_bias_prompt'].value == pytest.approx(1 / 4)
  assert not missing
  assert list(found)[0] == 'tempo_accuracy'
  (_, table), (_, bias) = sections
  lines = table.splitlines()
  assert [line.split(' | ')[0] for line in lines[2:6]] == [
    '| real video',
    '| shuffled: against the truth of every other video',
    '| a prompt of another genre',
    '| the true music',
  ]
  assert 'are followed, by the judge of genres: 0.750' in table
  assert 'right on 0.750 of synthetic music' in table
  assert '| b |  |  | 2 |' in bias


def test_unknown_truth_is_what_is_heard_and_one_clip_cannot_be_shuffled():
  rows = [row(0, group='a', truth=None)]
  found, missing, sections = run(rows)
  assert found['genre_accuracy'].details['truth'].startswith('as heard')
  assert not any(name.endswith('_true_music') for name in found)
  assert missing == {'shuffle': 'needs two clips at least'}
  assert 'genre_bias' not in found
  assert sections[1][1].startswith('Needs two groups of videos')


def test_videos_are_compared_with_all_music_once_whatever_the_conditions():
  rows = [row(i, group='a', truth=None) for i in range(len(GENRES))]
  compass = np.eye(4)[:, None]
  # The second and the third are taken for each other.
  heard = compass[[0, 2, 1, 3]]
  rows = [
    dataclasses.replace(r, embedded=both)
    for r, *both in zip(rows, compass, heard, strict=True)
  ]
  found, missing, sections = run(rows, metrics=['retrieval'])
  assert (
    '| recall_at_1 | 0.500 [' in dict(sections)['Videos that find their music']
  )
  assert found['recall_at_1'].value == 1 / 2
  assert found['median_rank'].per_clip == (1, 4, 4, 1)
  assert 'recall_at_1_prompt' not in found
  assert not missing
  _, missing, _ = run(
    [dataclasses.replace(rows[0], embedded=None), *rows[1:]],
    metrics=['retrieval'],
  )
  assert list(missing) == ['retrieval']


def test_a_distance_of_too_few_rows_is_no_cell_of_the_table():
  flagged = scores.Score(value=3.0, num_clips=4, details={'singular': True})
  good = scores.Score(value=1.0, num_clips=4)
  text = control_scores.table(
    {'beat_f': good, 'fad/net': flagged, 'mcc_audio/net': good}, ['net']
  )
  assert 'mcc_audio/net' in text and 'fad/net' not in text
  assert text.count('real video') == 1 and 'grey video' not in text


def test_only_headlines_of_generated_music_are_drawn():
  score = scores.Score(value=1.0, num_clips=1)
  names = ('beat_f', 'beat_f_true_music', 'mcc_audio/x', 'fad/x', 'genre_bias')
  assert list(control_scores.drawn(dict.fromkeys(names, score))) == [
    'beat_f',
    'mcc_audio/x',
  ]
