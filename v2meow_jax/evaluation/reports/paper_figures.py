"""Lists the figures that V2Meow printed, and which of ours go beside them.

Su et al., "V2Meow: Meowing to the Visual Beat via Video-to-Music Generation",
AAAI 2024, https://arxiv.org/abs/2305.06594.
"""

import dataclasses
import re

SOURCE = 'Su et al. 2023, https://arxiv.org/abs/2305.06594'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
  """A column of figures.

  Attributes:
    title: Printed title.
    metrics: Names in `scores.Scores.metrics` that belong here; 'kld_softmax/*'
      is that metric with any network.
    deviation: Name of the metric in brackets behind it.
    percent: Whether the paper prints the share times 100.
  """

  title: str
  metrics: tuple[str, ...]
  deviation: str | None = None
  percent: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """One table of the paper.

  Attributes:
    name: Number of the table.
    title: Data set and task for readers.
    dataset: Data set of the clips, as in `scores.Scores.dataset`.
    tasks: Tasks, as in `scores.Scores.task`.
    columns: Columns but the first, which names the method.
    rows: Printed method and figures.
    note: Caveats for comparisons.
    source: Paper that printed it.
  """

  name: str
  title: str
  dataset: str
  tasks: tuple[str, ...]
  columns: tuple[Column, ...]
  rows: tuple[tuple[str, ...], ...]
  note: str
  source: str = SOURCE


def split_rows(text: str) -> tuple[tuple[str, ...], ...]:
  """Splits lines into cells at two spaces or more.

  >>> split_rows('CLIP, softmax   1.0  2.0')
  (('CLIP, softmax', '1.0', '2.0'),)

  Args:
    text: Rows of a table, one a line.

  Returns:
    The cells of each row.
  """
  lines = text.strip().splitlines()
  return tuple(tuple(re.split(r' {2,}', line.strip())) for line in lines)


_FAD = (
  Column(title='FAD TRILL', metrics=('fad/trill',)),
  Column(title='FAD VGG', metrics=('fad/vggish',)),
)
_KLD = Column(title='KLD', metrics=('kld_softmax/*', 'kld_sigmoid/*'))
_RELEVANCE = Column(
  title='visual relevance %', metrics=('visual_relevance',), percent=True
)
_PREFERENCE = Column(
  title='music preference %', metrics=('music_preference',), percent=True
)
_NOTE = (
  '`a/b`: video in stage 1 only / in stages 1 and 2; the last two columns are'
  ' of the latter. The networks of KLD (LEAF) and MCC (MuLan) were not'
  ' released: figures of others are of another scale.'
)

# Section Results, Table 1, upper half.
TABLE_1A = Table(
  name='1a',
  title='MV100K, video to music',
  dataset='mv100k',
  tasks=('video',),
  columns=(
    *_FAD,
    _KLD,
    Column(title='MCC', metrics=('mcc_audio/*',)),
    _RELEVANCE,
    _PREFERENCE,
  ),
  rows=split_rows("""
  CMT              n/a          n/a          n/a        n/a          20.6  30.0
  random shuffle   -            -            0.67       0.268        n/a   n/a
  V2Meow CLIP      0.236/0.158  6.094/2.779  0.63/0.54  0.312/0.372  78.2  67.6
  V2Meow I3D       0.236/0.151  6.278/2.328  0.77/0.65  0.279/0.296  74.3  65.8
  V2Meow ViT       0.240/0.174  6.097/1.988  0.73/0.62  0.276/0.294  81.4  71.5
  V2Meow ViT+I3D   0.236/0.178  5.801/1.945  0.68/0.57  0.298/0.327  83.8  76.8
  V2Meow CLIP+I3D  0.235/0.165  6.126/2.003  0.64/0.49  0.343/0.419  79.2  68.2
  """),
  note=_NOTE,
)

# Table 1, lower half.
TABLE_1B = Table(
  name='1b',
  title='MusicCaps, video and text to music',
  dataset='musiccaps',
  tasks=('video+text',),
  columns=(
    *_FAD,
    _KLD,
    Column(title='MCC', metrics=('mcc_text/*',)),
    _RELEVANCE,
    _PREFERENCE,
  ),
  rows=split_rows("""
  CMT (video)       n/a          n/a          n/a        n/a          19.7  20.7
  Riffusion (text)  0.760        13.4         1.19       0.34         38.6  41.2
  Mubert (text)     0.450        9.6          1.58       0.32         43.3  49.3
  V2Meow CLIP       0.379/0.328  5.198/4.628  1.31/1.19  0.364/0.377  63.6  58.5
  V2Meow I3D        0.389/0.331  5.190/4.623  1.26/1.22  0.377/0.371  68.8  68.0
  V2Meow ViT        0.377/0.366  4.970/5.039  1.34/1.23  0.380/0.392  66.9  60.3
  V2Meow ViT+I3D    0.381/0.359  5.094/4.819  1.34/1.21  0.379/0.389  71.8  67.1
  V2Meow CLIP+I3D   0.391/0.349  5.385/4.948  1.27/1.19  0.369/0.394  67.4  65.8
  """),
  note=_NOTE,
)

TABLE_2 = Table(
  name='2',
  title='AIST++, dance to music',
  dataset='aist',
  tasks=('video', 'video+text'),
  columns=(
    Column(title='BCS (std)', metrics=('bcs',), deviation='csd', percent=True),
    Column(title='BHS (std)', metrics=('bhs',), deviation='hsd', percent=True),
    Column(title='F1', metrics=('f1',), percent=True),
  ),
  rows=split_rows("""
  ground truth            100           100          100
  V2Meow CLIP+I3D (10 s)  100.0 (0.00)  84.4 (25.1)  91.5
  V2Meow CLIP+I3D (6 s)   99.3 (8.64)   84.7 (25.7)  91.4
  V2Meow CLIP+I3D (2 s)   90.0 (30.0)   84.8 (32.1)  87.3
  CDCD Step-Intra (6 s)   87.9          83.2         85.5
  D2M-GAN (2 s)           88.2          84.7         86.4
  CMT (2 s)               85.5          83.5         84.5
  """),
  note=(
    'The last three rows have no deviations and seem to come from papers that'
    ' use the unadjusted form. Bins of one second: see `saturated`.'
  ),
)

# Appendix.
TABLE_4 = Table(
  name='4',
  title='MV100K, mean win rate among variants of V2Meow',
  dataset='mv100k',
  tasks=('video',),
  columns=(
    Column(
      title='visual relevance %',
      metrics=('visual_relevance_variants',),
      percent=True,
    ),
    Column(
      title='music preference %',
      metrics=('music_preference_variants',),
      percent=True,
    ),
  ),
  rows=split_rows("""
  CLIP           47.2  49.0
  CLIP+I3D       63.0  61.8
  ViT-VQGAN      55.9  53.6
  I3D            41.7  40.7
  ViT-VQGAN+I3D  42.6  45.3
  """),
  note='A win rate is of the variants compared: with others it is another.',
)

TABLES = (TABLE_1A, TABLE_1B, TABLE_2, TABLE_4)
