"""Spectrograms to look at: the right stretch, at the right height."""

import importlib

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.files import write

spectrograms = importlib.import_module('benchmarks.spectrograms')
RATE_HZ = 8_000


def test_the_loudest_stretch_is_the_planted_one():
  samples = np.full(10 * RATE_HZ, 0.01, np.float32)
  samples[4 * RATE_HZ : 6 * RATE_HZ] = 0.5
  found = spectrograms.loudest(
    media.Audio(samples=samples, rate_hz=RATE_HZ), seconds=2.0
  )
  np.testing.assert_array_equal(found.samples, 0.5)
  assert len(found.samples) == 2 * RATE_HZ


@pytest.mark.slow
def test_a_tone_is_a_line_across_its_picture(tmp_path):
  pil = pytest.importorskip('PIL.Image')
  pytest.importorskip('matplotlib')
  times = np.arange(4 * 22_050) / 22_050
  for name, hz in {'low': 500.0, 'high': 4000.0}.items():
    tone = np.sin(2 * np.pi * hz * times).astype(np.float32)
    sound = media.Audio(samples=0.5 * tone, rate_hz=22_050)
    write.write_audio(tmp_path / f'{name}.wav', sound)
  out = tmp_path / 'picture.png'
  files = [str(tmp_path / f'{name}.wav') for name in ('low', 'high')]
  spectrograms.main([*files, '--out', str(out), '--seconds', '4'])
  picture = np.asarray(pil.open(out).convert('L'), np.float32)
  middle = slice(picture.shape[0] // 6, -picture.shape[0] // 4)
  width = picture.shape[1]
  # White stands between the pictures; within them the tone is the lightest.
  rows = [
    np.where(column < 250, column, 0)[middle].argmax()
    for column in (picture[:, width // 4], picture[:, width * 3 // 5])
  ]
  assert rows[1] < rows[0]  # Rows count from the top.


def test_files_of_one_name_are_refused(tmp_path):
  argv = ['a/x.wav', 'b/x.wav', '--out', str(tmp_path / 'x.png')]
  with pytest.raises(ValueError, match='different names'):
    spectrograms.main(argv)
