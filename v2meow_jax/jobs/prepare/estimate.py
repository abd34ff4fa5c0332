"""What a preparation would take, measured on a few clips before it starts."""

from collections.abc import Mapping
from collections.abc import Sequence

import apache_beam as beam
import numpy as np
import tqdm

from v2meow_jax import progress as progress_lib
from v2meow_jax import specs
from v2meow_jax.data import records
from v2meow_jax.data import shards
from v2meow_jax.files import manifests
from v2meow_jax.jobs.prepare import extraction

_NUM_SAMPLES = 3


def estimate(
  manifest: str,
  reading: extraction.ClipReading,
  hours: float | None = None,
) -> str:
  """A table of the steps: their time, for so many hours of video, and bytes.

  Three clips from all over the manifest go through what a worker does; once
  for everything to be loaded and compiled, then against the clock.

  Args:
    manifest: Path of the manifest.
    reading: Streams to record, and the functions that read clips.
    hours: Hours of video; None: those of all clips of the manifest, each as
      long as those that were tried.

  Returns:
    Lines to print.

  Raises:
    ValueError: `hours` is not more than 0, or all clips that were tried were
      rejected: says why.
  """
  if hours is not None and not hours > 0:
    raise ValueError(f'hours is {hours}; wanted more than 0.')
  clips = manifests.read(manifest)
  chosen = np.linspace(0, len(clips) - 1, min(_NUM_SAMPLES, len(clips)))
  sample = [clips[i] for i in chosen.astype(int)]
  extract, done, rejected = _measured(reading, sample)
  if not done:
    raise ValueError(
      f'all {len(sample)} clips that were tried were rejected; the first:'
      f' {rejected[0]}'
    )
  measured = sum(recording.seconds for recording in done)
  if hours is None:
    hours = measured / len(done) * len(clips) / 3600
  per_second = {k: v / measured for k, v in extract.seconds.items()}
  num_bytes = sum(len(piece) for clip in done for piece in clip.pieces)
  size = num_bytes / measured * hours * 3600
  lines = [
    f'{hours:.4g} hours of video, from {len(done)} clips of'
    f' {measured:.0f} s together'
    + (f' ({len(rejected)} more were rejected)' if rejected else ''),
    *_table(per_second, hours),
    *_caution(len(sample), reading.clips_at_once),
    f'records: {size / 1e9:.3g} GB, {size / hours / 3600 / 1e3:.3g} kB a second;'
    f' of an hour {_bytes_by_stream(reading.streams)}',
  ]
  return '\n'.join(lines)


def _bytes_by_stream(streams: Sequence[specs.Stream]) -> str:
  """Bytes of an hour of each stream that has a rate, the largest first."""
  # Codes are uint16 and features float16.
  sizes = {s.name: 2 * records.width(s) * s.rate_hz * 3600 for s in streams}
  ranked = sorted(sizes.items(), key=lambda item: -item[1])
  return ', '.join(
    f'{name} {size / 1e6:.3g} MB' for name, size in ranked if size
  )


def _caution(num_clips: int, clips_at_once: int) -> list[str]:
  """What the clips that were tried do not tell of batches of frames."""
  if num_clips >= clips_at_once:
    return []
  return [
    f'at most: networks of frames saw those of {num_clips} clips at once, in'
    f' batches that {clips_at_once} clips fill'
  ]


def _measured(
  reading: extraction.ClipReading, sample: Sequence[manifests.ManifestClip]
) -> tuple[extraction.Extract, list[shards.Recording], list[Mapping[str, str]]]:
  """The second of two passes: its times, recordings, and rows of the ledger."""
  told = set()

  def show(step: str) -> None:
    if (bar.desc, step) not in told:  # A log gets a line of each, once a pass.
      told.add((bar.desc, step))
      bar.set_postfix_str(step)

  extract = extraction.Extract(reading, on_step=show)
  with progress_lib.bar(
    total=2 * len(sample), unit='clip', desc='load and compile'
  ) as bar:
    extract.setup()
    _run(extract, sample, reading.clips_at_once, bar)
    extract.seconds.clear()
    bar.set_description('measure')
    done, rejected = _run(extract, sample, reading.clips_at_once, bar)
  return extract, done, rejected


def _run(
  extract: extraction.Extract,
  sample: Sequence[manifests.ManifestClip],
  clips_at_once: int,
  bar: tqdm.tqdm,
) -> tuple[list[shards.Recording], list[Mapping[str, str]]]:
  """Recordings, and rows of the ledger, of some clips."""
  done, rejected = [], []
  for i in range(0, len(sample), clips_at_once):
    group = [(('train', 0), clip) for clip in sample[i : i + clips_at_once]]
    for result in extract.process(group):
      bar.update()
      if isinstance(result, beam.pvalue.TaggedOutput):
        rejected.append(result.value)
      else:
        done.append(result[1].recording)
  return done, rejected


def _table(per_second: Mapping[str, float], hours: float) -> list[str]:
  """One line a step, the most expensive first, and their sum."""
  total = sum(per_second.values())
  ranked = sorted(per_second.items(), key=lambda item: -item[1])
  lines = [
    f'{"step":<20} {"s per s of video":>17} {"worker hours":>13} {"share":>6}'
  ]
  for name, cost in [*ranked, ('all', total)]:
    lines.append(
      f'{name:<20} {cost:>17.4f} {cost * hours:>13.4g} {cost / total:>6.0%}'
    )
  lines.append(f'most of it: {ranked[0][0]}; divide by the number of workers')
  return lines
