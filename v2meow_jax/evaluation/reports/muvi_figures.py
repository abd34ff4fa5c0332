"""Lists the figures that MuVi printed, and which of ours go beside them.

Li et al., "MuVi: Video-to-Music Generation with Semantic Alignment and Rhythmic
Synchronization", 2024, https://arxiv.org/abs/2410.12957; as far as others have
transcribed its tables.
"""

from v2meow_jax.evaluation.reports import paper_figures

SOURCE = 'Li et al. 2024, https://arxiv.org/abs/2410.12957'
_DATASET = 'muvi'


def _percent(title: str, *metrics: str) -> paper_figures.Column:
  return paper_figures.Column(title=title, metrics=metrics, percent=True)


_SOUND = (
  paper_figures.Column(title='FAD', metrics=('fad/vggish',)),
  paper_figures.Column(title='KL', metrics=('kld_softmax/*',)),
  paper_figures.Column(title='IS', metrics=('is/*',)),
  paper_figures.Column(title='FD', metrics=('fd/*',)),
  _percent('BCS', 'bcs_unadjusted'),
  _percent('BHS', 'bhs_unadjusted'),
  _percent('SIM', 'sim'),
)
_OPINIONS = (
  paper_figures.Column(title='MOS-Q', metrics=('mos_quality',)),
  paper_figures.Column(title='MOS-A', metrics=('mos_alignment',)),
)
_NOTE = (
  'BCS is the ratio of seconds with onsets, generated over true: 100 is best.'
  ' SIM is of an embedding that was not released, FAD, KL, IS and FD of'
  ' networks that the paper does not name: figures of others are of another'
  ' scale.'
)


def _table(name: str, title: str, rows: str, first=()) -> paper_figures.Table:
  return paper_figures.Table(
    name=name,
    title=title,
    dataset=_DATASET,
    tasks=('video',),
    columns=(*first, *_SOUND, *_OPINIONS),
    rows=paper_figures.split_rows(rows),
    note=_NOTE,
    source=SOURCE,
  )


TABLE_1 = _table(
  '1',
  'visual encoders and adaptors',
  """
  CAVP, 4 fps             5.45  4.13  1.45  38.95  87.50   41.90  4.05   3.59  3.41
  CAVP, 10 fps            5.31  4.05  1.39  37.04  88.93   45.18  4.08   3.67  3.45
  CLIP, softmax           5.12  3.53  1.62  31.28  106.33  50.05  15.38  3.71  4.14
  CLIP, sigmoid           6.01  3.85  1.66  28.94  102.19  48.95  14.62  3.63  4.03
  CLIP, attention         4.36  3.46  1.51  28.55  105.23  49.81  16.35  3.77  4.13
  CLIP, average           6.40  3.76  1.61  32.79  105.45  49.52  14.82  3.54  3.94
  CLIP, class token       7.40  4.04  1.71  36.32  103.06  49.50  13.47  3.56  3.89
  VideoMAE, softmax       4.93  3.80  1.43  30.71  101.15  48.87  18.47  3.73  4.12
  VideoMAE, sigmoid       4.36  3.56  1.44  31.06  99.16   47.94  16.53  3.74  4.06
  VideoMAE, average       5.13  4.02  1.37  33.78  97.82   47.01  15.59  3.63  4.02
  VideoMAE V2, softmax    4.28  3.52  1.63  28.15  104.17  49.23  19.18  3.81  4.15
  VideoMAE V2, sigmoid    4.89  3.72  1.41  33.21  101.35  48.88  18.82  3.75  4.12
  VideoMAE V2, average    4.75  4.04  1.55  31.71  99.85   48.28  15.67  3.52  3.96
  """,
)
TABLE_2 = _table(
  '2 and 3',
  'systems, and a style in context',
  """
  MuVi               -     4.28  3.52  1.63  28.15  104.17  49.23  19.18  3.81  4.15
  MuVi (in context)  0.35  6.13  3.71  1.48  34.16  93.30   44.06  13.55  3.84  3.95
  MuVi (beta)        -     4.56  4.25  1.54  35.19  95.21   45.19  10.71  3.55  3.89
  M2UGen             -     5.12  3.83  1.65  32.14  75.21   25.14  1.41   3.79  3.19
  """,
  first=(
    paper_figures.Column(title='CLAP', metrics=('clap_score/*', 'mcc_audio/*')),
  ),
)
TABLE_4 = _table(
  '4',
  'pre-training: of music; of other clips, shifts and replacements',
  """
  no music                      6.82  4.28  1.33  32.75  101.83  49.57  17.15  3.45  3.93
  music alone                   4.21  3.69  1.68  28.49  97.35   47.01  8.42   3.75  4.01
  other clips                   4.25  3.73  1.59  28.19  99.43   48.53  17.73  3.77  4.05
  other clips and shifts        4.31  3.65  1.57  28.36  103.78  49.45  18.80  3.80  4.15
  other clips and replacements  4.24  3.55  1.53  28.21  102.91  49.17  18.69  3.79  4.13
  all                           4.28  3.53  1.53  28.15  104.17  49.23  19.18  3.81  4.15
  """,
)
TABLE_5 = _table(
  '5',
  'sizes of the generator',
  """
  small  5.21  3.87  1.41  32.47  98.14   47.75  16.33  3.66  3.99
  base   4.28  3.52  1.63  28.15  104.17  49.23  19.18  3.81  4.15
  large  4.25  3.49  1.65  28.11  104.23  49.56  19.24  3.82  4.17
  """,
)
TABLES = (TABLE_1, TABLE_2, TABLE_4, TABLE_5)
