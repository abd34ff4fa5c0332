"""Turn, pixel aspect, colours, other tracks, chapters and tags of a film."""

import fractions
import struct

import av
import numpy as np
import pytest

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import display_size
from v2meow_jax.files.films import remux

SILENCE = media.Audio(samples=np.zeros(16_000, np.float32), rate_hz=16_000)
HDR10 = (
  'log-level=none:hdr10=1:repeat-headers=1:max-cll=1000,400:master-display='
  'G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)'
)
BT709, BT2020_PQ = (1, 1, 1, 1), (1, 9, 16, 9)


def colored(path, container, codec, colors, aspect=None, **options):
  """A clip that states range, primaries, transfer and matrix (H.273)."""
  with av.open(str(path), 'w', format=container) as out:
    stream = out.add_stream(codec, rate=25)
    stream.width, stream.height = 64, 48
    stream.pix_fmt = options.pop('pix_fmt', 'yuv420p')
    stream.options = options
    context = stream.codec_context
    context.color_range, context.color_primaries = colors[:2]
    context.color_trc, context.colorspace = colors[2:]
    if aspect:
      context.sample_aspect_ratio = aspect
    for pixels in media_clips.planted(range(10)):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
    out.mux(stream.encode(None))
  return path


def looks(path):
  """All that says how the first picture is shown."""
  with av.open(str(path)) as opened:
    stream = opened.streams.video[0]
    frame = next(opened.decode(stream))
    context = stream.codec_context
    return {
      'colors': [int(frame.color_range), int(frame.color_primaries)]
      + [int(frame.color_trc), int(frame.colorspace)],
      'stated': int(context.color_trc),
      'aspect': float(stream.sample_aspect_ratio or 1),
      'pix_fmt': context.pix_fmt,
      'side data': sorted(
        data.type.name
        for data in frame.side_data
        if data.type.name != 'SEI_UNREGISTERED'
      ),
    }


@pytest.mark.parametrize(
  ('arguments', 'suffixes'),
  [
    (
      dict(
        container='mp4',
        codec='libx265',
        colors=BT2020_PQ,
        pix_fmt='yuv420p10le',
        **{'x265-params': HDR10},
      ),
      ('.mp4', '.mov', '.mkv'),
    ),
    (
      dict(
        container='mp4',
        codec='libx264',
        colors=BT709,
        aspect=fractions.Fraction(64, 45),
      ),
      ('.mp4', '.mov', '.mkv'),
    ),
    (
      dict(
        container='mov',
        codec='prores_ks',
        colors=BT709,
        aspect=fractions.Fraction(64, 45),
        pix_fmt='yuv422p10le',
      ),
      ('.mov', '.mkv'),
    ),
    (
      dict(container='webm', codec='libvpx-vp9', colors=BT2020_PQ),
      ('.mp4', '.mkv', '.webm'),
    ),
  ],
  ids=['hdr10', 'anamorphic', 'anamorphic prores', 'colours of vp9'],
)
def test_a_copy_is_shown_as_the_film_was(tmp_path, arguments, suffixes):
  source = colored(tmp_path / 'in', **arguments)
  before = looks(source)
  if 'x265-params' in arguments:
    assert 'MASTERING_DISPLAY_METADATA' in before['side data']
  for suffix in suffixes:
    out = tmp_path / f'out{suffix}'
    assert remux.replace_sound(source, SILENCE, out).is_copied
    after = looks(out)
    # Matroska holds the size to the pixel.
    assert after.pop('aspect') == pytest.approx(before['aspect'], rel=0.01)
    assert after == {k: v for k, v in before.items() if k != 'aspect'}
    assert (
      read.read_video(out).frames.shape == read.read_video(source).frames.shape
    )


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv'])
def test_every_container_keeps_the_picture_upright(tmp_path, suffix):
  picture = media_clips.gray([0])
  picture[:, :24, :32] = 255
  plain = media_clips.encode(tmp_path / 'plain', picture)
  for name in media_clips.TURNS:
    turned = media_clips.turn(plain, tmp_path / 'turned', name)
    out = tmp_path / f'out{suffix}'
    remux.replace_sound(turned, SILENCE, out)
    np.testing.assert_array_equal(
      read.read_video(out).frames, read.read_video(turned).frames, name
    )


def test_dolby_vision_stays_or_is_listed(tmp_path):
  source = tmp_path / 'in.mp4'
  colored(
    source,
    'mp4',
    'libx265',
    BT2020_PQ,
    pix_fmt='yuv420p10le',
    **{'x265-params': 'log-level=none'},
  )
  data = bytearray(source.read_bytes())
  # Version 1.0, profile 8, level 4, base layer compatible with HLG.
  box = struct.pack('>I4s', 32, b'dvvC')
  box += bytes([1, 0, 0x10, 0x25, 0x40]) + bytes(19)
  at = data.index(b'hvcC') - 4
  after = at + struct.unpack_from('>I', data, at)[0]
  data[after:after] = box
  for parent in ('moov', 'trak', 'mdia', 'minf', 'stbl', 'stsd', 'hev1'):
    place = data.rindex(parent.encode(), 0, at) - 4
    size = struct.unpack_from('>I', data, place)[0]
    struct.pack_into('>I', data, place, size + len(box))
  source.write_bytes(data)
  for suffix, lost in (('.mp4', 0), ('.mkv', 0), ('.mov', 1)):
    out = tmp_path / f'out{suffix}'
    result = remux.replace_sound(source, SILENCE, out)
    assert result.is_copied
    assert (b'dvvC' in out.read_bytes()) == (not lost)
    assert [phrase[:5] for phrase in result.left_out] == ['Dolby'] * lost


def rich(
  path, container: str, subtitles: str, spoken='fra', read='ita', mark=0
):
  """Two seconds with three sounds, subtitles, chapters and tags."""
  milliseconds = fractions.Fraction(1, 1000)
  with av.open(str(path), 'w', format=container) as out:
    out.metadata.update(
      title='Holiday',
      location='+48.8577+002.2950/',
      creation_time='2020-01-02T03:04:05.000000Z',
    )
    if container == 'matroska':
      out.metadata['make'] = 'Camera'
      out.add_attachment('font.ttf', 'application/x-truetype-font', b'abcd')
    film = out.add_stream('libx264', rate=25)
    film.width, film.height, film.pix_fmt = 64, 48, 'yuv420p'
    sounds = []
    for language in ('eng', spoken, 'eng'):
      sounds.append(out.add_stream('aac', rate=48_000, layout='mono'))
      sounds[-1].metadata['language'] = language
    sounds[-1].disposition = av.stream.Disposition(mark)
    text = out.add_mux_stream(subtitles)
    text.time_base = milliseconds
    text.metadata['language'] = read
    out.set_chapters(
      [
        {
          'id': i,
          'start': 1000 * i,
          'end': 1000 * (i + 1),
          'time_base': milliseconds,
          'metadata': {'title': f'Part {i}'},
        }
        for i in range(2)
      ]
    )
    out.start_encoding()
    packet = av.Packet(b'Ciao' if subtitles == 'subrip' else b'\0\4Ciao')
    packet.stream, packet.time_base = text, milliseconds
    packet.pts = packet.dts = 500
    packet.duration = 500
    out.mux(packet)
    for pixels in media_clips.planted(range(50)):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      out.mux(film.encode(frame))
    out.mux(film.encode(None))
    for level, sound in enumerate(sounds, 1):
      samples = np.full((1, 96_000), 0.1 * level, np.float32)
      frame = av.AudioFrame.from_ndarray(samples, 'fltp', 'mono')
      frame.sample_rate = 48_000
      out.mux(sound.encode(frame))
      out.mux(sound.encode(None))


def contents(path):
  """Tracks (type and language), titles of chapters, and tags."""
  with av.open(str(path)) as opened:
    tracks = [
      (s.type, s.language)
      for s in opened.streams
      if s.type != 'data' and s.type != 'video'
    ]
    chapters = [
      (c['metadata']['title'], float(c['start'] * c['time_base']))
      for c in opened.chapters()
    ]
    tags = {name.lower(): value for name, value in opened.metadata.items()}
    return tracks, chapters, tags


def texts(path):
  """Text and time of each subtitle, as FFmpeg decodes them."""
  shown = []
  with av.open(str(path)) as opened:
    track = opened.streams.subtitles[0]
    for packet in opened.demux(track):
      for subtitle in track.decode(packet) if packet.size else []:
        text = subtitle.dialogue.decode()
        if text:
          shown.append((text, float(packet.pts * packet.time_base)))
  return shown


@pytest.mark.parametrize(
  ('container', 'subtitles', 'suffix', 'lost'),
  [
    ('mp4', 'mov_text', '.mp4', []),
    ('mp4', 'mov_text', '.mov', []),
    ('mp4', 'mov_text', '.mkv', []),
    (
      'matroska',
      'subrip',
      '.mp4',
      ['1 attachment (font.ttf)', 'tags (make)'],
    ),
    ('matroska', 'subrip', '.mkv', []),
  ],
)
def test_what_a_film_has_besides_goes_along_or_is_listed(
  tmp_path, container, subtitles, suffix, lost
):
  source, out = tmp_path / 'in', tmp_path / f'out{suffix}'
  rich(source, container, subtitles)
  result = remux.replace_sound(source, SILENCE, out)
  assert result.is_copied
  # The second English track belongs to the sound that is replaced.
  assert sorted(result.left_out) == sorted(['1 sound track (aac eng)', *lost])
  tracks, chapters, tags = contents(out)
  assert chapters == [('Part 0', 0.0), ('Part 1', 1.0)]
  assert tags['title'] == 'Holiday'
  assert tags['location'] == '+48.8577+002.2950/'
  assert tags['creation_time'] == '2020-01-02T03:04:05.000000Z'
  assert tracks[0][0] == 'audio' and tracks[1] == ('audio', 'fra')
  assert ('subtitle', 'ita') in tracks
  assert texts(out) == [('Ciao', 0.5)]
  with av.open(str(out)) as opened:
    default = av.stream.Disposition.default
    marks = [bool(s.disposition & default) for s in opened.streams.audio]
    assert marks == [True, False]
    frames = [f.to_ndarray() for f in opened.decode(audio=1)]
  assert np.median(np.concatenate(frames, 1)) == pytest.approx(0.2, abs=0.01)
  assert not read.read_audio(out).samples.any()


def test_comments_in_the_language_of_the_film_are_no_sound_to_replace(tmp_path):
  source, out = tmp_path / 'in', tmp_path / 'out.mkv'
  for mark in (
    av.stream.Disposition.comment,
    av.stream.Disposition.visual_impaired,
  ):
    rich(source, 'matroska', 'subrip', mark=mark)
    assert remux.replace_sound(source, SILENCE, out).left_out == ()
    with av.open(str(out)) as opened:
      new, other, comment = opened.streams.audio
      assert (other.language, comment.language) == ('fra', 'eng')
      assert comment.disposition == mark
      frames = [f.to_ndarray() for f in opened.decode(comment)]
    assert np.median(np.concatenate(frames, 1)) == pytest.approx(0.3, abs=0.01)
    assert new.disposition == av.stream.Disposition.default


def test_a_language_has_the_name_that_its_container_knows_or_is_listed(
  tmp_path,
):
  for spoken, read_in, in_mov, lost in (
    ('deu', 'nld', {'ger', 'dut'}, ()),
    ('swe', 'fre', {'sve', 'fra'}, ()),
    ('gla', 'ita', {None, 'ita'}, ('names of languages (gla)',)),
  ):
    rich(tmp_path / 'in', 'mp4', 'mov_text', spoken, read_in)
    for suffix in ('.mov', '.mp4', '.mkv'):
      out = tmp_path / f'out{suffix}'
      _, *left = remux.replace_sound(tmp_path / 'in', SILENCE, out).left_out
      tracks = {language for _, language in contents(out)[0][1:]}
      is_mov = suffix == '.mov'
      assert tracks == (in_mov if is_mov else {spoken, read_in}), suffix
      assert tuple(left) == (lost if is_mov else ())


def test_a_bare_film_says_nothing_of_its_maker(tmp_path):
  source, out = tmp_path / 'in', tmp_path / 'out.mp4'
  rich(source, 'mp4', 'mov_text')
  result = remux.replace_sound(source, SILENCE, out, is_bare=True)
  assert result.left_out == ()
  tracks, chapters, tags = contents(out)
  assert len(tracks) == 1 and not chapters
  assert set(tags) == {'major_brand', 'minor_version', 'compatible_brands'}


def test_an_encoded_film_keeps_turn_and_aspect_as_well(tmp_path):
  plain = media_clips.encode(
    tmp_path / 'plain',
    media_clips.planted(range(10)),
    aspect=fractions.Fraction(4, 3),
  )
  turned = media_clips.turn(plain, tmp_path / 'turned', 'clockwise')
  before = read.read_video(turned)
  for suffix in ('.mp4', '.mkv', '.webm'):
    out = tmp_path / f'out{suffix}'
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(remux, '_why_not_copied', lambda *_: 'a test asks for it')
      result = remux.replace_sound(turned, SILENCE, out)
    assert not result.is_copied
    after = read.read_video(out)
    np.testing.assert_allclose(after.frames.shape, before.frames.shape, atol=2)
    np.testing.assert_allclose(after.times, before.times, atol=2e-3)
    means = [v.frames.mean((1, 2, 3)) for v in (before, after)]
    np.testing.assert_allclose(*means, atol=4)
    assert probe.probe_video(out).num_frames == 10


def test_encoded_hdr_says_what_the_film_said_or_it_is_listed(tmp_path):
  source = colored(
    tmp_path / 'in',
    'mp4',
    'libx265',
    BT2020_PQ,
    pix_fmt='yuv420p10le',
    **{'x265-params': HDR10},
  )

  def said(path):
    with av.open(str(path)) as opened:
      frame = next(opened.decode(video=0))
      return {
        data.type.name: bytes(data)
        for data in frame.side_data
        if data.type.name
        in ('MASTERING_DISPLAY_METADATA', 'CONTENT_LIGHT_LEVEL')
      }

  assert len(said(source)) == 2
  for suffix in ('.mp4', '.mov', '.mkv', '.webm'):
    out = tmp_path / f'out{suffix}'
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(remux, '_why_not_copied', lambda *_: 'a test asks for it')
      result = remux.replace_sound(source, SILENCE, out)
    assert not result.is_copied
    if suffix == '.webm':  # Its encoder writes no such thing.
      (phrase,) = result.left_out
      assert phrase.endswith('(content light level, mastering display)')
    else:
      assert said(out) == said(source) and result.left_out == ()


def test_a_display_size_without_room_leaves_a_whole_file(tmp_path, monkeypatch):
  source = colored(
    tmp_path / 'in', 'mp4', 'libx264', BT709, fractions.Fraction(4, 3)
  )
  monkeypatch.setattr(display_size, '_has_room', lambda *_: False)
  result = remux.replace_sound(source, SILENCE, tmp_path / 'out.mkv')
  assert result.is_copied  # H.264 states the aspect itself.
  assert looks(tmp_path / 'out.mkv') == looks(source)
  assert display_size.MARK.encode() not in (tmp_path / 'out.mkv').read_bytes()


def test_what_a_phone_writes_goes_by_the_names_that_others_know(tmp_path):
  source, own = tmp_path / 'in.mov', 'com.apple.quicktime.'
  with av.open(
    str(source), 'w', options={'movflags': 'use_metadata_tags'}
  ) as out:
    out.metadata.update(
      {
        f'{own}location.ISO6709': '+48.8577+002.2950/',
        f'{own}creationdate': '2024-05-01T10:11:12+0200',
        f'{own}model': 'Phone 7',
      }
    )
    stream = out.add_stream('libx264', rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
    frame = media_clips.planted([1])[0]
    out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
    out.mux(stream.encode(None))
  for suffix, lost in (('.mp4', ('tags (model)',)), ('.mov', ()), ('.mkv', ())):
    result = remux.replace_sound(source, SILENCE, tmp_path / f'out{suffix}')
    assert result.left_out == lost
    tags = contents(tmp_path / f'out{suffix}')[2]
    assert tags['location'] == '+48.8577+002.2950/'
    assert tags['date'] == '2024-05-01T10:11:12+0200'
    assert lost or tags['model'] == 'Phone 7'
