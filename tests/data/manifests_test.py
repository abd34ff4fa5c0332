import pytest

from v2meow_jax.data import manifests

pytestmark = pytest.mark.data


def test_a_bad_manifest_names_every_bad_line(tmp_path):
  manifest = tmp_path / 'manifest.jsonl'
  lines = [
    '{"id": "a", "path": "a.mp4"}',
    'not json',
    '{"id": "a", "path": "b.mp4"}',
    '{"id": "../c", "path": "c.mp4"}',
    '{"id": "d"}',
    '{"id": "e", "path": "e.mp4", "split": "test"}',
  ]
  manifest.write_text('\n'.join(lines))
  with pytest.raises(ValueError) as error:
    manifests.read(str(manifest))
  for number in (2, 3, 4, 5, 6):
    assert f'line {number}: ' in str(error.value)
  assert 'line 1:' not in str(error.value)


def test_paths_are_relative_to_the_manifest_and_the_split_is_train(tmp_path):
  manifest = tmp_path / 'manifest.jsonl'
  manifest.write_text('{"id": "a", "path": "b/a.mp4", "caption": "jazz"}\n\n')
  assert manifests.read(str(manifest)) == [
    manifests.Clip(id='a', path=str(tmp_path / 'b/a.mp4'), split='train')
  ]
