"""Progress of what is made: to its end, and no further."""

import types
import warnings

import pytest

from v2meow_jax.files import full_disk
from v2meow_jax.inference.films import making
from v2meow_jax.inference.films import unfinished


def test_a_bar_ends_at_its_end_though_windows_reach_beyond(capsys):
  system = types.SimpleNamespace(parts=('streams', 'semantic', 'codec'))
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    with making.shown(system, 'out.wav', 10.137) as show:
      for part in system.parts:
        for _ in range(4):
          show(part, 3.3)
  assert '100%' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('seconds, is_kept', [(30.0, True), (5.0, False)])
def test_a_full_disk_says_whether_the_work_is_kept(tmp_path, seconds, is_kept):
  def run_batch(*_, **__):
    full_disk.check(tmp_path / 'x', 1 << 60)

  system = types.SimpleNamespace(parts=('codec',), run_batch=run_batch)
  out = tmp_path / 'out.wav'
  with pytest.raises(OSError, match='the disk is full') as raised:
    with making.soundtracks(system, {out: None}, ['key'], seconds=seconds):
      pass
  assert ('--resume goes on' in str(raised.value)) == is_kept
  assert unfinished.is_kept(out) == is_kept
