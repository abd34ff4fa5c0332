"""What reaches the terminal: every name, in every locale, and no alarms."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from v2meow_jax.cli import main
from v2meow_jax.files import write

_COMMAND = """
import sys, warnings
from v2meow_jax.cli import main

def run(args):
  {body}

main.doctor.run = run
sys.argv = ['v2meow', 'doctor']
main.run()
"""
# Legacy locales: Python uses UTF-8 in C and POSIX unless told otherwise.
_ASCII = {
  'LC_ALL': 'C',
  'PYTHONUTF8': '0',
  'PYTHONCOERCECLOCALE': '0',
}
# A name whose last byte is not UTF-8.
_NAME = b'caf\xc3\xa9 \xff'


def _process(body, root, **environment):
  return subprocess.Popen(
    [sys.executable, '-c', _COMMAND.format(body=body)],
    cwd=root,
    env=os.environ | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )


@pytest.mark.parametrize(
  ('environment', 'printed'),
  [
    ({'PYTHONIOENCODING': 'utf-8'}, b'\xff \xe6\x97\xa5\n'),
    ({'PYTHONIOENCODING': 'latin-1'}, b'\xff \\u65e5\n'),
    (_ASCII, b'\xff \\u65e5\n'),
  ],
)
def test_printing_gives_the_bytes_of_names_and_never_fails(
  environment, printed, root
):
  body = 'print("\\udcff \\u65e5")'
  with _process(body, root, **environment) as process:
    out, errors = process.communicate()
  assert (out, errors, process.returncode) == (printed, b'', 0)


def test_alarms_of_compilers_are_hidden_unless_they_are_asked_for(
  root, monkeypatch
):
  body = 'import os; print(os.environ["TF_CPP_MIN_LOG_LEVEL"])'
  monkeypatch.delenv('TF_CPP_MIN_LOG_LEVEL', raising=False)
  for given, wanted in (({}, b'3\n'), ({'TF_CPP_MIN_LOG_LEVEL': '0'}, b'0\n')):
    with _process(body, root, **given) as process:
      assert process.communicate()[0] == wanted


_TENSORFLOW = """
import os
os.write(2, b'WARNING: All log messages before absl::InitializeLog()\\n')
os.write(2, b'I0000 00:00:1.2   3 port.cc:153] oneDNN is on.\\n')
os.write(2, b'F0000 00:00:1.2   3 guard.cc:9] no AVX here\\n')
{end}
"""


@pytest.mark.parametrize(
  ('end', 'code'), [('', 0), ('os.abort()', -signal.SIGABRT)]
)
def test_of_the_start_of_tensorflow_what_fails_is_shown(
  end, code, root, tmp_path
):
  (tmp_path / 'tensorflow.py').write_text(_TENSORFLOW.format(end=end))
  body = f"""sys.path.insert(0, {str(tmp_path)!r})
  import tensorflow
  print('after', file=sys.stderr)"""
  with _process(body, root) as process:
    _, errors = process.communicate()
  first, *others = errors.decode().splitlines()
  assert first.endswith('no AVX here')
  assert others == ([] if code else ['after'])
  assert process.returncode == code


@pytest.mark.data
def test_tensorflow_starts_without_a_line(root, monkeypatch):
  monkeypatch.delenv('TF_CPP_MIN_LOG_LEVEL', raising=False)
  with _process('import tensorflow', root) as process:
    assert process.communicate() == (b'', b'')
  assert process.returncode == 0


@pytest.mark.parametrize('beside', ['', 'import tqdm'])
def test_what_is_logged_is_a_line_that_says_who_warns(beside, root):
  code = f"""
from v2meow_jax.cli import terminal
terminal.prepare()
import logging
from absl import logging as ours
{beside}
ours.warning('%s is damaged', 'a.mp4')
ours.info('fine')
logging.getLogger('jax.x').warning('no GPU')
"""
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=root, capture_output=True, text=True
  )
  assert done.stderr == 'v2meow: a.mp4 is damaged\njax.x: no GPU\n'


def test_a_command_without_output_streams_works(root):
  command = _COMMAND.format(body='print(1); print(2, file=sys.stderr)')
  done = subprocess.run(
    ['sh', '-c', 'exec "$0" -c "$1" >&- 2>&-', sys.executable, command],
    cwd=root,
  )
  assert done.returncode == 0


def test_an_interrupt_that_a_library_swallows_ends_what_only_looks(
  root, heeded_signals
):
  body = """print("started", flush=True)
  import time
  while True:
    try:
      time.sleep(1000)
    except BaseException:
      pass"""
  with _process(body, root) as process:
    assert process.stdout.readline() == b'started\n'
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
  assert (process.returncode, errors) == (130, b'v2meow: interrupted\n')


@pytest.mark.slow
@pytest.mark.parametrize('fault', ['garbage', 'a file in its place'])
def test_a_broken_compile_cache_is_a_line_at_most(fault, root, tmp_path):
  folder = tmp_path / 'cache'
  body = """import jax, jax.numpy as jnp
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  for f in (jnp.sin, jnp.cos):
    print(jax.jit(f)(0.0))"""
  where = {'JAX_COMPILATION_CACHE_DIR': str(folder)}
  if fault == 'garbage':
    with _process(body, root, **where) as process:
      assert not process.communicate()[1]
    entries = list(folder.glob('*-cache'))
    assert entries
    for entry in entries:
      entry.write_bytes(b'garbage')
  else:
    folder.write_text('')
  with _process(body, root, **where) as process:
    out, errors = process.communicate()
  assert out == b'0.0\n1.0\n'
  (line,) = errors.decode().splitlines()
  assert line.startswith(f'v2meow: the compiled programs kept in {folder} ')
  assert 'delete that folder' in line


@pytest.mark.slow
def test_names_that_are_not_utf_8_are_read_and_written(root, tmp_path):
  frames = np.zeros((10, 48, 64, 3), np.uint8)
  write.write_video(tmp_path / 'clip.mp4', frames, rate_hz=10)
  folder = os.path.join(os.fsencode(tmp_path), _NAME)
  os.mkdir(folder)
  clip, out = (os.path.join(folder, _NAME + s) for s in (b'.mp4', b'.wav'))
  os.rename(tmp_path / 'clip.mp4', clip)
  done = subprocess.run(
    [sys.executable, '-m', 'v2meow_jax.cli.main', 'generate', clip, '-o', out]
    + ['--prompt', 'café'],
    cwd=root,
    capture_output=True,
    env=os.environ | _ASCII,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == out + b'\n'
  # By a parser of UTF-8 that knows nothing of Python's file names.
  with open(out + b'.json', encoding='utf-8') as f:
    facts = json.load(f)
  assert os.fsencode(facts['video']) == clip
  assert facts['prompt'] == 'café'


def test_a_name_that_begins_with_a_dash_follows_two_dashes(capsys):
  command = ['generate', '-o', 'out.wav', '--', '-missing.mp4']
  assert main.main(command) == 2
  assert '-missing.mp4' in capsys.readouterr().err


def test_an_option_of_several_values_says_how_it_ends(capsys):
  for command in (
    ['generate', '-o', 'out.wav', '--temperature', '1', '0.4', 'clip.mp4'],
    ['export', '--stages', 'a', 'b', 'my_system'],
  ):
    with pytest.raises(SystemExit):
      main.main(command)
    assert 'put -- before the next argument' in capsys.readouterr().err
  for option in (
    ['--loudness', 'loud'],
    ['--temperature', '1', '--loudness', 'x'],
  ):
    with pytest.raises(SystemExit):
      main.main(['generate', 'clip.mp4', '-o', 'out.wav', *option])
    assert 'put --' not in capsys.readouterr().err
  command = ['generate', '-o', 'o.wav', '--temperature', '1', '--', 'none.mp4']
  assert main.main(command) == 2
  assert 'none.mp4' in capsys.readouterr().err


def test_an_unknown_option_leads_to_the_help_of_its_verb(capsys):
  for verb, arguments in (
    ('generate', ['clip.mp4', '-o', 'out.wav', '--nonsense']),
    ('batch run', ['clips.jsonl', '-o', 'out', '--nonsense']),
  ):
    with pytest.raises(SystemExit):
      main.main([*verb.split(), *arguments])
    error = capsys.readouterr().err
    (line,) = error.splitlines()
    assert f'--nonsense; v2meow {verb} --help' in line
