import json
import pathlib
import re

import pytest

from v2meow_jax.files import manifests


def test_a_bad_manifest_names_every_bad_line(tmp_path):
  manifest = tmp_path / 'manifest.jsonl'
  lines = [
    '{"id": "a", "path": "a.mp4"}',
    'not json',
    '{"id": "a", "path": "b.mp4"}',
    '{"id": "../c", "path": "c.mp4"}',
    '{"id": "d"}',
    '{"id": "e", "path": "e.mp4", "split": "test"}',
    '{"id": "f", "path": "f.mp4", "caption": 3}',
    '[]',
    '{"id": "g", "path": "g.wav", "plan": "g.json"}',
  ]
  manifest.write_text('\n'.join(lines))
  with pytest.raises(ValueError) as error:
    manifests.read(str(manifest))
  for number in range(2, 10):
    assert f'line {number}: ' in str(error.value)
  assert 'line 1:' not in str(error.value)


def test_the_example_in_an_error_is_a_manifest(tmp_path):
  path = tmp_path / 'manifest.jsonl'
  path.write_text('my.mp4')
  with pytest.raises(ValueError, match='no JSON') as raised:
    manifests.read(path)
  (example,) = re.findall(r'such as ({.*})', str(raised.value))
  path.write_text(example)
  (clip,) = manifests.read(path)
  assert clip.path == str(tmp_path / 'my.mp4')


def test_paths_are_relative_to_the_manifest_and_the_split_is_train(tmp_path):
  manifest = tmp_path / 'manifest.jsonl'
  manifest.write_text('{"id": "a", "path": "b/a.mp4", "caption": "jazz"}\n\n')
  assert manifests.read(str(manifest)) == [
    manifests.ManifestClip(
      id='a',
      path=str(tmp_path / 'b/a.mp4'),
      split='train',
      caption='jazz',
    )
  ]


def test_a_split_without_clips_names_those_there_are(tmp_path):
  manifest = tmp_path / 'manifest.jsonl'
  manifest.write_text('{"id": "a", "path": "a.mp4"}\n')
  assert len(manifests.read(manifest, 'train')) == 1
  with pytest.raises(ValueError, match=r"split 'validation'.*'train': 1"):
    manifests.read(manifest, 'validation')
  manifest.write_text('\n')
  with pytest.raises(ValueError, match='holds no clips'):
    manifests.read(manifest)


def test_several_manifests_are_read_one_after_the_other(tmp_path):
  paths = []
  for name in ('a', 'b'):
    path = tmp_path / f'{name}.jsonl'
    path.write_text(json.dumps({'id': 'same', 'path': f'{name}.mp4'}) + '\n')
    paths.append(str(path))
  found = manifests.read(paths, 'train')
  assert [pathlib.Path(c.path).name for c in found] == ['a.mp4', 'b.mp4']


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
  path = tmp_path / 'manifest.jsonl'
  path.write_bytes(b'\xef\xbb\xbf{"id": "a", "path": "a.mp4"}\n')
  assert [clip.id for clip in manifests.read(str(path))] == ['a']


@pytest.mark.parametrize(
  ('data', 'reason'),
  [
    ('{"id": "a"}'.encode('utf-16'), 'is UTF-16; .*iconv -f UTF-16'),
    (b'{"id": "caf\xe9"}', 'not UTF-8 at byte 11'),
  ],
)
def test_another_encoding_is_refused_with_the_way_out(tmp_path, data, reason):
  path = tmp_path / 'manifest.jsonl'
  path.write_bytes(data)
  with pytest.raises(ValueError, match=reason):
    manifests.read(str(path))


def test_a_manifest_that_is_not_there_says_what_was_wanted(tmp_path):
  with pytest.raises(ValueError, match='no manifest .*data synth'):
    manifests.read(str(tmp_path / 'no.jsonl'))


def test_a_folder_in_place_of_a_manifest_names_what_is_wanted(tmp_path):
  with pytest.raises(ValueError, match=r'is a folder; .*manifest\.jsonl'):
    manifests.check_there(tmp_path)
