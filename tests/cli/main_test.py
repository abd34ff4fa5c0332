"""The command line: bad input is one clear line, exit code 2, and no file."""

import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import zlib

import av
import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.cli import main
from v2meow_jax.files import write
from v2meow_jax.inference import requests
from v2meow_jax.inference import system

SILENCE = media.Audio(samples=np.zeros(16_000, np.float32), rate_hz=16_000)


@pytest.fixture
def clip(tmp_path):
  path = tmp_path / 'clip.mp4'
  frames = (np.full((32, 32, 3), 9 * i, np.uint8) for i in range(25))
  write.write_video(path, frames, rate_hz=25.0, audio=SILENCE)
  return path


def png(width, height):
  """A PNG header that claims a size, and next to no data."""

  def chunk(kind, data):
    crc = zlib.crc32(kind + data).to_bytes(4, 'big')
    return len(data).to_bytes(4, 'big') + kind + data + crc

  header = width.to_bytes(4, 'big') + height.to_bytes(4, 'big')
  return (
    b'\x89PNG\r\n\x1a\n'
    + chunk(b'IHDR', header + b'\x08\x02\x00\x00\x00')
    + chunk(b'IDAT', zlib.compress(b'\0' * 64))
    + chunk(b'IEND', b'')
  )


def write_bomb(path):
  """A frame of 12000 x 12000 pixels in well under 100 kB."""
  with av.open(str(path), 'w', format='mov') as out:
    stream = out.add_stream('png', rate=25)
    stream.width = stream.height = 12_000
    stream.pix_fmt = 'monob'
    out.mux(stream.encode(av.VideoFrame(12_000, 12_000, 'monob')))
    out.mux(stream.encode(None))


def write_audio_only(path):
  with av.open(str(path), 'w', format='mp4') as out:
    stream = out.add_stream('aac', rate=16_000, layout='mono')
    frame = av.AudioFrame.from_ndarray(
      np.zeros((1, 16_000), np.float32), format='fltp', layout='mono'
    )
    frame.sample_rate = 16_000
    out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


BAD_MEDIA = {
  'empty file': lambda path, clip: path.write_bytes(b''),
  'text': lambda path, clip: path.write_text('not a video at all\n' * 50),
  'playlist': lambda path, clip: path.write_text(
    '#EXTM3U\n#EXTINF:1,\n' + str(clip) + '\n'
  ),
  'concat list': lambda path, clip: path.write_text(
    f"ffconcat version 1.0\nfile '{clip.name}'\n"
  ),
  'audio only': lambda path, clip: write_audio_only(path),
  'image': lambda path, clip: path.write_bytes(png(32, 32)),
  'image bomb': lambda path, clip: path.write_bytes(png(12000, 12000)),
  'header bomb': lambda path, clip: write_bomb(path),
  'truncated': lambda path, clip: path.write_bytes(
    clip.read_bytes()[: clip.stat().st_size // 2]
  ),
  'folder': lambda path, clip: path.mkdir(),
}


def fails(capsys, tmp_path, *argv):
  """Runs generate, checks how it fails, returns its one line."""
  before = sorted(p.name for p in tmp_path.rglob('*'))
  assert main.main(['generate', *map(str, argv)]) == 2
  error = capsys.readouterr().err.strip()
  assert len(error.splitlines()) == 1, error
  assert error.startswith('v2meow: error: ')
  assert sorted(p.name for p in tmp_path.rglob('*')) == before
  return error


@pytest.mark.parametrize('kind', BAD_MEDIA)
def test_what_is_not_a_video_is_refused_by_name(kind, clip, tmp_path, capsys):
  path = tmp_path / 'bad.mp4'
  BAD_MEDIA[kind](path, clip)
  error = fails(capsys, tmp_path, path, '-o', tmp_path / 'out.mp4')
  assert 'bad.mp4' in error


def test_a_missing_video_is_named(tmp_path, capsys):
  path = tmp_path / 'nothing.mp4'
  assert 'nothing.mp4' in fails(
    capsys, tmp_path, path, '-o', tmp_path / 'out.mp4'
  )


def test_a_video_of_zero_seconds_is_refused(tmp_path, capsys):
  path = tmp_path / 'zero.mp4'
  with av.open(str(path), 'w') as out:
    out.add_stream('mpeg4', rate=25).pix_fmt = 'yuv420p'
  error = fails(capsys, tmp_path, path, '-o', tmp_path / 'out.mp4')
  assert 'zero.mp4' in error


def test_an_unknown_extension_lists_the_known_ones(clip, tmp_path, capsys):
  error = fails(capsys, tmp_path, clip, '-o', tmp_path / 'out.xyz')
  assert '.xyz' in error
  assert '.mp4, .mov, .mkv, .webm, .wav, .flac' in error


@pytest.mark.parametrize('folder', ['no/such/folder', 'file/inside'])
def test_an_output_that_cannot_be_written_is_named(
  folder, clip, tmp_path, capsys
):
  (tmp_path / 'file').write_text('')
  error = fails(capsys, tmp_path, clip, '-o', tmp_path / folder / 'out.mp4')
  assert folder in error


@pytest.mark.parametrize('given', ['there', 'missing/'])
def test_a_folder_as_the_output_wants_a_file_name(
  given, clip, tmp_path, capsys
):
  (tmp_path / 'there').mkdir()
  error = fails(capsys, tmp_path, clip, '-o', f'{tmp_path}/{given}')
  wanted = tmp_path / given / 'out.mp4'
  assert (
    f'is a directory; wanted a file name in it, such as {str(wanted)!r}'
    in error
  )


def test_a_missing_folder_of_the_output_says_how_to_make_it(
  clip, tmp_path, capsys
):
  folder = tmp_path / 'my film'
  error = fails(capsys, tmp_path, clip, '-o', folder / 'out.mp4')
  assert f"make it (mkdir -p '{folder}')" in error


def test_a_name_that_the_disk_cannot_hold_is_refused(
  clip, tmp_path, capsys, monkeypatch
):
  # Its sidecar's has 258 characters.
  long = tmp_path / ('a' * 249 + '.wav')
  assert 'cannot hold' in fails(capsys, tmp_path, clip, '-o', long)
  touch = pathlib.Path.touch

  def refuses(path, *options):
    if '\udcff' in path.name:
      raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ))
    touch(path, *options)

  monkeypatch.setattr(pathlib.Path, 'touch', refuses)
  error = fails(capsys, tmp_path, clip, '-o', tmp_path / '\udcff.wav')
  assert 'cannot hold' in error and os.strerror(errno.EILSEQ) in error


@pytest.mark.parametrize('bad', ['-1', 'nan', 'inf'])
def test_a_temperature_that_is_no_temperature_is_refused(
  bad, clip, tmp_path, capsys
):
  error = fails(
      capsys, tmp_path, clip, '-o', tmp_path / 'out.mp4',
      '--temperature', '1.0', bad, '0.4',
  )  # fmt: skip
  assert 'temperature' in error


def test_temperatures_are_one_for_all_stages_or_one_per_stage(
  clip, tmp_path, capsys
):
  error = fails(
      capsys, tmp_path, clip, '-o', tmp_path / 'out.mp4',
      '--temperature', '1.0', '0.9', '--system', 'tiny',
  )  # fmt: skip
  assert '2 temperatures for 3 stages' in error
  assert 'semantic, coarse, fine' in error


@pytest.mark.parametrize('rows', ['0', '-1', '999'])
def test_calls_without_rows_are_refused(rows, clip, tmp_path, capsys):
  out = tmp_path / 'out.mp4'
  error = fails(capsys, tmp_path, clip, '-o', out, '--rows', rows)
  assert f'rows is {rows}; wanted 1 to 256' in error


def test_a_prompt_of_100_kilobytes_is_refused(clip, tmp_path, capsys):
  error = fails(
      capsys, tmp_path, clip, '-o', tmp_path / 'out.mp4',
      '--prompt', 'piano ' * 17_000,
  )  # fmt: skip
  assert '2000' in error


@pytest.mark.parametrize('prompt', ['', '   ', '\n\t', '\x00\x07'])
def test_an_empty_prompt_means_none(prompt):
  assert requests.clean_prompt(prompt) is None


def test_a_prompt_is_brought_to_one_form():
  assert requests.clean_prompt(' cafe\u0301\x07\ud800 ') == 'caf\u00e9 ?'


def test_a_damaged_system_names_file_and_digest(clip, tmp_path, capsys):
  folder = tmp_path / 'system'
  shutil.copytree(system.SHIPPED['tiny'], folder)
  weights = folder / 'coarse.safetensors'
  data = bytearray(weights.read_bytes())
  data[len(data) // 2] ^= 1
  weights.write_bytes(data)
  error = fails(
    capsys, tmp_path, clip, '-o', tmp_path / 'out.mp4', '--system', folder
  )
  assert 'coarse.safetensors' in error
  assert 'sha256' in error


def test_a_folder_that_is_no_system_is_refused(clip, tmp_path, capsys):
  error = fails(
    capsys, tmp_path, clip, '-o', tmp_path / 'out.mp4', '--system', tmp_path
  )
  assert 'config.json' in error


def test_a_plan_is_never_replaced_by_a_sidecar(clip, tmp_path, capsys):
  plan = tmp_path / 'out.wav.json'
  plan.write_text('{}')
  output = tmp_path / 'out.wav'
  error = fails(capsys, tmp_path, clip, '-o', output, '--plan', plan)
  assert f'{str(plan)!r} is an input as well, which would be lost' in error
  assert plan.read_text() == '{}'


@pytest.mark.parametrize(
  'given, said', [('', 'is empty'), ('x', 'no extension')]
)
def test_an_output_without_an_extension_is_told_so(
  given, said, clip, tmp_path, capsys
):
  error = fails(capsys, tmp_path, clip, '-o', given)
  assert said in error and 'wanted one' in error


def test_an_input_is_never_replaced(clip, tmp_path, capsys):
  before = pathlib.Path(clip).read_bytes()
  link = tmp_path / 'link.mp4'
  link.symlink_to(clip)
  for out in (clip, link):
    assert main.main(['generate', str(clip), '-o', str(out)]) == 2
    assert 'is an input as well' in capsys.readouterr().err
  assert pathlib.Path(clip).read_bytes() == before


def test_a_sidecar_that_cannot_be_written_is_known_before(
  clip, tmp_path, capsys
):
  (tmp_path / 'out.wav.json').mkdir()
  out = tmp_path / 'out.wav'
  assert main.main(['generate', str(clip), '-o', str(out)]) == 2
  assert 'out.wav.json' in capsys.readouterr().err
  assert not out.exists()


def test_no_takes_are_refused(clip, tmp_path, capsys):
  error = fails(
    capsys, tmp_path, clip, '-o', tmp_path / 'out.mp4', '--takes', '0'
  )
  assert 'takes' in error


def test_a_missing_library_says_what_to_install(monkeypatch, capsys):
  def fails(args):
    raise ModuleNotFoundError("No module named 'seqio'")

  monkeypatch.setattr(main.experiments, 'run', fails)
  assert main.main(['experiments']) == 2
  error = capsys.readouterr().err
  assert "'seqio'" in error and "-e '.[train]'" in error


def test_ctrl_c_is_one_line_and_the_code_of_shells(monkeypatch, capsys):
  def stopped(args):
    raise KeyboardInterrupt

  monkeypatch.setattr(main.doctor, 'run', stopped)
  assert main.main(['doctor']) == 130
  assert capsys.readouterr().err == 'v2meow: interrupted\n'


@pytest.mark.usefixtures('heeded_signals')
def test_ctrl_c_inside_a_callback_is_not_lost(monkeypatch, capsys):
  class Dropped:
    def __del__(self):  # What it raises is printed and forgotten.
      raise KeyboardInterrupt

  def works(args):
    Dropped()
    for _ in range(1000):
      time.sleep(0.01)

  monkeypatch.setattr(main.doctor, 'run', works)
  monkeypatch.setattr(sys, 'unraisablehook', sys.unraisablehook)
  assert main.main(['doctor']) == 130
  assert capsys.readouterr().err == 'v2meow: interrupted\n'


def test_a_reader_that_leaves_ends_the_command_without_a_word(root):
  command = (
    'import sys; from v2meow_jax.cli import main; main.doctor.run = lambda args: print('
    '"x" * 1_000_000); sys.exit(main.main(["doctor"]))'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', command],
    cwd=root,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )
  assert process.stdout.read(10) == b'x' * 10
  process.stdout.close()
  assert process.stderr.read() == b''
  assert process.wait() == 141


def test_a_billion_takes_are_refused(clip, tmp_path, capsys):
  error = fails(
    capsys, tmp_path, clip, '-o', tmp_path / 'out.mp4', '--takes', '1000000000'
  )
  assert 'wanted 1 to 1000' in error


def test_a_wrong_gin_binding_is_named_with_file_and_line(tmp_path, capsys):
  recipe = tmp_path / 'mine.gin'
  recipe.write_text(
    'from __gin__ import dynamic_registration\n'
    'from v2meow_jax.training import schedules\n'
    'schedules.adamw.wait_decay = 0.1\n'
  )
  assert main.main(['train', f'--gin_file={recipe}']) == 2
  error = capsys.readouterr().err
  assert 'wait_decay' in error
  assert 'mine.gin' in error
  assert 'line 3' in error


def test_a_value_of_another_type_names_who_takes_it(monkeypatch, capsys):
  def fails(message):
    def run(args):
      raise TypeError(message)

    monkeypatch.setattr(main.experiments, 'run', run)

  fails(
    "'<' not supported\n  In call to configurable 'TaskBatches' (<class 'b'>)"
  )
  assert main.main(['experiments']) == 2
  error = capsys.readouterr().err
  assert "give TaskBatches has the wrong type: '<' not supported" in error
  assert len(error.splitlines()) == 1
  fails('a bug')
  with pytest.raises(TypeError, match='a bug'):
    main.main(['experiments'])


def test_a_missing_macro_is_named(capsys):
  assert main.main(['train', '--gin_file=runs/train.gin']) == 2
  assert 'MODEL' in capsys.readouterr().err


def test_recipes_are_found_from_the_repository_root():
  assert pathlib.Path('gin/runs/train.gin').is_file()


def test_a_recipe_without_networks_says_which_to_give(capsys, monkeypatch):
  monkeypatch.chdir(pathlib.Path(__file__).resolve().parents[2])
  command = ['data', 'fit', 'm.jsonl', '-o', 'f.safetensors']
  assert main.main([*command, '--gin_file=networks/flow.gin']) == 2
  assert 'names no PARTS' in capsys.readouterr().err


def test_fitted_clusters_have_the_suffix_of_their_format(capsys):
  assert main.main(['data', 'fit', 'm.jsonl', '-o', 'fit.txt']) == 2
  assert 'fit.txt: wanted a name in .safetensors' in capsys.readouterr().err


@pytest.mark.slow
def test_a_platform_that_is_not_here_is_one_line(root, tmp_path):
  clip = tmp_path / 'clip.mp4'
  write.write_video(clip, np.zeros((10, 48, 64, 3), np.uint8), rate_hz=10)
  done = subprocess.run(
    [sys.executable, '-m', 'v2meow_jax.cli.main', 'generate']
    + [str(clip), '-o', str(tmp_path / 'out.wav')],
    cwd=root,
    capture_output=True,
    text=True,
    env=os.environ | {'JAX_PLATFORMS': 'cuda'},
  )
  assert done.returncode == 2
  assert "JAX_PLATFORMS is 'cuda'" in done.stderr
  assert 'Traceback' not in done.stderr


_CHEAP = """
import sys
from v2meow_jax.cli import main

for command in sys.argv[1:]:
  assert main.main(command.split()) == 2, command
  assert not {'jax', 'tensorflow', 'gin'} & {*sys.modules}, command
"""


@pytest.mark.slow
def test_what_a_glance_can_refuse_is_refused_before_jax_is_imported(root):
  commands = (
    'generate no.mp4 -o out.wav',
    'generate no.mp4 -o out.wav --takes 0',
    'generate no.mp4 -o out.xyz',
    'explain no.mp4 -o out.png',
    'explain no.mp4 -o out.xyz',
    'train --gin_file=no.gin',
    'train --gin_file=runs/train.gin --num_examples 3',
    'export out',
    'export out --towers',
    'export out --stages runs/a',
    'evaluate -o report',
    'evaluate table no',
    'data fit no.jsonl -o out.txt',
    'data fit no.jsonl -o out.safetensors',
    'data prepare no.jsonl out',
    'data prepare no.jsonl out --system a --codec b',
    'data prepare no.jsonl out --hours 3',
    'study serve no',
  )
  done = subprocess.run(
    [sys.executable, '-c', _CHEAP, *commands],
    cwd=root,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert len(done.stderr.splitlines()) == len(commands), done.stderr


def test_a_command_that_a_program_calls_leaves_its_signals_alone(capsys):
  before = signal.getsignal(signal.SIGTERM)
  assert main.main(['train', '--gin_file=no_such.gin']) == 2
  assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.data
def test_a_run_that_no_bucket_can_keep_is_refused_before_data_are_opened(
  capsys, tmp_path
):
  bindings = [
    f'--gin.MANIFEST="{tmp_path}/no.jsonl"',
    '--gin.MODEL_DIR="s3://bucket/run"',
  ]
  recipes = ['--gin_file=runs/train.gin', '--gin_file=codecs/tiny.gin']
  assert main.main(['train', *recipes, *bindings]) == 2
  error = capsys.readouterr().err
  assert 'MODEL_DIR is s3://bucket/run' in error and 'gs://' in error


def test_what_a_bucket_refuses_is_one_line(bucket, capsys, tmp_path):
  refused = type('HttpError', (Exception,), {'__module__': 'gcsfs.retry'})

  def before(operation, key):
    raise refused(f'Anonymous caller may not {operation}\n{key}, 401')

  bucket.before = before
  out = str(tmp_path / 'out.wav')
  assert main.main(['generate', 'gs://bucket/a.mp4', '-o', out]) == 2
  error = capsys.readouterr().err
  assert error.splitlines() == [
    'v2meow: error: the bucket refused: Anonymous caller may not read'
    ' bucket/a.mp4, 401'
  ]
