"""Banks of notes: sampled ones where a SoundFont is found, else drawn ones."""

from __future__ import annotations

import functools
import os
from typing import Protocol

import numpy as np

from v2meow_jax.synthetic import instruments
from v2meow_jax.synthetic.bank import orchestra
from v2meow_jax.synthetic.bank import sampled_bank

VARIABLE = 'V2MEOW_SOUNDFONT'
NUMPY = 'numpy'
# Where Debian and Ubuntu put banks whose licence allows anything.
PLACES = (
  '/usr/share/sounds/sf3/MuseScore_General_Full.sf3',
  '/usr/share/sounds/sf2/FluidR3_GM.sf2',
)


class Bank(Protocol):
  """Notes and hits, each rendered once; `sampled_bank` says more.

  Attributes:
    name: Name of its source.
    rate_hz: Sample rate.
  """

  name: str
  rate_hz: int

  def note(
    self, instrument: str, pitch: int, strength: float, seconds: float
  ) -> tuple[np.ndarray, float]:
    """A key that is held, and the seconds that it takes to fall silent."""
    ...

  def drum(self, kit: str, key: int, strength: float) -> np.ndarray:
    """A hit of a drum."""
    ...


class NumpyBank:
  """The instruments of the drawn world, which need no file."""

  name = NUMPY
  rate_hz = instruments.RATE_HZ

  def note(
    self, instrument: str, pitch: int, strength: float, seconds: float
  ) -> tuple[np.ndarray, float]:
    """As `Bank.note`."""
    del strength, seconds  # Whole notes, whose timbre does not change.
    voice = orchestra.INSTRUMENTS[instrument].stand_in
    return instruments.voice(voice, pitch), 0.15

  def drum(self, kit: str, key: int, strength: float) -> np.ndarray:
    """As `Bank.drum`."""
    del kit, strength
    return instruments.drum(orchestra.DRUM_STAND_INS[key])


def source(choice: str | None = None) -> str:
  """Path of the bank to use, or 'numpy'.

  Args:
    choice: Path of a .sf2 or .sf3, or 'numpy'; None: $V2MEOW_SOUNDFONT, else the
      first of `PLACES` that is there, else 'numpy'.

  Raises:
    ValueError: There is no such file.
  """
  choice = choice or os.environ.get(VARIABLE)
  if choice is None:
    return next((p for p in PLACES if os.path.isfile(p)), NUMPY)
  if choice != NUMPY and not os.path.isfile(choice):
    raise ValueError(
      f'there is no bank of instruments {choice!r}; wanted the path of a .sf2'
      f' or .sf3, or {NUMPY!r}. On Debian, `apt install'
      ' musescore-general-soundfont` brings one.'
    )
  return choice


@functools.lru_cache(maxsize=1)
def load(source_path: str, rate_hz: int) -> Bank:
  """Opens what `source` names; a process keeps the last.

  Raises:
    ValueError: The file is no SoundFont, or drawn instruments are wanted at
      another rate than theirs.
  """
  if source_path != NUMPY:
    return sampled_bank.SampledBank(source_path, rate_hz)
  if rate_hz != NumpyBank.rate_hz:
    raise ValueError(
      f'the instruments in numpy sound at {NumpyBank.rate_hz} Hz, not'
      f' {rate_hz}; give a SoundFont, or that rate.'
    )
  return NumpyBank()
