"""doctor: what it calls missing, broken and working."""

from importlib import metadata
import sys

import pytest

import v2meow_jax
from v2meow_jax import doctor

REQUIREMENTS = [
  'jax<0.11,>=0.10.2',
  'etils[epath,epy]>=1.9',
  'seqio==0.0.20; extra == "data"',
  'apache-beam[tfrecord]>=2.70; extra == "data"',
  'v2meow_jax[data]; extra == "train"',
  "clu>=0.0.12; extra == 'train'",
]


def installed(*names):
  def version(name):
    if name not in names:
      raise metadata.PackageNotFoundError(name)
    return '1.0'

  return version


def check(name, state):
  return doctor.Check(name=name, state=state, detail='found', fix='mend it')


def test_missing_distributions_are_those_of_the_extra_alone():
  missing = doctor.missing_requirements(
    'data', REQUIREMENTS, installed('jax', 'seqio')
  )
  assert missing == ['apache-beam']


def test_base_requirements_are_those_without_an_extra():
  missing = doctor.missing_requirements(None, REQUIREMENTS, installed('jax'))
  assert missing == ['etils']


def test_an_extra_that_includes_another_does_not_miss_the_package_itself():
  missing = doctor.missing_requirements('train', REQUIREMENTS, installed())
  assert missing == ['clu']


@pytest.mark.parametrize(
  'states, code',
  [(('ok', 'ok'), 0), (('ok', 'off'), 0), (('off', 'FAIL', 'ok'), 1)],
)
def test_only_what_stops_generation_fails(states, code):
  assert doctor.exit_code([check(s, s) for s in states]) == code


def test_the_report_ends_with_the_verdict_and_shows_the_fix():
  text = doctor.render([check('disk', 'ok'), check('devices', 'FAIL')])
  assert text.splitlines()[-1] == 'Generation does not work: devices.'
  assert '-> mend it' in text
  text = doctor.render([check('disk', 'ok')])
  assert text.splitlines()[-1].startswith('Generation works')


def test_a_module_that_breaks_on_import_is_named(tmp_path, monkeypatch):
  (tmp_path / 'broken_extra.py').write_text('raise RuntimeError("bad wheel")')
  monkeypatch.setenv('PYTHONPATH', str(tmp_path))
  monkeypatch.setattr(
    doctor,
    'EXTRAS',
    (
      doctor.Extra(name='whole', enables='x', modules=('json',)),
      doctor.Extra(name='cracked', enables='y', modules=('broken_extra',)),
    ),
  )
  by_name = {c.name: c for c in doctor.report()}
  assert by_name['extra whole'].state == 'ok'
  assert by_name['extra cracked'].state == 'off'
  assert 'bad wheel' in by_name['extra cracked'].detail
  assert by_name['extra cracked'].fix == (v2meow_jax.extra_command('cracked'))
  # The interpreter that runs the tests, with PyAV and jax, is a sound one.
  assert sys.executable in by_name['python'].detail
  sound = ('python', 'jax', 'av', 'devices', 'read h264', 'write aac')
  assert {by_name[name].state for name in sound} == {'ok'}


def test_a_system_that_does_not_load_stops_generation(monkeypatch):
  monkeypatch.setattr(doctor, 'EXTRAS', ())
  monkeypatch.setitem(sys.modules, 'v2meow_jax.inference.system', None)
  monkeypatch.delattr('v2meow_jax.inference.system', raising=False)
  checks = doctor.report()
  (system,) = [c for c in checks if c.name == 'system']
  assert system.state == 'FAIL'
  assert doctor.exit_code(checks) == 1


def test_a_folder_of_programs_that_others_may_write_to_is_named_with_the_fix(
  tmp_path, monkeypatch
):
  monkeypatch.setenv('V2MEOW_PROGRAMS_DIR', str(tmp_path))
  check = doctor._programs()
  (folder,) = tmp_path.iterdir()
  assert (check.state, check.detail) == ('ok', f'kept in {folder}')
  folder.chmod(0o777)
  check = doctor._programs()
  assert check.state == 'off'
  assert 'V2MEOW_PROGRAMS_DIR' in check.fix
