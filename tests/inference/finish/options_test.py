"""Options out of range, or that a kind of file cannot hold, are refused."""

import argparse

import pytest

from v2meow_jax.cli import finish_flags
from v2meow_jax.inference.finish import options


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'duck': 6.0}, '^duck is about .*--keep_audio'),
    ({'audio_level': -3.0}, '^audio_level is about .*--keep_audio'),
    ({'duck': 6.0, 'audio_level': -3.0}, '^duck and audio_level are about'),
    ({'keep_audio': True, 'duck': -1.0}, 'duck is -1 dB; wanted 0 to 60'),
    ({'keep_audio': True, 'audio_level': 30.0}, 'audio_level is 30 dB'),
    ({'loudness': 0.0}, 'loudness is 0 LUFS; wanted -50 to -5'),
    ({'loudness': float('nan')}, 'loudness is nan LUFS'),
    ({'loudness': 'loud'}, "loudness is 'loud'; wanted LUFS, or 'as_is'"),
    ({'fade_in': -1.0}, 'fade_in is -1 s; wanted 0 or more'),
    ({'fade_out': float('inf')}, 'fade_out is inf s'),
    ({'rate': 100}, 'rate is 100 Hz; wanted 8000 to 192000'),
    ({'channels': 6}, 'channels is 6; wanted 1, or 2'),
  ],
)
def test_what_is_out_of_range_is_named(fields, message):
  with pytest.raises(ValueError, match=message):
    options.of_options(fields)


@pytest.mark.parametrize(
  ('path', 'expected'),
  [
    ('a.mp4', (48_000, 2)),
    ('a.MOV', (48_000, 2)),
    ('gs://b/a.mkv', (48_000, 2)),
    ('a.webm', (48_000, 2)),
    ('a.wav', (16_000, 1)),
    ('a.flac', (16_000, 1)),
  ],
)
def test_films_have_what_players_expect_and_sound_the_rate_of_the_system(
  path, expected
):
  finish = options.NOTHING.of(path, 16_000)
  assert (finish.rate_hz, finish.num_channels) == expected
  asked = options.of_options({'rate': 48_000, 'channels': 1}).of(path, 16_000)
  assert (asked.rate_hz, asked.num_channels) == (48_000, 1)


@pytest.mark.parametrize(
  ('path', 'rate'), [('a.mp4', 50_000), ('a.mov', 192_000), ('a.webm', 44_100)]
)
def test_a_rate_that_a_film_cannot_have_is_refused(path, rate):
  with pytest.raises(ValueError, match='leave --rate out, or write .mkv'):
    options.of_options({'rate': rate}).of(path, 16_000)


@pytest.mark.parametrize('loudness', [None, options.AS_IS, -14.0])
def test_what_was_recorded_before_music_had_a_loudness_is_as_it_was(loudness):
  finish = options.Finish(loudness_lufs=loudness, fade_in_seconds=1.0)
  record = options.record(finish)
  assert options.of_record(record) == finish
  del record['version']
  before = options.of_record(record)
  assert before.loudness_lufs == (loudness or options.AS_IS)
  assert before.fade_in_seconds == 1.0


def test_a_mix_of_a_loudness_before_music_had_its_own_is_not_made_otherwise():
  finish = options.Finish(keep_audio=True, loudness_lufs=-14.0)
  record = options.record(finish)
  assert options.of_record(record) == finish
  del record['version']
  with pytest.raises(ValueError, match='generate the whole again'):
    options.of_record(record)
  record['loudness_lufs'] = None
  assert options.of_record(record).music_lufs is None


def test_help_tells_the_loudness_that_music_has_unless_another_is_asked_for():
  parser = argparse.ArgumentParser()
  finish_flags.add(parser)
  said = ' '.join(parser.format_help().split())
  usual = f'default: {options.MUSIC_LUFS:g}, and with --keep_audio music of'
  assert f'{usual} {options.BESIDE_SOUND_LUFS:g} beside' in said
  assert parser.parse_args([]).loudness is None
  assert parser.parse_args(['--loudness', 'as_is']).loudness == options.AS_IS
