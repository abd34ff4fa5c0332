"""One small study, built once for all tests of pages and servers."""

import shutil

import pytest

from tests.fakes import study_sites


@pytest.fixture(scope='session')
def built(tmp_path_factory):
  """(folder of the sources, site, study); to be read only."""
  root = tmp_path_factory.mktemp('study')
  return root, *study_sites.build(root, title='Music & films')


@pytest.fixture
def site(built, tmp_path):
  """A copy of the study, to be changed."""
  shutil.copytree(built[1], tmp_path / 'site')
  return tmp_path / 'site'
