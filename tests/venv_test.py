"""Scripts make environments with the fastest build of the oldest Python."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
_CHOOSE = 'set -euo pipefail; source launch/venv.sh; fastest_python'


@pytest.mark.parametrize(
  ('builds', 'expected'),
  [
    ({'a/python3.11': '11 0.02 A', 'b/python3.11': '11 0.01 B'}, 'B'),
    ({'a/python3.11': '11 9e-3 A', 'b/python3.11': '11 0.01 B'}, 'A'),
    ({'a/python3': '12 0.01 A', 'b/python3.11': '11 0.02 B'}, 'B'),
    ({'a/python3': '13 0.01 /my tools/A'}, '/my tools/A'),
    # A version that is not supported says nothing and fails.
    ({'a/python3': '', 'b/python3.12': '12 0.01 B'}, 'B'),
    ({'a/python3': ''}, ''),
  ],
)
def test_the_oldest_version_wins_and_its_fastest_build(
  builds, expected, tmp_path
):
  for name, said in builds.items():
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/bash\n[ -n "{said}" ] && echo "{said}"\n')
    path.chmod(0o755)
  (tmp_path / 'tools').mkdir()
  for tool in ('sort', 'sed'):
    (tmp_path / 'tools' / tool).symlink_to(shutil.which(tool))
  folders = [str(tmp_path / name) for name in ('a', 'b', 'tools')]
  done = subprocess.run(
    [shutil.which('bash'), '-c', _CHOOSE],
    cwd=ROOT, env={'PATH': ':'.join(folders)}, capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == expected
