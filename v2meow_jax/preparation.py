"""Brings the networks of a system to `v2meow data fit` and `v2meow data prepare`."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
import shutil
from typing import Any

import jax.numpy as jnp
import numpy as np

from v2meow_jax import media
from v2meow_jax import networks as networks_lib
from v2meow_jax import progress as progress_lib
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.clusters import clustering
from v2meow_jax.codecs import codec as codec_lib
from v2meow_jax.codecs import pretrained as published_codec
from v2meow_jax.extractors.embedded import fitted
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import released
from v2meow_jax.inference import export
from v2meow_jax.inference import system as system_lib
from v2meow_jax.jobs.prepare import token_fitting
from v2meow_jax.pretrained import store
from v2meow_jax.published import semantic

# Of the embedded default's extractors, those of sound; others read the picture.
_FROM_AUDIO = ('semantic', 'style', 'acoustic')
_CODEC_PIECE_SECONDS = 10.0  # ours: a clip of the paper's length is one piece.
# The longest crop of a stage: shorter clips could not train it.
MIN_SECONDS = max(
  stage.crop_seconds
  for stage in (stages.semantic(), stages.coarse(), stages.fine())
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
  """Networks of the embedded default's kind; loaded once per worker.

  Either a released system, or the parts of one that is being made. With
  neither, the embedded system.

  Attributes:
    system: Folder of a released system.
    features: File that `v2meow data fit` wrote.
    style: MODEL_DIR of the style embedding.
    codec: MODEL_DIR of the codec.
    clips_at_once: See `data.prepare`.
    piece_seconds: Of the stretches in which a video is read.
    max_side: To which its frames are shrunk.
  """

  system: str | None = None
  features: str | None = None
  style: str | None = None
  codec: str | None = None
  clips_at_once: int = 1
  piece_seconds: float = export.PIECE_SECONDS
  max_side: int | None = export.MAX_SIDE

  def __post_init__(self):
    parts = (self.features, self.style, self.codec)
    if any(parts) and (self.system or not all(parts)):
      raise ValueError(
        'the networks are one --system, or all of --features, --style and'
        f' --codec; got system {self.system!r}, features {self.features!r},'
        f' style {self.style!r}, codec {self.codec!r}.'
      )

  @property
  def streams(self) -> list[specs.Stream]:
    """What is recorded: every level of the codec."""
    others = [s for n, s in stages.TINY.items() if n not in ('coarse', 'fine')]
    return [*others, stages.acoustic(stages.TINY)]

  def check(self) -> None:
    """Raises before any work where a worker would."""
    if not self.features:
      system_lib.load(self.system)

  def __call__(self) -> dict[str, Any]:
    """The extractors, as `data.prepare` asks for them: `extraction.Reading`s."""
    from v2meow_jax.jobs.prepare import extraction  # pylint: disable=g-import-not-at-top

    if self.features and self.style and self.codec:
      codec = export.load_codec(self.codec)
      params = export.read_extractors(self.features, self.style)
      extractors = fitted.extractors_from_params(params, stages.TINY)
    else:
      system = system_lib.load(self.system)
      codec, extractors = system.codec, system.extractors
    networks_lib.check_codec(codec, self.streams[-1])
    found = {
      name: extraction.Reading(
        'audio' if name in _FROM_AUDIO else 'video', extract
      )
      for name, extract in extractors.items()
      if name != 'style_text'
    }
    acoustic = extraction.Reading('audio', functools.partial(encode, codec))
    return {**found, 'acoustic': acoustic}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """Published networks, as a recipe names them; loaded once per worker.

  Attributes:
    table: The streams by name, such as `stages.paper_streams()`.
    networks: One for each stream that is recorded; of a codec, all levels.
    clips_at_once: See `data.prepare`.
    piece_seconds: Of the stretches in which a video is read; frames come as
      they were decoded, so this bounds the memory.
    clustering: How `fit_tokens` clusters what the semantic network hears.
    sampling: Of which frames.
  """

  table: Mapping[str, specs.Stream]
  networks: Sequence[networks_lib.Network]
  clips_at_once: int = 16
  piece_seconds: float = export.PUBLISHED_PIECE_SECONDS
  clustering: clustering.MiniBatch | clustering.Lloyd = clustering.MiniBatch()
  sampling: token_fitting.Sampling = token_fitting.Sampling()
  max_side: None = dataclasses.field(default=None, init=False)

  @property
  def streams(self) -> list[specs.Stream]:
    """What is recorded."""
    table = {**self.table, 'acoustic': stages.acoustic(self.table)}
    return [networks_lib.stream_of(n, table) for n in self.networks]

  def check(self) -> None:
    """Raises WeightsError that tells of all weights that are missing."""
    missing = []
    for network in self.networks:
      try:
        network.file()
      except store.WeightsError as e:
        missing.append(str(e))
    if missing:
      raise store.WeightsError(' And '.join(missing))

  def __call__(self) -> dict[str, Any]:
    """The extractors, as `data.prepare` asks for them: `extraction.Reading`s."""
    from v2meow_jax.jobs.prepare import extraction  # pylint: disable=g-import-not-at-top

    found = {}
    for network, stream in zip(self.networks, self.streams, strict=True):
      built = network.build(stream)
      if network.reads == 'video':
        found[stream.name] = extraction.Reading('video', built)
        continue
      if network.reads == 'style':
        built = built['style']  # Of music.
      rate_hz = built.sample_rate_hz
      if network.reads == 'codes':
        built = functools.partial(encode_in_pieces, built)
      found[stream.name] = extraction.Reading('audio', built, rate_hz)
    return found

  def fit_tokens(
    self, manifest: str, output: str, seed: int, num: int | None
  ) -> str:
    """Fits the clusters of semantic tokens; returns lines to print.

    Clips of the training split go by as `token_fitting` says; a run that was
    interrupted goes on where OUTPUT's folder `.fitting` stopped.

    Args:
      manifest: See `data.manifests.read`.
      output: The .safetensors to write.
      seed: Of the order and the clusters.
      num: Clips, evenly spread; None: all.

    Returns:
      What was fitted, and how good it is.

    Raises:
      ValueError: There is not one network of semantic tokens.
    """
    from v2meow_jax.files import manifests  # pylint: disable=g-import-not-at-top

    chosen = [n for n in self.networks if n.stream == 'semantic']
    if len(chosen) != 1:
      raise ValueError(
        f'{len(chosen)} networks give semantic tokens; wanted one to fit.'
      )
    clips = [clip.path for clip in manifests.read(manifest, 'train')]
    if num is not None:
      places = np.linspace(0, len(clips) - 1, min(num, len(clips)))
      clips = [clips[i] for i in places.astype(int)]
    encoder, hearer = chosen[0].encoder(), chosen[0].heard_by()
    out = pathlib.Path(output)
    state_dir = out.with_name(f'{out.name}.fitting')
    state_dir.mkdir(parents=True, exist_ok=True)
    fitted_tokens = token_fitting.fit_tokens(
      clips,
      functools.partial(read.read_audio, rate_hz=encoder.sample_rate_hz),
      encoder,
      self.table['semantic'].codebook_size,
      heard_by=hearer,
      seed=seed,
      sampling=self.sampling,
      clustering=self.clustering,
      state_dir=state_dir,
    )
    semantic.write_clusters(out, fitted_tokens.params, hearer)
    shutil.rmtree(state_dir)
    lines = [f'{n}: {why}' for n, why in fitted_tokens.rejected.items()]
    return '\n'.join([*lines, str(fitted_tokens.report), str(out)])


def encode(codec: codec_lib.Codec, audio: media.Audio) -> np.ndarray:
  """int32[frames, levels] of a waveform, padded to whole frames."""
  return np.asarray(codec.encode(jnp.asarray(_whole_frames(codec, audio))))[0]


def encode_in_pieces(
  codec: published_codec.PublishedCodec, audio: media.Audio
) -> np.ndarray:
  """As `encode`, in memory and with a compilation that serve any length."""
  frames = round(_CODEC_PIECE_SECONDS * codec.stream.rate_hz)
  return codec.encode_in_pieces(_whole_frames(codec, audio), frames)[0]


def _whole_frames(codec: codec_lib.Codec, audio: media.Audio) -> np.ndarray:
  """float32[1, samples], completed by silence."""
  missing = -len(audio.samples) % codec.hop_samples
  return np.pad(audio.samples, (0, missing))[None]


def prepare(
  manifest: str,
  out: str,
  networks: Networks | Published,
  *,
  num_shards: int | None = None,
  beam_options: Sequence[str] = (),
) -> str:
  """`data.prepare` with this package's networks; returns a line to print."""
  from v2meow_jax.jobs.prepare import prepare as prepare_lib  # pylint: disable=g-import-not-at-top

  networks.check()

  summary = prepare_lib.prepare(
    manifest,
    out,
    clips_at_once=networks.clips_at_once,
    num_shards=num_shards,
    pipeline_options=beam_options,
    **_reading(networks),
  )
  counts = ', '.join(f'{n} {s}' for s, n in summary.num_examples.items())
  return (
    f'{out}: {counts} examples, {summary.num_bytes / 1e6:.1f} MB;'
    f' {summary.num_rejected} clips rejected, see {out}/rejected.jsonl'
  )


def estimate(
  manifest: str, networks: Networks | Published, hours: float | None
) -> str:
  """What preparing would take, measured on clips of the manifest: a table."""
  from v2meow_jax.jobs.prepare import estimate as estimate_lib  # pylint: disable=g-import-not-at-top

  networks.check()

  return estimate_lib.estimate(
    manifest,
    hours=hours,
    clips_at_once=networks.clips_at_once,
    **_reading(networks),
  )


def _reading(networks: Networks | Published) -> dict[str, Any]:
  """How clips are read; functions of modules, which workers unpickle."""
  return {
    'streams': networks.streams,
    'make_extractors': networks,
    'video_seconds': _video_seconds,
    'read_video': functools.partial(
      read.iter_video,
      piece_seconds=networks.piece_seconds,
      max_side=networks.max_side,
    ),
    'read_audio': _read_audio,
    'min_seconds': MIN_SECONDS,
  }


def _video_seconds(path: str) -> float:
  return probe.probe_video(path).seconds


def _read_audio(path: str, rate_hz: int) -> media.Audio:
  return read.read_audio(path, rate_hz=rate_hz)


class CaptionFeatures:
  """Rows that the style embedding trains on: (music, caption) -> arrays."""

  def __init__(self, path: str):
    """Reads the file that `v2meow data fit` wrote."""
    self._params = released.flatten(released.read_tensors(pathlib.Path(path)))

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
  from v2meow_jax.files import manifests  # pylint: disable=g-import-not-at-top

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
      (read.read_video(f, max_side=export.MAX_SIDE) for f in files),
      (read.read_audio(f) for f in files),
      stages.TINY,
      seed=seed,
      progress=advance,
    )
  examples = [
    fitted.clip_features(params, read.read_audio(c.path), c.caption)
    for c in clips
  ]
  stacked = {
    f'example/{k}': np.stack([e[k] for e in examples]) for k in examples[0]
  }
  out = pathlib.Path(output)
  out.parent.mkdir(parents=True, exist_ok=True)
  released.write_tensors(out, released.unflatten({**params, **stacked}), None)
  return out
