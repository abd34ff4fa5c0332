"""Brings the parts of a system to the clips of `v2meow data prepare`."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from v2meow_jax import media
from v2meow_jax import parts as parts_lib
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.clusters import clustering
from v2meow_jax.codecs import codec as codec_lib
from v2meow_jax.codecs import pretrained
from v2meow_jax.extractors import extractor
from v2meow_jax.files import manifests
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import released
from v2meow_jax.inference import loading
from v2meow_jax.jobs.prepare import token_fitting
from v2meow_jax.pretrained import store

_CODEC_PIECE_SECONDS = 10.0  # ours: a clip of the paper's length is one piece.
# The longest crop of a stage: shorter clips could not train it.
_MIN_SECONDS = max(
  stage.crop_seconds
  for stage in (stages.semantic(), stages.coarse(), stages.fine())
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
  """Parts of a system, as a recipe names them; loaded once per worker.

  Attributes:
    table: Streams by name, such as `stages.paper_streams()`.
    parts: One part for each stream that is recorded; a codec for all levels.
    clips_at_once: Clips whose frames fill batches together; see `prepare`.
    piece_seconds: Length of the stretches in which a video is read, which
      bounds the memory; None: as `parts.video_reading` says.
    clustering: Way to cluster frames of music, for `v2meow data fit`.
    sampling: Frames that are clustered.
    min_seconds: Shortest length of a clip to train on; see `prepare`.
    caption_share: Share of the captioned clips whose style is that of their
      caption, as that of a prompt will be; others have that of their music.
  """

  table: Mapping[str, specs.Stream]
  parts: Sequence[parts_lib.Part]
  clips_at_once: int = 16
  piece_seconds: float | None = None
  clustering: clustering.MiniBatch | clustering.Lloyd = clustering.MiniBatch()
  sampling: token_fitting.FrameSampling = token_fitting.FrameSampling()
  min_seconds: float = _MIN_SECONDS
  caption_share: float = 0.0

  @property
  def streams(self) -> list[specs.Stream]:
    """Streams that are recorded."""
    table = dict(self.table)
    if {'coarse', 'fine'} <= set(table):
      table['acoustic'] = stages.acoustic(table)
    return [parts_lib.stream_of(part, table) for part in self.parts]

  def check(self) -> None:
    """Raises one WeightsError for all weights that are missing."""
    missing = []
    for part in (part for part in self.parts if part.has_weights):
      try:
        part.file()
      except store.WeightsError as e:
        missing.append(str(e))
    if missing:
      raise store.WeightsError(' And '.join(missing))

  def __call__(self) -> dict[str, extractor.Extractor]:
    """Extractors by the name of the recorded stream."""
    extractors = {}
    for part, stream in zip(self.parts, self.streams, strict=True):
      built = part.build(stream)
      if part.role == 'style':
        music, words = built['style'], built['style_text']
        built = StyleOfClip(music, words, self.caption_share)
      if part.role == 'codec':
        built = CodecLevels(built)
      extractors[stream.name] = built
    return extractors


@dataclasses.dataclass(frozen=True)
class StyleOfClip:
  """The style of a clip: that of its music, or of its caption.

  Both lie in one space but not in one place: a stage that has seen the styles
  of music alone follows those of prompts less.

  Attributes:
    music: Extractor of music.
    words: Extractor of words.
    share: Share of the clips for which a caption says it.
  """

  reads = 'audio'

  music: extractor.Extractor
  words: Any
  share: float

  def __post_init__(self):
    if not 0 <= self.share <= 1:
      raise ValueError(
        f'caption_share is {self.share}; wanted a share in [0, 1].'
      )

  @property
  def stream(self) -> specs.Stream:
    """Stream of either."""
    return self.music.stream

  @property
  def sample_rate_hz(self) -> int | None:
    """Samples a second of the music."""
    return self.music.sample_rate_hz

  def __call__(self, item: media.Audio) -> np.ndarray:
    """float32[1, dim] of music."""
    return self.music(item)

  def said(self, clip: manifests.ManifestClip) -> np.ndarray | None:
    """float32[1, dim] of the caption; None for clips whose music says it.

    Which clips these are depends on their ids alone.
    """
    digest = hashlib.sha256(f'style of {clip.id}'.encode()).digest()
    draw = int.from_bytes(digest[:4], 'big') / 2**32
    caption = clip.caption or ''
    if draw >= self.share or not self.words.knows(caption):
      return None
    return self.words(caption)


@dataclasses.dataclass(frozen=True)
class CodecLevels:
  """A codec as the extractor of its codes, all levels.

  Codecs of others encode in pieces, in memory and with a compilation that
  serve any length.

  Attributes:
    codec: Codec that encodes.
  """

  reads = 'audio'

  codec: codec_lib.Codec

  @property
  def stream(self) -> specs.Stream:
    """Stream of the codes."""
    return self.codec.stream

  @property
  def sample_rate_hz(self) -> int:
    """Samples a second of the waveforms."""
    return self.codec.sample_rate_hz

  def __call__(self, item: media.Audio) -> np.ndarray:
    """int32[frames, levels] of a waveform that silence completes."""
    missing = -len(item.samples) % self.codec.hop_samples
    waveform = np.pad(item.samples, (0, missing))[None]
    if isinstance(self.codec, pretrained.PublishedCodec):
      frames = round(_CODEC_PIECE_SECONDS * self.codec.stream.rate_hz)
      return self.codec.encode_in_pieces(waveform, frames)[0]
    return np.asarray(self.codec.encode(jnp.asarray(waveform)))[0]


def of_system(folder: pathlib.Path) -> Preparation:
  """The parts of a released system, to prepare records of all its streams.

  Raises:
    released.DamagedSystem: A file is missing or changed.
    ValueError: The system carries no part of a stream that training needs.
  """
  config = loading.upgraded(released.read_config(folder))
  rows = loading.read_parts(folder, config)
  for part, row in rows:
    loading.check_weights(part, row)
  table = loading.read_streams(config)
  parts = [part for part, _ in rows]
  wanted = {getattr(s, 'record_name', s.name) for s in table.values()}
  if missing := sorted(wanted - {part.stream for part in parts}):
    raise ValueError(
      f'the system {folder} carries no part that gives {missing}, which only'
      ' training needs; name its parts by --gin_file, as its records did.'
    )
  return Preparation(table=table, parts=parts, clips_at_once=1)


def trained_here(*, features: str, style: str, codec: str) -> Preparation:
  """The parts of the tiny system's kinds; see `parts.trained_here`."""
  parts = parts_lib.trained_here(features=features, style=style, codec=codec)
  return Preparation(table=stages.TINY, parts=parts, clips_at_once=1)


def prepare(
  manifest: str,
  out: str,
  preparation: Preparation,
  *,
  num_shards: int | None = None,
  leave_out: Sequence[str] = (),
  beam_options: Sequence[str] = (),
) -> str:
  """Writes records of all clips of a manifest; returns what to print.

  Args:
    manifest: Path of the list of clips.
    out: Folder of the dataset.
    preparation: Parts that extract the streams.
    num_shards: Files of each split; None: by size.
    leave_out: Names of `sound_checks.troubles` of clips to leave out.
    beam_options: Options of Beam, as on a command line.
  """
  from v2meow_jax.jobs.prepare import prepare as prepare_lib  # pylint: disable=g-import-not-at-top

  preparation.check()

  summary = prepare_lib.prepare(
    manifest,
    out,
    _reading(preparation, leave_out),
    num_shards=num_shards,
    pipeline_options=beam_options,
  )
  counts = ', '.join(f'{n} {s}' for s, n in summary.num_examples.items())
  sound = ', '.join(f'{n} {name}' for name, n in summary.num_sound.items())
  return (
    f'{out}: {counts} examples, {summary.num_bytes / 1e6:.1f} MB;'
    f' {summary.num_rejected} clips rejected, see {out}/{prepare_lib.LEDGER};'
    f' {sound} among the examples, see {out}/{prepare_lib.SOUND}'
  )


def estimate(
  manifest: str, preparation: Preparation, hours: float | None
) -> str:
  """What preparing would take, measured on clips of the manifest: a table."""
  from v2meow_jax.jobs.prepare import estimate as estimate_lib  # pylint: disable=g-import-not-at-top

  preparation.check()

  return estimate_lib.estimate(manifest, _reading(preparation), hours)


def _reading(preparation: Preparation, leave_out: Sequence[str] = ()) -> Any:
  """The `extraction.ClipReading` of a preparation."""
  from v2meow_jax.jobs.prepare import extraction  # pylint: disable=g-import-not-at-top

  reading = parts_lib.video_reading(preparation.parts)
  if preparation.piece_seconds is not None:
    reading['piece_seconds'] = preparation.piece_seconds
  return extraction.ClipReading(
    streams=preparation.streams,
    make_extractors=preparation,
    video_seconds=_video_seconds,
    read_video=functools.partial(read.iter_video, **reading),
    read_audio=_read_audio,
    min_seconds=preparation.min_seconds,
    clips_at_once=preparation.clips_at_once,
    leave_out=leave_out,
  )


def _video_seconds(path: str) -> float:
  return probe.probe_video(path).seconds


def _read_audio(path: str, rate_hz: int) -> media.Audio:
  return read.read_audio(path, rate_hz=rate_hz)
