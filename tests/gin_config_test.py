"""A recipe may import only what recipes need; errors name file and line."""

import pytest

from v2meow_jax import gin_config

HEADER = (
  'from __gin__ import dynamic_registration\n'
  'from v2meow_jax.training import schedules\n'
)


def write(folder, name, text):
  (folder / name).write_text(text)
  return str(folder / name)


def test_a_recipe_binds_and_a_later_file_wins(tmp_path):
  import gin

  first = write(tmp_path, 'a.gin', HEADER + 'schedules.warmup_rsqrt.peak = 1.0')
  second = write(
    tmp_path, 'b.gin', HEADER + 'schedules.warmup_rsqrt.peak = 2.0'
  )
  gin_config.parse([first, second], ['schedules.warmup_rsqrt.warmup_steps = 7'])
  schedule = gin.get_configurable('schedules.warmup_rsqrt')()
  assert float(schedule(6)) == 2.0


@pytest.mark.parametrize(
  'line', ['import os', 'from os import path', 'import subprocess']
)
def test_a_foreign_import_is_refused_before_it_runs(tmp_path, line):
  path = write(tmp_path, 'a.gin', HEADER + '\n' + line)
  with pytest.raises(gin_config.ConfigError, match='a.gin, line 4'):
    gin_config.parse([path])


@pytest.mark.parametrize(
  'lines',
  [
    'from v2meow_jax.pretrained import convert\nX = @convert.subprocess.run()',
    'from v2meow_jax.pretrained import convert as c\nc.subprocess.run.args = 1',
    'import v2meow_jax.files.atomic\nX = @v2meow_jax.files.atomic.os.system()',
    'from v2meow_jax.pretrained.convert import subprocess\n',
  ],
)
def test_what_a_module_only_imports_is_refused_before_it_runs(tmp_path, lines):
  path = write(tmp_path, 'a.gin', HEADER + lines)
  with pytest.raises(gin_config.ConfigError, match='a.gin, line [34]'):
    gin_config.parse([path])


def test_a_foreign_import_in_an_included_file_is_refused(tmp_path):
  write(tmp_path, 'evil.gin', 'import os')
  path = write(tmp_path, 'a.gin', "include 'evil.gin'")
  with pytest.raises(gin_config.ConfigError, match='evil.gin, line 1'):
    gin_config.parse([path], search_paths=[str(tmp_path)])


def test_a_binding_cannot_smuggle_an_import():
  with pytest.raises(gin_config.ConfigError, match='NAME=VALUE'):
    gin_config.parse([], ['import os'])


@pytest.mark.parametrize(
  'line',
  [
    'schedules.warmup_rsqrt.peek = 1.0',
    'schedules.warm_rsqrt.peak = 1.0',
    'schedules.warmup_rsqrt.peak = ',
  ],
)
def test_a_wrong_binding_is_named_with_file_and_line(tmp_path, line):
  path = write(tmp_path, 'wrong.gin', HEADER + '\n' + line + '\n')
  with pytest.raises(gin_config.ConfigError, match=r'wrong.gin.*line 4'):
    gin_config.parse([path])


def test_a_missing_recipe_says_where_it_was_looked_for():
  with pytest.raises(gin_config.ConfigError, match='gin_search_paths'):
    gin_config.parse(['no_such.gin'])


def test_a_binding_that_nothing_reads_is_refused_with_what_was_meant(tmp_path):
  recipe, part = tmp_path / 'mine.gin', tmp_path / 'part.gin'
  part.write_text('# %NOPE\nmesh.make_mesh.fsdp = %FSDP\n')
  recipe.write_text("include 'part.gin'\nloop.train.seed = %SEED\n")
  paths = [str(tmp_path)]
  fine = ['FSDP = 4', 'SEED=%OTHER', 'OTHER=3', 'loop.train.save_every=5']
  gin_config.check_used(['mine.gin'], fine, paths)
  with pytest.raises(gin_config.ConfigError, match='FDSP .*mean FSDP'):
    gin_config.check_used(['mine.gin'], ['FDSP = 4'], paths)
  with pytest.raises(gin_config.ConfigError, match="they read .'FSDP', 'SEED'"):
    gin_config.check_used(['mine.gin'], ['NOPE=1'], paths)


def test_a_recipe_that_includes_itself_or_is_no_text_is_named(tmp_path):
  (tmp_path / 'a.gin').write_text("include 'b.gin'\n")
  (tmp_path / 'b.gin').write_text("include 'a.gin'\n")
  (tmp_path / 'c.gin').write_bytes(b'# \xff\n')
  for name, wrong in (('a.gin', 'a.gin includes itself'), ('c.gin', 'UTF-8')):
    for read in (gin_config.check_used, gin_config.parse):
      with pytest.raises(gin_config.ConfigError, match=wrong):
        read([name], ['X = 1'], [str(tmp_path)])
