"""Songs have the beats, phrases, chords and rests that they say they have."""

import json

import numpy as np
import pytest

from v2meow_jax.extractors import vocabulary
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.synthetic import held_out
from v2meow_jax.synthetic.bank import orchestra
from v2meow_jax.synthetic.songs import arrangement
from v2meow_jax.synthetic.songs import harmony
from v2meow_jax.synthetic.songs import song as song_lib
from v2meow_jax.synthetic.songs import song_plan
from v2meow_jax.synthetic.songs.words import song_captions
from v2meow_jax.synthetic.songs.words import song_prompts

SONGS = [song_lib.sample(2, n, 40.0) for n in range(300)]


def test_songs_are_of_many_styles_tempi_keys_and_metres():
  assert {s.style for s in SONGS} == set(song_lib.STYLES)
  assert len(song_lib.STYLES) >= 10
  tempi = np.array([s.tempo_bpm for s in SONGS])
  assert tempi.min() < 60 and tempi.max() > 170
  assert {(s.key, s.mode) for s in SONGS} == {
    (key, mode) for key in range(12) for mode in ('major', 'minor')
  }
  in_three = np.mean([s.beats_per_bar == 3 for s in SONGS])
  assert 0.05 < in_three < 0.4


def test_every_instrument_drum_and_kit_has_a_part():
  styles = song_lib.STYLES.values()
  players = {i for s in styles for p in s.parts for i in p.instruments}
  assert players == set(orchestra.INSTRUMENTS)
  assert {k for s in styles for k in s.kits} == set(orchestra.KITS)
  grooves = [g for s in styles for row in s.grooves.values() for g in row]
  drums = {key for g in grooves for key, _, _ in g.lines}
  drums |= {key for g in grooves for key in g.fill}
  assert drums == set(orchestra.DRUM_STAND_INS)


def test_a_song_is_a_function_of_its_arguments():
  assert song_lib.sample(2, 7, 40.0) == SONGS[7]
  assert song_lib.sample(3, 7, 40.0) != SONGS[7]


def test_phrases_fill_the_song_and_beats_are_evenly_spaced():
  for song in SONGS:
    bars = [
      bar
      for p in song.phrases
      for bar in range(p.first_bar, p.first_bar + p.num_bars)
    ]
    assert bars == list(range(song.num_bars))
    steps = np.diff(song.beat_times)
    # The last bar may slow down.
    even = steps[: -song.beats_per_bar - 1]
    np.testing.assert_allclose(even, 60 / song.tempo_bpm, rtol=1e-4)
    assert (steps > 0.99 * 60 / song.tempo_bpm).all()
    if song.end_seconds is not None:
      assert song.beat_times[-1] == song.end_seconds
      assert 0.5 < song.seconds - song.end_seconds < 0.4 * song.seconds
      assert (len(song.beat_times) - 1) % song.beats_per_bar == 0
  assert 0.7 < np.mean([s.end_seconds is not None for s in SONGS]) < 0.95


def test_songs_rise_fall_rest_and_return():
  ranges = [np.ptp([p.energies for p in s.phrases]) for s in SONGS]
  assert np.mean(np.array(ranges) > 0.4) > 0.4
  rests = [any(p.stop_beats for p in s.phrases) for s in SONGS]
  assert 0.3 < np.mean(rests) < 0.9
  rises = [
    any(p.energies[1] - p.energies[0] > 0.2 for p in s.phrases) for s in SONGS
  ]
  assert np.mean(rises) > 0.15
  labels = [[p.label for p in s.phrases] for s in SONGS]
  assert any(row[-4:] == ['A', "A'", 'B', "A'"] for row in labels)


def test_the_plan_of_a_song_is_a_plan():
  for song in SONGS[:60]:
    content = json.loads(json.dumps(song_plan.plan(song)))
    plan = plan_lib.from_content(content)
    assert np.abs(plan.beat_times - song.beat_times).max() <= 0.0202
    assert plan.end_seconds == song.end_seconds
    assert plan.key in (None, f'{song.key_name} {song.mode}')
    downbeats = [n for n, b in enumerate(plan.beats) if b.downbeat]
    assert set(np.diff(downbeats)) <= {song.beats_per_bar}


def test_captions_name_style_tempo_instruments_and_key():
  captions = [song_captions.caption(s) for s in SONGS]
  for song, caption in zip(SONGS, captions, strict=True):
    assert caption == caption.strip() and '{' not in caption
    if ' bpm' in caption:
      assert f'{round(song.tempo_bpm)} bpm' in caption
  named = [
    any(
      name.removeprefix('a ').removeprefix('an ') in caption for name in style
    )
    for caption, style in (
      (c, song_lib.STYLES[s.style].names)
      for c, s in zip(captions, SONGS, strict=True)
    )
  ]
  assert np.mean(named) > 0.8
  assert len(set(captions)) > 0.95 * len(captions)


@pytest.mark.slow
def test_no_note_begins_in_a_rest_and_all_lie_in_the_song():
  for song in SONGS[:40]:
    notes = arrangement.notes(song)
    assert len(notes) > 10
    starts = np.array([n.start_seconds for n in notes])
    assert starts.min() >= 0 and starts.max() < song.seconds + 0.05
    # A hair after the beat, for what people do before it.
    beats = song.beats_at(starts + 0.02)
    inside = song.is_rest(beats) & song.is_rest(beats - 0.1)
    assert not inside.any()


@pytest.mark.slow
def test_notes_lie_in_their_chord_or_scale():
  for song in SONGS[:40]:
    scale = {(song.key + c) % 12 for c in harmony.SCALES[song.mode]}
    chords = {
      (song.key + c) % 12
      for line in song.chords.values()
      for chord in line
      for c in chord
    }
    pitches = [n.pitch % 12 for n in arrangement.notes(song) if not n.is_hit]
    # Walking basses approach a root by a semitone.
    assert np.mean([p in scale | chords for p in pitches]) > 0.9


def test_energy_is_loudness_of_notes():
  song = next(
    s
    for s in SONGS
    if s.phrases[-1].energies[1] - s.phrases[0].energies[0] > 0.6
  )
  notes = arrangement.notes(song)
  middle = song.seconds / 2
  first = [n.gain for n in notes if n.start_seconds < 0.3 * middle]
  last = [n.gain for n in notes if n.start_seconds > 1.5 * middle]
  assert np.median(last) > 2 * np.median(first)


def test_a_phrase_returns_as_it_was():
  song = next(
    s
    for s in SONGS
    if s.style == 'chiptune'
    and [p.label for p in s.phrases].count('A') >= 2
    and s.swing == 0.5
  )
  starts = [p.first_bar for p in song.phrases if p.label == 'A'][:2]
  notes = [n for n in arrangement.notes(song) if not n.is_hit]
  phrases = []
  for bar in starts:
    first = bar * song.beats_per_bar
    beats = song.beats_at(np.array([n.start_seconds for n in notes]) + 0.001)
    inside = (beats >= first) & (beats < first + 2 * song.beats_per_bar)
    phrases.append(
      sorted(
        (round((b - first) * 4), n.pitch)
        for b, n, i in zip(beats, notes, inside, strict=True)
        if i
      )
    )
  assert len(phrases[0]) > 10
  assert phrases[0] == phrases[1]


def test_chords_move_less_with_voice_leading():
  rng = np.random.default_rng(0)
  led, rooted, previous = [], [], ()
  before = None
  for _ in range(100):
    root, third = int(rng.integers(12)), int(rng.integers(3, 5))
    chord = (root, (root + third) % 12, (root + 7) % 12)
    plain = tuple(54 + root + up for up in (0, third, 7))
    pitches = harmony.voicing(chord, previous, 60)
    assert {p % 12 for p in pitches} == set(chord)
    if previous:
      led.append(np.abs(np.subtract(pitches, previous)).sum())
      rooted.append(np.abs(np.subtract(plain, before)).sum())
    previous, before = pitches, plain
  assert np.mean(led) < 0.6 * np.mean(rooted)
  with pytest.raises(ValueError, match="chord 'H7' is not known"):
    harmony.chord('H7')


def test_what_is_out_of_range_is_refused():
  with pytest.raises(ValueError, match='seed -1'):
    song_lib.sample(-1, 0, 40.0)
  with pytest.raises(ValueError, match='lasts 1.0 s'):
    song_lib.sample(0, 0, 1.0)


def test_prompts_say_styles_and_instruments_in_everyday_words():
  prompts = [song_prompts.prompt(s) for s in SONGS]
  assert song_prompts.prompt(SONGS[3]) == prompts[3]
  assert len(set(prompts)) > 0.8 * len(prompts)
  assert set(song_prompts._STYLES) == set(song_lib.STYLES)
  assert set(song_prompts._INSTRUMENTS) <= {
    *orchestra.INSTRUMENTS,
    *orchestra.KITS,
  }
  said = {word for text in prompts for word in vocabulary.words(text)}
  assert {'synth', 'electric', 'piano', 'beats'} <= said
  known = vocabulary.of_texts(song_prompts.phrases())
  fillers = {'with', 'and', 'music'}
  assert all(vocabulary.knows(known, word) for word in said - fillers)
  # The words that systems are judged by are not learnt by heart.
  assert not set(held_out.PROMPTS.values()).intersection(prompts)


def test_a_prompt_names_nobody_twice():
  names = {n for row in song_prompts._INSTRUMENTS.values() for n in row}
  for song in SONGS:
    text = song_prompts.prompt(song)
    assert not any(text.endswith((f'{n} and {n}', f'{n}, {n}')) for n in names)
