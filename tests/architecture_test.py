"""docs/architecture.md is so: its rooms exist, and its walks are what runs."""

import os
import pathlib
import re
import sys
import threading

import jax
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs/architecture.md').read_text()
LIBRARY = ROOT / 'v2meow_jax'
TRAINING = 'From a line of the table of datasets to the gradient'
GENERATION = 'From a video to its sound'


def walk(title: str) -> list[str]:
  section = PAGE.partition(f'## {title}')[2].partition('\n## ')[0]
  return re.findall(r'^\d+\. `(\S+)`', section, re.M)


@pytest.mark.parametrize(('title', 'most'), [(TRAINING, 18), (GENERATION, 20)])
def test_a_walk_is_short_and_its_files_exist(title, most):
  files = walk(title)
  assert 10 < len(files) <= most
  assert len(set(files)) == len(files)
  assert [f for f in files if not (ROOT / f).is_file()] == []


def test_every_room_has_its_row():
  rows = re.findall(r'^\|( `[^|]+`) \|', PAGE, re.M)
  named = {n.strip('/') for row in rows for n in re.findall(r'`([^`]+)`', row)}
  rooms = {p.name for p in LIBRARY.iterdir() if p.is_dir()}
  assert rooms - {'__pycache__', 'assets', 'cli'} <= named
  assert [n for n in named if not (LIBRARY / n).exists()] == []


class Entered:
  """Notes the files of the repository whose functions are called."""

  def __init__(self):
    self.files: set[str] = set()

  def _note(self, frame, event, arg):
    del arg
    code = frame.f_code
    if event == 'call' and code.co_name != '<module>':
      self.files.add(code.co_filename)

  def __enter__(self):
    jax.clear_caches()  # What was compiled before would not be entered.
    threading.setprofile(self._note)
    sys.setprofile(self._note)
    return self

  def __exit__(self, *error):
    sys.setprofile(None)
    threading.setprofile(None)
    root = str(ROOT) + os.sep
    self.files = {f.removeprefix(root) for f in self.files}


@pytest.mark.slow
def test_the_walk_from_a_video_to_its_sound_is_what_runs(tmp_path, monkeypatch):
  from v2meow_jax.files import write
  from v2meow_jax.inference import soundtrack

  video = tmp_path / 'clip.mp4'
  frames = np.random.default_rng(0).integers(0, 255, (25, 48, 64, 3), np.uint8)
  write.write_video(video, frames, rate_hz=25)
  with Entered() as entered:
    # Programs are made anew, and shared with no other test.
    monkeypatch.setenv('V2MEOW_PROGRAMS_DIR', '')
    soundtrack.write(str(video), str(tmp_path / 'out.mp4'), system_dir='tiny')
  assert set(walk(GENERATION)) - entered.files == set()


@pytest.mark.data
def test_the_walk_from_a_dataset_to_the_gradient_is_what_runs(
  tmp_path, monkeypatch
):
  from tests.fakes import walked_training

  monkeypatch.setenv('V2MEOW_DATA_DIR', str(tmp_path))
  walked_training.prepare(tmp_path)
  with Entered() as entered:
    walked_training.train(tmp_path / 'run', ROOT)
  # Files that autograph rewrites before they run are entered under other names.
  rewritten = {'v2meow_jax/data/preprocessors.py'}
  assert set(walk(TRAINING)) - rewritten - entered.files == set()
