"""Keeps generated clips, so that none is made twice."""

from collections.abc import Mapping
import copy
import hashlib
import json
import pathlib
from typing import Any
from typing import Protocol

import jax
import numpy as np

import v2meow_jax
from v2meow_jax import media
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import atomic
from v2meow_jax.files import write
from v2meow_jax.inference import restore
from v2meow_jax.models.sampling import options


class Generator(Protocol):
  """A maker of takes: an `inference.system.System`, or its like."""

  digest: str
  dtype: str  # Type in which it computes.

  def generate(
    self, video: Any, prompt: str | None = None, seed: int = 0
  ) -> media.Audio:
    """Music for a video; equal arguments give equal samples."""
    ...


class Takes:
  """A folder of takes, each with a json that says what it was made from.

  Attributes:
    num_made: Number of takes that had to be made.
  """

  def __init__(self, system: Generator, folder: pathlib.Path):
    """Makes the folder of the takes."""
    self._system = system
    self._folder = folder
    self.num_made = 0
    folder.mkdir(parents=True, exist_ok=True)

  def __call__(
    self, name: str, video: pathlib.Path, *, prompt: str | None, seed: int
  ) -> pathlib.Path:
    """Path of the take of this name, a wav.

    One that is there is kept if it was made by the same system, version and
    type, from the same bytes of video, prompt and seed, and is whole.

    Raises:
      ValueError: The video or the prompt cannot be used.
    """
    path = self._folder / f'{name}.wav'
    sidecar = path.with_name(f'{path.name}.json')
    key = {
      'system_sha256': self._system.digest,
      'dtype': self._system.dtype,
      'video_sha256': atomic.sha256(video),
      'prompt': prompt,
      'seed': seed,
      'version': v2meow_jax.__version__,
      'planner_version': planner.PLANNER_VERSION,
    }
    if _is_take(path, sidecar, key):
      return path
    self.num_made += 1
    audio = self._system.generate(video, prompt=prompt, seed=seed)
    sidecar.unlink(missing_ok=True)
    write.write_audio(path, audio)
    facts = {**key, 'sha256': atomic.sha256(path)}
    atomic.write_text(sidecar, json.dumps(facts, indent=1) + '\n')
    return path


def _is_take(
  path: pathlib.Path, sidecar: pathlib.Path, key: Mapping[str, Any]
) -> bool:
  try:
    facts = json.loads(sidecar.read_bytes())
    return facts == {**key, 'sha256': atomic.sha256(path)}
  except (OSError, ValueError):
    return False


def without_vision(system: Any, number: int = 2) -> Any | None:
  """A system with a stage (from 1) whose visual inputs are zeros.

  Returns:
    A shallow copy with a digest of its own; None where there is no such stage
    or it reads no video.
  """
  if number > len(system.stages):
    return None
  stage = system.stages[number - 1]
  hidden = set(system.config['visual']) & {s.name for s in stage.spec.inputs}
  if not hidden:
    return None
  blind = copy.copy(system)
  blind.stages = [*system.stages]
  blind.stages[number - 1] = _BlindStage(stage, hidden)
  text = f'{system.digest} {stage.spec.name} without {sorted(hidden)}'
  blind.digest = hashlib.sha256(text.encode()).hexdigest()
  return blind


class _BlindStage:
  """A stage whose visual inputs are zeros: for features, the mean picture."""

  def __init__(self, stage: restore.Stage, hidden: set[str]):
    self.spec = stage.spec
    self._stage = stage
    self._hidden = hidden

  def sample(
    self,
    inputs: Mapping[str, np.ndarray],
    rngs: jax.Array,
    sampling: options.Sampling,
    prefix: np.ndarray | None = None,
    negative: Mapping[str, np.ndarray] | None = None,
  ) -> np.ndarray:
    """See `restore.Stage`."""
    shown = {
      name: np.zeros_like(value) if name in self._hidden else value
      for name, value in inputs.items()
    }
    return self._stage.sample(shown, rngs, sampling, prefix, negative)
