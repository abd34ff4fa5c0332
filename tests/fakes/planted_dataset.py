"""One planted dataset for all tests of the data."""

import pytest

from tests.fakes import planted_records


def _clips():
  clips = {
    f'clip{i:02d}': (
      'validation' if i % 5 == 0 else 'train',
      {'seconds': 12.0 + i % 7},
    )
    for i in range(30)
  }
  short = {'seconds': 12.0, 'audio_seconds': 3.0}
  return {
    **clips,
    'gone': ('train', None),
    'mute': ('train', {'seconds': 12.0, 'mute': True}),
    'short': ('train', short),
    'nan': ('train', {'seconds': 12.0, 'poison': 2}),
    'misfit': ('train', {'seconds': 12.0, 'poison': 1}),
    'broken': ('train', 'not a clip'),
  }


@pytest.fixture(scope='session')
def planted_manifest(tmp_path_factory):
  """30 good clips and one of every kind that is rejected."""
  return planted_records.write_manifest(
    tmp_path_factory.mktemp('media'), _clips()
  )


@pytest.fixture(scope='session')
def planted_prepare(planted_manifest):
  """Prepares the planted clips: (out, **changes) -> Summary."""
  from v2meow_jax.jobs.prepare import prepare

  def run(
    out,
    manifest=planted_manifest,
    pipeline_options=(),
    piece_seconds=10.0,
    **changes,
  ):
    return prepare.prepare(
      manifest,
      str(out),
      planted_records.reading(**{'min_seconds': 10.0, **changes}),
      num_shards=3,
      piece_seconds=piece_seconds,
      pipeline_options=pipeline_options,
      progress=False,
    )

  return run


@pytest.fixture(scope='session')
def planted_dir(tmp_path_factory, planted_prepare):
  """A V2MEOW_DATA_DIR holding the dataset 'planted'; not to be changed."""
  root = tmp_path_factory.mktemp('data')
  planted_prepare(root / 'planted')
  return root


@pytest.fixture
def planted_data(planted_dir, monkeypatch):
  """The folder of the dataset 'planted', found by its name."""
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(planted_dir))
  return planted_dir / 'planted'
