"""Building: pairs by name, blind files, and nothing dropped in silence."""

import json
import pathlib
import shutil

import av
import numpy as np
import pytest

from tests.fakes import media_clips
from tests.fakes import study_sites
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.files.films import remux
from v2meow_jax.study import assignment
from v2meow_jax.study import building
from v2meow_jax.study import protocol


@pytest.fixture
def folders(built, tmp_path):
  """The folders of three systems, to be damaged."""
  shutil.copytree(built[0] / 'in', tmp_path / 'in')
  return {s: tmp_path / 'in' / s for s in study_sites.SYSTEMS}


def build(folders, site, **settings):
  return building.build([str(f) for f in folders.values()], site, **settings)


def sound(site, token):
  return read.read_audio(site / 'media' / f'{token}.mp4').samples


def test_every_clip_is_paired_by_name_over_all_systems(built):
  _, _, study = built
  assert study.systems == study_sites.SYSTEMS
  assert [(p.clip, p.first, p.second) for p in study.pairs] == [
    (clip, *versus)
    for clip in ('clip_0', 'clip_1')
    for versus in (('alpha', 'beta'), ('alpha', 'gamma'), ('beta', 'gamma'))
  ]
  assert study.num_comparisons == len(study.pairs)
  assert (study.left_out, study.notes) == ((), ())


def test_a_study_is_read_as_it_was_built(built):
  _, site, study = built
  loaded = protocol.load(site)
  assert loaded == study
  assert protocol.to_json(loaded) == (site / 'study.json').read_text()


def test_served_files_have_each_systems_sound_under_the_same_pictures(built):
  root, site, study = built
  for name, clip in study.clips.items():
    for system, token in clip.files.items():
      source = root / 'in' / system / f'{name}.mp4'
      np.testing.assert_array_equal(
        sound(site, token), read.read_audio(source).samples
      )
    pictures = {video_packets(site, token) for token in clip.files.values()}
    assert len(pictures) == 1


def video_packets(site, token):
  with av.open(str(site / 'media' / f'{token}.mp4')) as container:
    return b''.join(bytes(p) for p in container.demux(video=0))


def test_served_files_give_nothing_away(built):
  _, site, study = built
  tokens = {t for c in study.clips.values() for t in c.files.values()}
  tokens |= {c.silent for c in study.clips.values()}
  files = list((site / 'media').iterdir())
  assert {f.stem for f in files} == tokens == set(study.files)
  assert {len(t) for t in tokens} == {32}
  assert {f.stat().st_mtime for f in files} == {0.0}
  for file in files:
    data = file.read_bytes()
    for word in (*study_sites.SYSTEMS, *study.clips):
      assert word.encode() not in data


def test_a_silent_version_has_the_pictures_and_no_sound(built):
  _, site, study = built
  clip = study.clips['clip_0']
  assert np.abs(sound(site, clip.silent)).max() < 1e-4
  assert video_packets(site, clip.silent) == video_packets(
    site, clip.files['alpha']
  )


def test_digests_tell_where_a_file_came_from(built):
  root, _, study = built
  token = study.clips['clip_1'].files['beta']
  source = root / 'in' / 'beta' / 'clip_1.mp4'
  assert study.files[token]['source'] == str(source)
  assert study.files[token]['level_dbfs'] == pytest.approx(
    20 * np.log10(0.2) - 3.01, abs=0.2
  )


def test_clips_that_cannot_be_compared_are_listed(folders, tmp_path):
  (folders['alpha'] / 'clip_0.mp4').unlink()
  damaged = folders['gamma'] / 'clip_1.mp4'
  damaged.write_bytes(damaged.read_bytes()[:900])
  study = build(folders, tmp_path / 'site')
  reasons = {(i['clip'], i['system']): i['reason'] for i in study.left_out}
  assert set(reasons) == {('clip_0', 'alpha'), ('clip_1', 'gamma')}
  assert reasons['clip_0', 'alpha'] == 'there is no such file'
  assert str(damaged) in reasons['clip_1', 'gamma']
  assert [(p.clip, p.first, p.second) for p in study.pairs] == [
    ('clip_0', 'beta', 'gamma'),
    ('clip_1', 'alpha', 'beta'),
  ]
  names = {p.stem for p in (tmp_path / 'site' / 'media').iterdir()}
  assert names == set(study.files)


@pytest.mark.parametrize(
  'change,reason',
  [
    ({'scene': 5}, 'another video'),
    ({'seconds': 1.5}, 'lasts 1.50 s'),
  ],
)
def test_another_video_of_the_same_name_is_left_out(
  folders, tmp_path, change, reason
):
  study_sites.write_clip(
    folders['beta'] / 'clip_0.mp4', **{'scene': 0, 'pitch_hz': 300.0, **change}
  )
  (item,) = build(folders, tmp_path / 'site').left_out
  assert (item['clip'], item['system']) == ('clip_0', 'beta')
  assert reason in item['reason']


def test_what_browsers_do_not_play_is_left_out(folders, tmp_path):
  frames = media_clips.planted(range(10))
  mute, old = folders['alpha'] / 'clip_0.mp4', folders['beta'] / 'clip_1.mp4'
  write.write_video(mute, frames, rate_hz=10)
  media_clips.encode(old, frames, codec='mpeg4', rate_hz=10)
  remux.replace_sound(old, study_sites.tone(), old)
  reasons = [i['reason'] for i in build(folders, tmp_path / 'site').left_out]
  assert reasons[0] == 'it has no sound'
  assert reasons[1].startswith('browsers may not play mpeg4 with aac')


def test_genres_come_from_the_manifest_and_gaps_are_noted(folders, tmp_path):
  manifest = tmp_path / 'genres.json'
  manifest.write_text(json.dumps({'clip_0': 'reggae', 'clip_7': 'punk'}))
  study = build(folders, tmp_path / 'site', genres=manifest)
  assert [c.genre for c in study.clips.values()] == ['reggae', None]
  assert study.notes == ('clip_7: a genre, but no clip', 'clip_1: no genre')


def test_unequal_and_missing_sound_is_noted(folders, tmp_path):
  for clip, level in (('clip_0', 0.02), ('clip_1', 0.0)):
    study_sites.write_clip(
      folders['beta'] / f'{clip}.mp4',
      scene=int(clip[-1]),
      pitch_hz=440.0,
      level=level,
    )
  notes = build(folders, tmp_path / 'site').notes
  assert [n[:44] for n in notes] == [
    'clip_0: alpha is 20 dB louder than beta; lou',
    'clip_1: the soundtrack of beta is silent',
  ]


def silence(folder, clip):
  study_sites.write_clip(
    folder / f'{clip}.mp4', scene=int(clip[-1]), pitch_hz=440.0, level=0.0005
  )


def test_what_is_nearly_silent_is_not_checked_against_silence(
  folders, tmp_path
):
  silence(folders['beta'], 'clip_0')
  study = build(folders, tmp_path / 'site')
  assert study.clips['clip_0'].silent is None
  assert study.clips['clip_1'].silent in study.files


def test_without_a_clip_to_tell_from_silence_all_checks_are_instructions(
  folders, tmp_path
):
  for clip in ('clip_0', 'clip_1'):
    silence(folders['gamma'], clip)
  study = build(folders, tmp_path / 'site')
  assert [c.silent for c in study.clips.values()] == [None, None]
  assert 'no clip has music in all systems' in study.notes[-1]
  (trials,) = assignment.booklets(study, 1)
  assert {t.kind for t in trials} == {protocol.COMPARISON, protocol.INSTRUCTED}


def test_a_baseline_is_in_every_pair(folders, tmp_path):
  study = build(folders, tmp_path / 'site', baseline='beta')
  assert len(study.pairs) == 4
  assert protocol.load(tmp_path / 'site').baseline == 'beta'
  assert all('beta' in (p.first, p.second) for p in study.pairs)


def test_a_folder_can_be_given_another_name(folders, tmp_path):
  study = building.build(
    [f'ours={folders["alpha"]}', str(folders['beta'])], tmp_path / 'site'
  )
  assert study.systems == ('ours', 'beta')


@pytest.mark.parametrize(
  'given,settings,message',
  [
    (['alpha'], {}, 'two folders'),
    (['alpha', 'alpha'], {}, 'both called'),
    (['alpha', 'nowhere'], {}, 'no such folder'),
    (['alpha', 'beta'], {'baseline': 'gamma'}, 'baseline'),
    (['alpha', 'beta'], {'num_comparisons': 0}, '1 or more'),
    (['alpha', 'beta'], {'num_checks': 10**8}, 'wanted .* 0 to 20'),
    (['alpha', 'beta'], {'seed': -1}, 'seed is -1; wanted 0 or more'),
    (['alpha', 'beta'], {'min_played': 1.5}, 'share'),
    (['a/b=alpha', 'beta'], {}, 'cannot be the name'),
    (['..=alpha', 'beta'], {}, 'cannot be the name'),
    (['alpha', 'empty'], {}, 'no clip can be compared'),
  ],
)
def test_what_makes_no_study_is_refused_and_leaves_nothing(
  built, tmp_path, given, settings, message
):
  (tmp_path / 'empty').mkdir()
  root = built[0] / 'in'
  paths = []
  for name, sign, folder in (g.rpartition('=') for g in given):
    parent = tmp_path if folder == 'empty' else root
    paths.append(f'{name}{sign}{parent / folder}')
  with pytest.raises(protocol.StudyError, match=message):
    building.build(paths, tmp_path / 'site', **settings)
  assert [p.name for p in tmp_path.iterdir()] == ['empty']


@pytest.mark.parametrize('text', ['[]', '{"clip_0": 3}', 'reggae'])
def test_a_manifest_of_another_kind_is_refused(built, tmp_path, text):
  (tmp_path / 'genres.json').write_text(text)
  root = built[0] / 'in'
  with pytest.raises(protocol.StudyError, match='genres.json'):
    building.build(
      [str(root / 'alpha'), str(root / 'beta')],
      tmp_path / 'site',
      genres=tmp_path / 'genres.json',
    )


def test_a_study_is_never_written_over(built):
  root, site, _ = built
  before = (site / 'study.json').read_bytes()
  with pytest.raises(protocol.StudyError, match='is there already'):
    building.build([str(root / 'in' / s) for s in study_sites.SYSTEMS], site)
  assert (site / 'study.json').read_bytes() == before


@pytest.mark.parametrize('text', ['', '{}', '[]', '{"format": 1}', 'null'])
def test_a_damaged_study_is_named(tmp_path, text):
  with pytest.raises(protocol.StudyError, match='no such file'):
    protocol.load(tmp_path)
  pathlib.Path(tmp_path / 'study.json').write_text(text)
  with pytest.raises(protocol.StudyError, match='damaged'):
    protocol.load(tmp_path)


def test_a_damaged_study_is_not_to_be_built_again(tmp_path):
  # Answers carry its id.
  for text, reason in (
    ('{}', "the field 'format' is missing"),
    ('{"format": 7}', 'of format 7; wanted 1'),
  ):
    (tmp_path / 'study.json').write_text(text)
    with pytest.raises(protocol.StudyError, match=reason) as caught:
      protocol.load(tmp_path)
    assert 'restore a backup of it' in str(caught.value)
