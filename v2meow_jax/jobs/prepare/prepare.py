"""A manifest of clips -> a dataset of records, as an Apache Beam pipeline.

Every clip is read once, its streams are extracted by networks that the caller
brings, and shards are written in the order of their keys: a rerun gives the
same bytes, however many workers there were.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import threading
from typing import Any

from absl import logging
import apache_beam as beam
import tensorflow_datasets as tfds

from v2meow_jax import progress as progress_lib
from v2meow_jax import specs
from v2meow_jax.data import moments
from v2meow_jax.data import records
from v2meow_jax.data import shards
from v2meow_jax.files import atomic
from v2meow_jax.files import manifests
from v2meow_jax.files import paths
from v2meow_jax.jobs import pipelines
from v2meow_jax.jobs.prepare import extraction
from v2meow_jax.jobs.prepare import sound_checks

LEDGER = 'rejected.jsonl'
SOUND = 'sound.jsonl'
_CLIPS_PER_SHARD = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """What a preparation did.

  Attributes:
    num_examples: Number of clips written, by split.
    num_rejected: Clips in the ledger.
    num_bytes: Size of all shards.
    num_sound: Number of clips in `sound.jsonl`, by what is wrong.
  """

  num_examples: Mapping[str, int]
  num_rejected: int
  num_bytes: int
  num_sound: Mapping[str, int]


def prepare(
  manifest: str,
  out: str,
  reading: extraction.ClipReading,
  *,
  num_shards: int | None = None,
  piece_seconds: float = records.PIECE_SECONDS,
  pipeline_options: Sequence[str] = (),
  progress: bool = True,
) -> Summary:
  """Writes a TFDS dataset of every clip in a manifest, or none of it.

  Beside the shards lie `shards.json` (counts, sizes, digests), `moments.json`
  (mean and deviation of each continuous stream over the split 'train'),
  `sound.jsonl` (every recorded clip that is silent or clipped, and how much of
  it) and `rejected.jsonl`: every clip that is not recorded, at which stage and
  why.
  The dataset is made in a folder beside `out`, in a bucket inside it, and takes
  its place at the end.

  Args:
    manifest: Path of the list of clips, as `manifests.read` takes it.
    out: Folder of the dataset, here or in a bucket; one of an earlier run is replaced.
    reading: Streams to record, and the functions that read clips.
    num_shards: Files of each split; None: one for 256 clips.
    piece_seconds: Duration of a record; longer clips are several records, so
      that a crop costs about its own length of reading.
    pipeline_options: Beam's, as on a command line:
      `('--direct_num_workers=2', '--direct_running_mode=multi_processing')`, or
      `('--runner=DataflowRunner', ...)`. Without a runner, the one of this
      machine.
    progress: Shows a bar of clips.

  Returns:
    What was written.

  Raises:
    ValueError: The manifest is malformed, `out` holds something else, or every
      clip, or every clip to train on, was rejected.
  """
  clips = manifests.read(manifest)
  if not atomic.is_replaceable(out, marker=shards.INDEX):
    raise ValueError(
      f'{out} exists and is not a prepared dataset, or half of one; name another'
      ' folder, or remove it.'
    )
  with atomic.replacing_folder(out, marker=shards.INDEX) as building:
    # The bar counts what workers append here; they share only a local disk.
    progress_dir = os.path.join(building, 'progress')
    is_local = not paths.is_remote(building)
    if is_local:
      os.makedirs(progress_dir)
    extract = extraction.Extract(
      reading, piece_seconds, progress_dir if is_local else None
    )
    with _bar(progress_dir, len(clips), shown=progress and is_local):
      placed = _placed(clips, num_shards)
      some = reading.clips_at_once
      groups = [placed[i : i + some] for i in range(0, len(placed), some)]
      _run(groups, extract, building, pipeline_options)
    if is_local:
      shutil.rmtree(progress_dir)
    summary = _finish(building, clips, reading.streams, piece_seconds)
  logging.info('Prepared %s: %s', out, summary)
  return summary


def _placed(
  clips: Sequence[manifests.ManifestClip], num_shards: int | None
) -> list[tuple[tuple[str, int], manifests.ManifestClip]]:
  """Each clip with its (split, shard): in the order of hashed ids."""
  placed = []
  for split in manifests.SPLITS:
    chosen = sorted((c for c in clips if c.split == split), key=_key)
    count = num_shards or -(-len(chosen) // _CLIPS_PER_SHARD)
    for i, clip in enumerate(chosen):
      placed.append(((split, i * count // len(chosen)), clip))
  return placed


def _key(clip: manifests.ManifestClip) -> str:
  return _hashed(clip.id)


def _hashed(example_id: str) -> str:
  """Neighbours in a manifest are alike; their hashes are not."""
  return hashlib.sha256(example_id.encode()).hexdigest()


def _run(groups, extract, building: str, options: Sequence[str]) -> None:
  with pipelines.opened(options) as pipeline:
    extracted = (
      pipeline
      | 'Clips' >> beam.Create(groups)
      | 'Spread' >> beam.Reshuffle()
      | 'Extract' >> beam.ParDo(extract).with_outputs('rejected', main='done')
    )
    _ = (
      extracted.done
      | 'ByShard' >> beam.GroupByKey()
      | 'Write' >> beam.Map(_write_shard, folder=building)
    )
    _ = (
      extracted.rejected
      | 'Together' >> beam.Map(lambda row: (None, row))
      | 'AllRows' >> beam.GroupByKey()
      | 'Ledger' >> beam.Map(_write_ledger, folder=building)
    )


def _write_shard(
  group: tuple[tuple[str, int], Iterable[extraction.Done]], folder: str
) -> None:
  (split, number), clips = group
  ordered = sorted(clips, key=lambda clip: _hashed(clip.id))
  path = os.path.join(folder, f'part-{split}-{number:05d}')
  shard = shards.write(path, [clip.recording for clip in ordered])
  # In one order, so that a rerun gives the same bytes.
  merged = moments.merged(clip.moments for clip in ordered)
  sidecar = {
    'shard': dataclasses.asdict(shard),
    'moments': moments.to_json(merged),
    'sound': [
      {'id': clip.id, 'split': split, **clip.sound}
      for clip in ordered
      if clip.sound
    ],
  }
  atomic.write_text(f'{path}.json', json.dumps(sidecar))


def _write_ledger(
  group: tuple[None, Iterable[Mapping[str, str]]], folder: str
) -> None:
  ordered = sorted(group[1], key=lambda row: row['id'])
  lines = [json.dumps(row, sort_keys=True) + '\n' for row in ordered]
  atomic.write_text(os.path.join(folder, LEDGER), ''.join(lines))


def _finish(
  folder: str,
  clips: Sequence[manifests.ManifestClip],
  streams: Sequence[specs.Stream],
  piece_seconds: float,
) -> Summary:
  """Parts -> numbered shards, their index and what TFDS reads."""
  ledger = paths.path(folder) / LEDGER
  if not ledger.exists():
    atomic.write_text(ledger, '')
  lines = ledger.read_bytes().decode().splitlines()
  rejected = [json.loads(line) for line in lines]
  index: dict[str, shards.Shard] = {}
  splits, num_examples, sound = [], {}, []
  for split in manifests.SPLITS:
    sidecars = _name_parts(folder, split)
    sound += [row for s in sidecars.values() for row in s['sound']]
    if split == 'train':
      rows = [moments.from_json(s['moments']) for s in sidecars.values()]
      moments.write(folder, moments.merged(rows))
    written = {k: shards.Shard(**s['shard']) for k, s in sidecars.items()}
    index.update(written)
    if written:
      num_examples[split] = sum(s.num_recordings for s in written.values())
      splits.append(_split_info(split, list(written.values())))
  _require_clips(clips, num_examples, rejected)
  sound.sort(key=lambda row: row['id'])
  lines = [json.dumps(row) + '\n' for row in sound]
  atomic.write_text(os.path.join(folder, SOUND), ''.join(lines))
  shards.write_index(folder, index)
  tfds.folder_dataset.write_metadata(
    data_dir=folder,
    features=records.tfds_features(streams),
    split_infos=splits,
    description='Streams of music videos, prepared by v2meow_jax.',
    metadata=tfds.core.MetadataDict(
      streams=records.streams_to_json(streams), piece_seconds=piece_seconds
    ),
    check_data=False,
  )
  return Summary(
    num_examples=num_examples,
    num_rejected=len(rejected),
    num_bytes=sum(shard.bytes for shard in index.values()),
    num_sound={
      name: sum(name in row for row in sound) for name in sound_checks.SENTENCES
    },
  )


def _require_clips(
  clips: Sequence[manifests.ManifestClip],
  num_examples: Mapping[str, int],
  rejected: Sequence[Mapping[str, str]],
) -> None:
  """Raises ValueError where no clip is left, or none to train on."""
  training = {clip.id for clip in clips if clip.split == 'train'}
  if num_examples.get('train' if training else 'validation'):
    return
  kind = 'clips'
  if num_examples:
    kind = 'clips to train on'
    rejected = [row for row in rejected if row['id'] in training]
  by_stage: dict[str, list[Mapping[str, str]]] = {}
  for row in rejected:
    by_stage.setdefault(row['stage'], []).append(row)
  reasons = [
    f'{len(rows)} at {stage!r}, such as {rows[0]["id"]!r}:'
    f' {rows[0]["message"].rstrip(".")}'
    for stage, rows in by_stage.items()
  ]
  raise ValueError(
    f'all {len(rejected)} {kind} were rejected, and nothing was written;'
    f' {"; ".join(reasons)}.'
  )


def _name_parts(folder: str, split: str) -> dict[str, dict[str, Any]]:
  """Renames the parts of a split and returns their sidecars by new name.

  A part whose clips all failed is absent.
  """
  files = sorted(paths.path(folder).glob(f'part-{split}-*.json'))
  sidecars = {}
  for i, file in enumerate(files):
    name = f'v2meow-{split}.tfrecord-{i:05d}-of-{len(files):05d}'
    part = file.name.removesuffix('.json')
    tables = shards.table_name(part), shards.table_name(name)
    for old, new in ((part, name), tables):
      file.with_name(old).rename(file.with_name(new))
    sidecars[name] = json.loads(file.read_bytes())
    file.unlink()
  return sidecars


def _split_info(
  split: str, written: Sequence[shards.Shard]
) -> tfds.core.SplitInfo:
  return tfds.core.SplitInfo(
    name=split,
    shard_lengths=[s.records for s in written],
    num_bytes=sum(s.bytes for s in written),
  )


@contextlib.contextmanager
def _bar(folder: str, total: int, *, shown: bool) -> Iterator[None]:
  """A bar of clips done, counted from the bytes that workers leave."""
  if not shown:
    yield
    return

  finished = threading.Event()

  def done() -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))

  def refresh(bar) -> None:
    if new := done() - bar.n:
      bar.update(new)

  def watch(bar) -> None:
    while not finished.wait(0.5):
      refresh(bar)

  with progress_lib.bar(total=total, unit='clip', desc='prepare') as bar:
    watcher = threading.Thread(target=watch, args=(bar,), daemon=True)
    watcher.start()
    try:
      yield
    finally:
      finished.set()
      watcher.join()
      refresh(bar)
