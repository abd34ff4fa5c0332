"""Progress of what is made: to its end, and no further."""

import types
import warnings

from v2meow_jax.inference.films import making


def test_a_bar_ends_at_its_end_though_windows_reach_beyond(capsys):
  system = types.SimpleNamespace(parts=('streams', 'semantic', 'codec'))
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    with making.shown(system, 'out.wav', 10.137) as show:
      for part in system.parts:
        for _ in range(4):
          show(part, 3.3)
  assert '100%' in capsys.readouterr().err.splitlines()[-1]
