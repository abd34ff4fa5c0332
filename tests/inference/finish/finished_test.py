"""A finished sound is what its film and its options say, and measures so."""

import dataclasses
import pathlib
import subprocess
import sys
import tracemalloc

import av
import numpy as np
import pyloudnorm
import pytest

from tests.fakes import endless
from tests.fakes import media_clips
from tests.fakes import talking
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import film_part
from v2meow_jax.files.films import own_sound
from v2meow_jax.files.films import remux
from v2meow_jax.inference.finish import finished
from v2meow_jax.inference.finish import mastering
from v2meow_jax.inference.finish import options
from v2meow_jax.inference.finish import output

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
SECONDS = 4.0
TONE_HZ = 440.0


def tone(seconds=SECONDS, hertz=TONE_HZ, level=0.3, rate_hz=RATE_HZ):
  times = np.arange(round(seconds * rate_hz)) / rate_hz
  samples = level * np.sin(2 * np.pi * hertz * times)
  return media.Audio(samples=samples.astype(np.float32), rate_hz=rate_hz)


def level_at(samples, hertz, rate_hz):
  """Amplitude of a tone in [samples]."""
  window = np.hanning(len(samples))
  wave = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / rate_hz)
  return 2 * abs((samples * window * wave).sum()) / window.sum()


def film_with(
  path, channels, rate_hz, layout, seconds=SECONDS, codec='pcm_s16le'
):
  """A film of so many seconds whose sound is [channels, samples]."""
  bare = path.with_name(f'bare_{path.name}')
  media_clips.encode(
    bare, media_clips.planted(range(round(10 * seconds))), rate_hz=10
  )
  with (
    av.open(str(bare)) as source,
    av.open(str(path), 'w', format='matroska') as out,
  ):
    film = out.add_stream_from_template(source.streams.video[0])
    track = out.add_stream(codec, rate=rate_hz, layout=layout)
    pcm = np.round(np.clip(channels, -1, 1) * 32_767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(
      np.ascontiguousarray(pcm.T.reshape(1, -1)), format='s16', layout=layout
    )
    frame.sample_rate, frame.pts = rate_hz, 0
    for packet in source.demux(video=0):
      if packet.dts is not None:
        packet.stream = film
        out.mux(packet)
    for packet in (*track.encode(frame), *track.encode(None)):
      out.mux(packet)
  return probe.probe_video(path)


def tones(hertz, seconds, rate_hz, level=0.2):
  return np.stack([tone(seconds, h, level, rate_hz).samples for h in hertz])


def test_own_sound_keeps_its_sides_and_its_level(tmp_path):
  film = film_with(
    tmp_path / 'film.mkv', tones([300, 900], SECONDS, 48_000), 48_000, 'stereo'
  )
  finish = options.Finish(
    loudness_lufs=options.AS_IS,
    keep_audio=True,
    audio_level_db=-6.0,
    rate_hz=48_000,
    num_channels=2,
  )
  sound = finished.finished(tone(), film, finish)
  samples = sound.samples()
  assert samples.shape == (round(SECONDS * 48_000), 2)
  middle = samples[48_000:-48_000]
  for side, here, there in ((0, 300, 900), (1, 900, 300)):
    heard = {
      hz: level_at(middle[:, side], hz, 48_000) for hz in (here, there, TONE_HZ)
    }
    assert heard[here] == pytest.approx(0.2 / 2, rel=0.01)
    assert heard[there] < 1e-3
    assert heard[TONE_HZ] == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize(
  ('rate_hz', 'layout', 'hertz', 'left', 'right'),
  [
    (8000, 'mono', [500], {500: 1}, {500: 1}),
    (44_100, 'stereo', [500, 700], {500: 1, 700: 0}, {500: 0, 700: 1}),
    # FL, FR, FC, LFE, BL, BR
    (
      48_000,
      '5.1',
      [300, 500, 700, 60, 1100, 1300],
      {300: 1, 500: 0, 700: 2**-0.5, 60: 0, 1100: 2**-0.5, 1300: 0},
      {300: 0, 500: 1, 700: 2**-0.5, 60: 0, 1100: 0, 1300: 2**-0.5},
    ),
  ],
)
@pytest.mark.parametrize('sound_seconds', [1.5, SECONDS, 6.0])
def test_any_sound_of_a_film_comes_on_two_sides_as_long_as_the_film(
  tmp_path, rate_hz, layout, hertz, left, right, sound_seconds
):
  channels = tones(hertz, sound_seconds, rate_hz, 0.1)
  film = film_with(tmp_path / 'film.mkv', channels, rate_hz, layout)
  sound = own_sound.OwnSound(film, 48_000, 2)
  samples = np.concatenate(list(sound.pieces()), axis=1)
  assert samples.shape == (2, round(film.seconds * 48_000))
  if sound_seconds < SECONDS:
    assert not samples[:, round((sound_seconds + 0.1) * 48_000) :].any()
  for side, shares in zip(samples, (left, right), strict=True):
    part = side[4800:60_000]
    for hz, share in shares.items():
      assert level_at(part, hz, 48_000) == pytest.approx(0.1 * share, abs=2e-3)
  mono = np.concatenate(
    list(own_sound.OwnSound(film, RATE_HZ, 1).pieces()), axis=1
  )[0]
  whole = read.read_audio(film, rate_hz=RATE_HZ).samples[: len(mono)]
  np.testing.assert_allclose(mono[: len(whole)], whole, atol=1e-6)


def test_music_goes_down_where_the_film_talks_and_nowhere_else(tmp_path):
  talk = talking.dialogue(12.0, [(4.0, 8.0)], 3)
  film = film_with(
    tmp_path / 'film.mkv', 0.2 * talk[None], talking.RATE_HZ, 'mono', 12.0
  )
  music = tone(12.0, 5000.0)
  finish = options.Finish(
    keep_audio=True, duck_db=12.0, loudness_lufs=options.AS_IS
  )
  sound = finished.finished(music, film, finish)
  samples = sound.samples()[:, 0]
  heard = [
    level_at(samples[round(t * RATE_HZ) :][: RATE_HZ // 2], 5000, RATE_HZ)
    for t in (0.5, 1.5, 5.0, 6.5, 10.5, 11.3)
  ]
  decibels = 20 * np.log10(np.array(heard) / 0.3)
  np.testing.assert_allclose(decibels, [0, 0, -12, -12, 0, 0], atol=0.3)
  ((start, end),) = sound.facts()['speech']
  assert start == pytest.approx(4.0, abs=0.5) and end == pytest.approx(
    8.0, abs=0.5
  )


def test_left_and_right_add_up_to_the_music_to_the_bit():
  one, two = (
    finished.finished(
      tone(),
      None,
      dataclasses.replace(options.NOTHING, rate_hz=48_000, num_channels=n),
    ).samples()
    for n in (1, 2)
  )
  assert two.shape == (round(SECONDS * 48_000), 2)
  np.testing.assert_array_equal(two.sum(axis=1) / 2, one[:, 0])
  assert level_at(one[4800:-4800, 0], TONE_HZ, 48_000) == pytest.approx(
    0.3, rel=1e-3
  )


def test_a_film_without_sound_has_music_alone_and_says_so(tmp_path):
  path = tmp_path / 'film.mp4'
  media_clips.encode(path, media_clips.planted(range(100)))
  finish = options.Finish(
    keep_audio=True, duck_db=12.0, loudness_lufs=options.AS_IS
  )
  film = probe.probe_video(path)
  sound = finished.finished(tone(), film, finish)
  np.testing.assert_allclose(sound.samples()[:, 0], tone().samples, atol=1e-6)
  assert sound.facts()['not_used'] == {'keep_audio': 'the film has no sound'}
  finish = options.Finish(keep_audio=True)
  samples = finished.finished(tone(), film, finish).samples()
  assert loudness_of(samples) == pytest.approx(options.MUSIC_LUFS, abs=0.1)


def test_music_for_a_part_stands_in_its_place_in_the_whole(tmp_path):
  film = film_with(
    tmp_path / 'film.mkv', tones([900], SECONDS, 48_000), 48_000, 'mono'
  )
  part = film_part.cut(film, 1.0, 2.5)
  for keeps, own in ((False, 0.0), (True, 0.2)):
    finish = options.Finish(keep_audio=keeps, loudness_lufs=options.AS_IS)
    samples = finished.finished(tone(1.5), part, finish).samples()[:, 0]
    assert len(samples) == round(SECONDS * RATE_HZ)
    for start, size, level in ((0.1, 0.8, 0), (1.1, 1.3, 0.3), (2.6, 1.3, 0)):
      stretch = samples[round(start * RATE_HZ) :][: round(size * RATE_HZ)]
      assert level_at(stretch, TONE_HZ, RATE_HZ) == pytest.approx(
        level, abs=2e-3
      )
      assert level_at(stretch, 900, RATE_HZ) == pytest.approx(own, abs=2e-3)


@pytest.mark.parametrize('has_ending', [True, False])
@pytest.mark.parametrize('fade_out', [None, 0.0, 2.0])
def test_music_that_nothing_ends_fades_out(has_ending, fade_out):
  finish = dataclasses.replace(options.NOTHING, fade_out_seconds=fade_out)
  sound = finished.finished(tone(), None, finish, has_ending=has_ending)
  samples = sound.samples()[:, 0]
  expected = {None: 0.0 if has_ending else 1.0}.get(fade_out, fade_out)
  assert sound.facts()['fade_out_seconds'] == expected
  middle = samples[-round(max(expected, 0.1) * RATE_HZ / 2) :][:200]
  level = np.abs(middle).max() / 0.3
  # Half of the way, a squared sine is at a half.
  assert level == pytest.approx(0.5 if expected else 1.0, abs=0.05)
  if expected:
    assert np.abs(samples[-50:]).max() < 1e-3


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.webm', '.wav'])
def test_what_is_written_has_the_loudness_that_was_asked_for(tmp_path, suffix):
  talk = talking.dialogue(8.0, [(2.0, 5.0)], 1)
  film = film_with(
    tmp_path / 'film.mkv', 0.3 * talk[None], talking.RATE_HZ, 'mono', 8.0
  )
  source = film.path
  if suffix == '.webm':
    source = tmp_path / 'film.webm'
    media_clips.encode(
      source,
      media_clips.planted(range(100)),
      codec='libvpx',
      container='webm',
    )
  out = tmp_path / f'out{suffix}'
  finish = options.Finish(loudness_lufs=-14.0, keep_audio=suffix != '.webm')
  times = np.arange(round(8.0 * RATE_HZ)) / RATE_HZ
  plucked = tone(8.0).samples * np.exp(-6 * (times % 0.5)).astype(np.float32)
  music = media.Audio(
    samples=plucked[: RATE_HZ * (4 if suffix == '.webm' else 8)],
    rate_hz=RATE_HZ,
  )
  written = output.write(source, out, music, finish, has_ending=True)
  with av.open(str(out)) as container:
    track = container.streams.audio[0]
    rate_hz, sides = track.rate, track.layout.nb_channels
  is_film = suffix != '.wav'
  assert (rate_hz, sides) == ((48_000, 2) if is_film else (RATE_HZ, 1))
  heard = own_sound.OwnSound(probe.probe(out), rate_hz, sides)
  samples = np.concatenate(list(heard.pieces()), axis=1)
  loudness, peak = talking.ebur128(samples, rate_hz, tmp_path)
  assert loudness == pytest.approx(-14.0, abs=0.3)
  facts = written.finish
  assert facts['reached_lufs'] == pytest.approx(-14.0, abs=0.1)
  assert facts['true_peak_dbtp'] < -1.0
  # What a lossy codec adds to the peaks is its own.
  assert peak < (-1.0 if suffix in ('.mkv', '.wav') else 0.0)


def loudness_of(samples, rate_hz=RATE_HZ):
  meter = pyloudnorm.Meter(rate_hz, filter_class='DeMan')
  return meter.integrated_loudness(samples)


@pytest.mark.parametrize('level', [0.003, 0.05, 0.9])
def test_music_alone_is_of_one_loudness_however_soft_it_was_made(level):
  sound = finished.finished(tone(level=level), None, options.Finish())
  assert loudness_of(sound.samples()) == pytest.approx(
    options.MUSIC_LUFS, abs=0.1
  )
  facts = sound.facts()
  assert facts['loudness_lufs'] == options.MUSIC_LUFS
  assert facts['reached_lufs'] == pytest.approx(options.MUSIC_LUFS, abs=0.1)


def test_what_has_no_loudness_is_no_fault_unless_one_was_asked_for():
  for finish in (options.Finish(), options.Finish(loudness_lufs=-16)):
    sound = finished.finished(tone(0.2), None, finish)
    np.testing.assert_array_equal(sound.samples()[:, 0], tone(0.2).samples)
    was_asked = finish.loudness_lufs is not None
    assert ('loudness_missed' in sound.facts()) == was_asked


def test_hits_are_limited_gently_unless_a_loudness_is_asked_for():
  hits = tone().samples * 0.01
  hits[:: RATE_HZ // 2] = 0.9
  music = media.Audio(samples=hits, rate_hz=RATE_HZ)
  usual, asked = (
    finished.finished(music, None, finish)
    for finish in (options.Finish(), options.Finish(loudness_lufs=-18.0))
  )
  assert usual.facts()['limited_db'] == mastering.GENTLE_REDUCTION_DB
  assert asked.facts()['limited_db'] == mastering.MOST_REDUCTION_DB
  assert 'loudness_missed' in asked.facts()
  assert 'loudness_missed' not in usual.facts()


def test_music_beside_the_sound_of_a_film_has_its_loudness_and_the_film_its_own(
  tmp_path,
):
  film = film_with(
    tmp_path / 'film.mkv', tones([900], SECONDS, 48_000), 48_000, 'mono'
  )
  finish = options.Finish(keep_audio=True)
  heard = []
  for level in (0.003, 0.3):
    sound = finished.finished(tone(level=level), film, finish)
    heard.append(sound.samples()[4800:-4800, 0])
    assert level_at(heard[-1], 900, RATE_HZ) == pytest.approx(0.2, rel=0.01)
  np.testing.assert_allclose(*heard, atol=1e-3)
  music = level_at(heard[0], TONE_HZ, RATE_HZ) / 0.3 * tone().samples
  assert loudness_of(music) == pytest.approx(options.BESIDE_SOUND_LUFS, abs=0.1)
  as_is = options.Finish(keep_audio=True, loudness_lufs=options.AS_IS)
  assert 'music_gain_db' in sound.facts()
  assert 'music_gain_db' not in finished.finished(tone(), film, as_is).facts()


def test_nothing_is_done_to_music_alone_of_which_nothing_is_asked(tmp_path):
  from v2meow_jax.files import write

  plain, out = tmp_path / 'plain.wav', tmp_path / 'out.wav'
  write.write_audio(plain, tone())
  written = output.write(
    'no file', out, tone(), options.NOTHING, has_ending=True
  )
  assert out.read_bytes() == plain.read_bytes() and written.finish is None


def test_pictures_stay_those_of_the_whole_film_where_music_is_for_a_part(
  tmp_path,
):
  film, out = tmp_path / 'film.mp4', tmp_path / 'out.mp4'
  media_clips.encode(film, media_clips.planted(range(100)))
  part = film_part.cut(probe.probe_video(film), 1.0, 2.0)
  written = output.write(part, out, tone(1.0), options.NOTHING, has_ending=True)
  assert written.film is not None and written.film.picture == 'copied'
  assert written.describe()['music_from'] == 1.0

  def packets(path):
    with av.open(str(path)) as container:
      return [bytes(p) for p in container.demux(video=0) if p.size]

  assert packets(out) == packets(film)
  samples = read.read_audio(out, rate_hz=RATE_HZ).samples
  assert len(samples) == 4 * RATE_HZ
  assert np.abs(samples[: round(0.95 * RATE_HZ)]).max() < 1e-2
  assert (
    np.abs(samples[round(1.1 * RATE_HZ) : round(1.9 * RATE_HZ)]).max() > 0.2
  )


def test_finishing_again_gives_the_same_bytes(tmp_path):
  film = film_with(
    tmp_path / 'film.mkv', tones([900], SECONDS, 48_000), 48_000, 'mono'
  )
  finish = options.Finish(keep_audio=True, duck_db=6.0, loudness_lufs=-16.0)
  outs = [tmp_path / f'{n}.mp4' for n in range(2)]
  for out in outs:
    output.write(film, out, tone(), finish, has_ending=True)
  assert outs[0].read_bytes() == outs[1].read_bytes()
  assert isinstance(remux.check(film, outs[0]), int)


def test_memory_does_not_grow_with_the_length_of_the_sound(tmp_path):
  finish = options.Finish(loudness_lufs=-12.0, fade_out_seconds=2.0)
  peaks = []
  for seconds in (65.0, 260.0):
    tracemalloc.start()
    sound = finished.finished(
      endless.Hum(seconds), None, finish, folder=tmp_path
    )
    num = sum(piece.shape[1] for piece in sound.pieces())
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert num == round(seconds * RATE_HZ)
    assert sound.facts()['reached_lufs'] == pytest.approx(-12.0, abs=0.1)
  # 195 s of float32 are 12 MB, their hops of 5 ms half of one; a number for each
  # tenth of a second is 16 kB.
  assert peaks[1] - peaks[0] < 1e5
  assert not list(tmp_path.iterdir())


def test_levels_on_a_disk_give_the_samples_of_those_in_memory(tmp_path):
  finish = options.Finish(loudness_lufs=-12.0)
  samples = [
    finished.finished(endless.Hum(61.0), None, finish, folder=folder).samples()
    for folder in (None, tmp_path)
  ]
  np.testing.assert_array_equal(*samples)


_FINISHING = """
import pathlib
import re
import sys

import numpy as np

from tests.fakes import endless
from v2meow_jax.files import probe
from v2meow_jax.files import write
from v2meow_jax.inference.finish import options
from v2meow_jax.inference.finish import output

seconds, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])


def peak():
  status = pathlib.Path('/proc/self/status').read_text()
  return int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1])


pictures = (np.full((48, 64, 3), i % 250, np.uint8) for i in range(seconds))
write.write_video(folder / 'film.mp4', pictures, rate_hz=1)
film = probe.probe_video(folder / 'film.mp4')
finish = options.Finish(rate_hz=8000, num_channels=1)
before = peak()
music, out = endless.Hum(seconds), folder / 'out.mp4'
output.write(film, out, music, finish, has_ending=False)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='sizes in kilobytes')
def test_a_long_film_is_finished_and_written_in_the_memory_of_a_short_one(
  tmp_path,
):
  def growth(seconds: int) -> int:
    command = [sys.executable, '-c', _FINISHING, str(seconds)]
    root = pathlib.Path(__file__).parents[3]
    done = subprocess.run(
      [*command, str(tmp_path)],
      cwd=root,
      capture_output=True,
      text=True,
      check=True,
    )
    return 1024 * int(done.stdout.splitlines()[-1])

  short, long = growth(60), growth(900)
  # The writer of mp4 and its reader keep some 150 bytes for each packet, of which
  # there are 6,600 more; the samples would take 27 MB.
  assert long - short < 8e6
