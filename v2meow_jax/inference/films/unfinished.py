"""What is made of an output so far, in a folder beside it: `generate --resume`.

There is what was read of the video, and every window that a stage has written.
It is used for the output that it was made for alone: of the same video, request,
options, system, code and machine. A record that was torn is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np

from v2meow_jax import specs
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.extractors.planning import themes
from v2meow_jax.files import atomic
from v2meow_jax.files import paths
from v2meow_jax.files import tensors
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import streams as streams_lib
from v2meow_jax.inference.programs import kept

# ours: what takes some seconds is made again.
MIN_SECONDS = 20.0
_SUFFIX = '.unfinished'
_DIGEST_BYTES = 8
_MOST_NAME_BYTES = 200


def key(
  system: Any,
  request: requests_lib.Request,
  video_sha256: str,
  facts: Mapping[str, Any],
) -> str:
  """Digest of all that acts on the codes of a request.

  Args:
    system: Released system, loaded.
    request: Request for the music.
    video_sha256: Digest of the video.
    facts: Settings of the call, as `System.describe` gives them.
  """
  plan = request.plan
  if isinstance(plan, plan_lib.MusicPlan):
    wanted = plan_lib.to_json(plan)
  else:
    wanted = repr(plan)
  text = json.dumps(
    [
      *kept.constant_facts(),
      str(system.num_groups),
      str(planner.PLANNER_VERSION),
      video_sha256,
      wanted,
      request.describe(),
      {name: value for name, value in facts.items() if name != 'licences'},
    ],
    sort_keys=True,
  )
  return hashlib.sha256(text.encode()).hexdigest()


class Unfinished:
  """The folder of one output; a `windows.Kept`.

  Attributes:
    folder: Folder beside the output.
    num_kept: Number of windows that were there at the start.
  """

  def __init__(self, output: pathlib.Path, key: str, *, resume: bool):
    """Makes the folder, or finds it.

    Args:
      output: Path of the output, on this machine.
      key: Digest of what acts on it, as `key` gives it.
      resume: Whether to go on with what is there; what another key made is
        removed all the same.

    Raises:
      ValueError: Another process makes this output.
      OSError: The folder cannot be written to.
    """
    self.folder = folder(output)
    self.folder.mkdir(exist_ok=True)
    self._lock = os.open(self.folder / 'lock', os.O_RDWR | os.O_CREAT, 0o600)
    try:
      with contextlib.suppress(OSError):  # Some disks know no locks.
        _lock(self._lock, output)
      made_with = self.folder / 'key'
      if not (resume and _text(made_with) == key):
        for path in self.folder.iterdir():
          if path.name != 'lock':
            path.unlink()
        atomic.write_text(made_with, key)
    except BaseException:
      os.close(self._lock)
      raise
    self._files: dict[str, Any] = {}
    self.num_kept = 0

  def reading(self) -> streams_lib.ReadRequest | None:
    """What was read of the video; None: nothing yet."""
    path = self.folder / 'read.safetensors'
    try:
      facts = json.loads((self.folder / 'read.json').read_bytes())
      if facts['sha256'] != atomic.sha256(path):
        return None
      arrays = tensors.read(path)
    except (OSError, ValueError, KeyError):
      return None
    plan = facts['plan'] and plan_lib.from_content(facts['plan'])
    clip = pipeline.ClipStreams(
      streams=arrays['streams'],
      negative=arrays.get('negative', {}),
      openings=arrays.get('openings', {}),
      seconds=facts['seconds'],
      seed=facts['seed'],
      style_starts=tuple(facts['style_starts']),
      returns=themes.returns(plan) if facts['returns'] else (),
    )
    return streams_lib.ReadRequest(
      clip=clip,
      plan=plan,
      settings=facts['settings'],
      not_used=facts['not_used'],
    )

  def keep_reading(self, read: streams_lib.ReadRequest) -> None:
    """Keeps what was read of the video."""
    path = self.folder / 'read.safetensors'
    clip, plan = read.clip, read.plan
    arrays = {
      'streams': clip.streams,
      'negative': clip.negative,
      'openings': clip.openings,
    }
    tensors.write(path, arrays)
    facts = {
      'sha256': atomic.sha256(path),
      'seconds': clip.seconds,
      'seed': clip.seed,
      'style_starts': clip.style_starts,
      'returns': bool(clip.returns),
      'plan': plan and json.loads(plan_lib.to_json(plan)),
      'settings': dict(read.settings),
      'not_used': dict(read.not_used),
    }
    atomic.write_text(self.folder / 'read.json', json.dumps(facts))

  def windows(self, spec: specs.StageSpec) -> Iterator[np.ndarray]:
    """See `windows.Kept`; no more than one is held."""
    shape, dtype = _codes(spec)
    size = int(np.prod(shape)) * dtype.itemsize + _DIGEST_BYTES
    path = self.folder / f'{spec.name}.windows'
    path.touch()
    file = self._files[spec.name] = path.open('r+b', buffering=0)
    num = 0
    while len(record := file.read(size)) == size:
      if record[-_DIGEST_BYTES:] != _digest(record[:-_DIGEST_BYTES]):
        break
      num += 1
    file.truncate(num * size)
    file.seek(num * size)
    self.num_kept += num
    records = (os.pread(file.fileno(), size, i * size) for i in range(num))
    return (
      np.frombuffer(record[:-_DIGEST_BYTES], dtype).reshape(shape)
      for record in records
    )

  def add(self, spec: specs.StageSpec, codes: np.ndarray) -> None:
    """See `windows.Kept`."""
    _, dtype = _codes(spec)
    data = np.ascontiguousarray(codes, dtype).tobytes()
    self._files[spec.name].write(data + _digest(data))

  def close(self, *, done: bool) -> None:
    """Ends the work at the output; what is kept goes once it is done."""
    for file in self._files.values():
      file.close()
    if done:
      shutil.rmtree(self.folder, ignore_errors=True)
    os.close(self._lock)


def folder(output: pathlib.Path) -> pathlib.Path:
  """The hidden folder beside an output in which its work is kept."""
  name = output.name
  if len(os.fsencode(name)) > _MOST_NAME_BYTES:
    name = hashlib.sha256(os.fsencode(name)).hexdigest()
  return output.with_name(f'.{name}{_SUFFIX}')


@contextlib.contextmanager
def opened(
  outputs: Mapping[pathlib.Path, str], *, resume: bool
) -> Iterator[list[Unfinished]]:
  """The work at some outputs, kept unless the block ends or refuses them.

  Args:
    outputs: Keys of the outputs, by their paths on this machine.
    resume: Whether to go on with what is there.

  Yields:
    One for each output.
  """
  works: list[Unfinished] = []
  done = False
  try:
    for output, its_key in outputs.items():
      works.append(Unfinished(output, its_key, resume=resume))
    yield works
    done = True
  except ValueError:
    done = True  # It would be refused again.
    raise
  finally:
    for work in works:
      work.close(done=done)


def is_kept(output: pathlib.Path) -> bool:
  """Whether something is kept of an output."""
  return not paths.is_remote(output) and folder(output).is_dir()


def _lock(lock: int, output: pathlib.Path) -> None:
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as e:
    raise ValueError(
      f'another process is making {output}; wait for it, or give -o another'
      ' name.'
    ) from e


def _text(path: pathlib.Path) -> str | None:
  try:
    return path.read_text()
  except OSError:
    return None


def _codes(spec: specs.StageSpec) -> tuple[tuple[int, int], np.dtype]:
  """Shape and type of a window of a stage."""
  target = spec.target
  frames = specs.whole_frames(target.name, spec.crop_seconds, target.rate_hz)
  if isinstance(target, specs.TokenSpec):
    return (frames, target.num_codebooks), np.dtype(np.int32)
  return (frames, target.dim), np.dtype(np.float32)


def _digest(data: bytes) -> bytes:
  return hashlib.sha256(data).digest()[:_DIGEST_BYTES]
