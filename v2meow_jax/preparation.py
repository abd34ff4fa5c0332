"""Brings the networks of a system to `v2meow data fit` and `v2meow data prepare`."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from v2meow_jax import media
from v2meow_jax import media_io
from v2meow_jax import progress as progress_lib
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.codecs import soundstream
from v2meow_jax.features import fitted
from v2meow_jax.inference import export
from v2meow_jax.inference import system as system_lib
from v2meow_jax.inference import weights_io

# Which media an extractor reads; the others read the picture.
_FROM_AUDIO = ('semantic', 'style', 'acoustic')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
  """Where the networks of a preparation come from; loaded once per worker.

  Either a released system, or the parts of one that is being made. With
  neither, the embedded system.

  Attributes:
    system: Folder of a released system.
    features: File that `v2meow data fit` wrote.
    style: MODEL_DIR of the style embedding.
    codec: MODEL_DIR of the codec.
  """

  system: str | None = None
  features: str | None = None
  style: str | None = None
  codec: str | None = None

  def __post_init__(self):
    parts = (self.features, self.style, self.codec)
    if any(parts) and (self.system or not all(parts)):
      raise ValueError(
        'the networks are one --system, or all of --features, --style and'
        f' --codec; got system {self.system!r}, features {self.features!r},'
        f' style {self.style!r}, codec {self.codec!r}.'
      )

  def __call__(self) -> dict[str, tuple[str, Callable[[Any], np.ndarray]]]:
    """{stream: ('video' or 'audio', extractor)}, as `data.prepare` asks."""
    if self.features and self.style and self.codec:
      codec = export.load_codec(self.codec)
      params = export.read_extractors(self.features, self.style)
      extractors = fitted.extractors_from_params(params, stages.TINY)
    else:
      system = system_lib.load(self.system)
      codec, extractors = system.codec, system.extractors
    wanted = recorded_streams()[-1]
    if codec.stream != wanted:
      raise ValueError(
        f'the codec writes {codec.stream}; records hold {wanted}. Choose a codec'
        ' of that rate and depth, or change the streams in stages.py.'
      )
    found = {
      name: ('audio' if name in _FROM_AUDIO else 'video', extract)
      for name, extract in extractors.items()
      if name != 'style_text'
    }
    return {**found, 'acoustic': ('audio', functools.partial(_encode, codec))}


def _encode(codec: soundstream.TrainedCodec, audio: media.Audio) -> np.ndarray:
  """int32[frames, levels] of a waveform, padded to whole frames."""
  missing = -len(audio.samples) % codec.hop_samples
  samples = np.pad(audio.samples, (0, missing))
  return np.asarray(codec.encode(jnp.asarray(samples[None])))[0]


def recorded_streams() -> list[specs.Stream]:
  """What a record of the embedded default holds: every level of the codec."""
  coarse, fine = stages.TINY['coarse'], stages.TINY['fine']
  acoustic = dataclasses.replace(
    coarse,
    name='acoustic',
    stored_as=None,
    num_codebooks=coarse.num_codebooks + fine.num_codebooks,
  )
  others = [s for s in stages.TINY.values() if s not in (coarse, fine)]
  return [*others, acoustic]


def prepare(
  manifest: str,
  out: str,
  networks: Networks,
  *,
  num_shards: int | None = None,
  beam_options: Sequence[str] = (),
) -> str:
  """`data.prepare` with this package's networks; returns a line to print."""
  from v2meow_jax.data import prepare as prepare_lib  # pylint: disable=g-import-not-at-top

  summary = prepare_lib.prepare(
    manifest,
    out,
    streams=recorded_streams(),
    make_extractors=networks,
    read_video=read_video,
    read_audio=media_io.read_audio,
    # The longest crop of a stage: shorter clips could not train it.
    min_seconds=max(
      stage.crop_seconds
      for stage in (stages.semantic(), stages.coarse(), stages.fine())
    ),
    num_shards=num_shards,
    pipeline_options=beam_options,
  )
  counts = ', '.join(f'{n} {s}' for s, n in summary.num_examples.items())
  return (
    f'{out}: {counts} examples, {summary.num_bytes / 1e6:.1f} MB;'
    f' {summary.num_rejected} clips rejected, see {out}/rejected.jsonl'
  )


def read_video(path: str) -> media.Video:
  """A video at the size the embedded default's streams are computed at."""
  return media_io.read_video(path, max_side=export.MAX_SIDE)


class CaptionFeatures:
  """Rows that the style embedding trains on: (music, caption) -> arrays."""

  def __init__(self, path: str):
    """Reads the file that `v2meow data fit` wrote."""
    self._params = weights_io.flatten(
      weights_io.read_tensors(pathlib.Path(path))
    )

  def __call__(self, audio: media.Audio, caption: str) -> dict[str, np.ndarray]:
    """See `fitted.clip_features`."""
    return fitted.clip_features(self._params, audio, caption)


def fit(manifest: str, output: str, num: int, seed: int) -> pathlib.Path:
  """Fits the training-free streams to `num` training clips of a manifest.

  Args:
    manifest: See `data.manifests.read`.
    output: The .safetensors to write.
    num: Clips, evenly spread over the training split.
    seed: Of the clusterings.

  Returns:
    `output`.

  Raises:
    ValueError: There are no training clips with captions.
  """
  from v2meow_jax.data import manifests  # pylint: disable=g-import-not-at-top

  clips = [c for c in manifests.read(manifest, 'train') if c.caption]
  if not clips:
    raise ValueError(f"{manifest} has no clip of split 'train' with a caption.")
  if num < 1:
    raise ValueError(f'num is {num}; wanted at least 1 clip to fit to.')
  chosen = np.linspace(0, len(clips) - 1, min(num, len(clips))).astype(int)
  clips = [clips[i] for i in chosen]
  files = [clip.path for clip in clips]
  with progress_lib.bar(total=2 * len(files), unit='clip', desc='fit') as bar:

    def advance(part: str, count: int) -> None:
      bar.set_postfix_str(part, refresh=False)
      bar.update()

    params = fitted.fit(
      (read_video(f) for f in files),
      (media_io.read_audio(f) for f in files),
      stages.TINY,
      seed=seed,
      progress=advance,
    )
  examples = [
    fitted.clip_features(params, media_io.read_audio(c.path), c.caption)
    for c in clips
  ]
  stacked = {
    f'example/{k}': np.stack([e[k] for e in examples]) for k in examples[0]
  }
  out = pathlib.Path(output)
  out.parent.mkdir(parents=True, exist_ok=True)
  weights_io.write_tensors(
    out, weights_io.unflatten({**params, **stacked}), None
  )
  return out
