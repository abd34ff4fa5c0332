"""Our runs beside the published figures."""

import dataclasses
import re

import numpy as np
import pytest

from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import paper_figures
from v2meow_jax.evaluation.reports import tables


def run(metrics, dataset='mv100k', task='video', name='ours'):
  return scores.Scores(
    run=name,
    dataset=dataset,
    task=task,
    clips=('a', 'b'),
    settings={},
    libraries={},
    metrics={
      metric: score
      if isinstance(score, scores.Score)
      else scores.Score(value=score, num_clips=2)
      for metric, score in metrics.items()
    },
  )


def row(text, method):
  """The cells of the first row of that method."""
  line = next(x for x in text.splitlines() if x.startswith(f'| {method}'))
  return [cell.strip() for cell in line.strip('|').split('|')][1:]


@pytest.mark.parametrize('cells', paper_figures.TABLE_2.rows[1:])
def test_f1_of_the_published_means_is_the_published_f1(cells):
  means = [float(cell.split()[0]) for cell in cells[1:3]]
  f1 = beat_coverage.harmonic_mean(np.array(means))
  assert f'{f1:.1f}' == cells[3]


EVERY_TABLE = [table for tables_ in tables.PAPERS.values() for table in tables_]


@pytest.mark.parametrize('table', EVERY_TABLE, ids=lambda t: t.name)
def test_published_rows_have_a_cell_for_each_column(table):
  assert {len(cells) for cells in table.rows} == {1 + len(table.columns)}
  text = tables.table_markdown(table, [])
  for cells in table.rows:
    assert row(text, re.escape(cells[0]).replace('\\', '')) == list(cells[1:])


def test_a_run_stands_in_the_table_of_its_data_and_blank_where_not_run():
  text = tables.markdown([run({'fad/vggish': 2.5})])
  a, b = text.index('## Table 1b'), text.index('## Table 2')
  assert row(text[:a], '**ours**') == ['', '2.500', '', '', '', '']
  assert '**ours**' not in text[a:b]
  assert row(text[b:], '**ours**') == ['', '']


def test_table_2_is_in_percent_with_deviations_intervals_and_saturation():
  full = scores.Score(
    value=0.993, low=0.98, high=1.0, num_clips=2, details={'saturated': True}
  )
  text = tables.markdown(
    [run({'bcs': full, 'csd': 0.0864, 'bhs': 0.847}, dataset='aist')]
  )
  assert row(text, '**ours**') == [
    '99.3 (8.6) [98.0, 100.0] *saturated*',
    '84.7',
    '',
  ]


def test_networks_are_named_and_mismatched_pairs_have_their_row():
  made = run(
    {
      'kld_softmax/ast': 0.5,
      'kld_sigmoid/panns': 0.7,
      'kld_softmax_shuffled/ast': 1.5,
      'mcc_text/clap': 0.3,
      'mcc_text_shuffled/clap': 0.1,
      'mcc_audio/clap': 0.9,
    },
    dataset='musiccaps',
    task='video+text',
  )
  text = tables.markdown([made])
  text = text[text.index('## Table 1b') :]
  assert row(text, '**ours**')[2:4] == [
    '0.500 `kld_softmax/ast`<br>0.700 `kld_sigmoid/panns`',
    '0.300 `mcc_text/clap`',
  ]
  assert row(text, '**ours** (musiccaps, 2 clips), random shuffle')[2:4] == [
    '1.500 `kld_softmax_shuffled/ast`',
    '0.100 `mcc_text_shuffled/clap`',
  ]


def test_muvis_row_is_the_same_in_every_table_that_repeats_it():
  full = ('4.28', '3.52', '1.63', '28.15', '104.17', '49.23', '19.18')
  texts = [tables.table_markdown(t, []) for t in tables.PAPERS['muvi']]
  assert row(texts[0], 'VideoMAE V2, softmax')[:7] == list(full)
  assert row(texts[1], 'MuVi |')[1:8] == list(full)
  assert row(texts[3], 'base')[:7] == list(full)
  # Table 4 prints two of them otherwise.
  assert row(texts[2], 'all')[3:7] == list(full[3:])


def test_a_run_stands_in_muvis_tables_with_the_ratio_form_in_percent():
  made = run({'bcs': 0.5, 'bcs_unadjusted': 1.04, 'bhs_unadjusted': 0.5})
  made = dataclasses.replace(made, dataset='synthetic')
  text = tables.markdown([made], 'muvi')
  assert row(text, '**ours**')[4:6] == ['104.0', '50.0']
  assert text.count('Li et al. 2024') == len(tables.PAPERS['muvi'])
  assert 'Su et al.' not in text


def test_clips_of_ones_own_are_marked_as_not_comparable():
  text = tables.markdown([run({'bcs': 1.0}, dataset='synthetic')])
  assert '**ours** (synthetic, 2 clips) †' in text
  assert text.count('not to be compared') == 1
  assert '**ours**' not in text[: text.index('## Table 2')]


def test_the_name_of_a_run_cannot_break_the_table():
  text = tables.markdown([run({'bcs': 1.0}, 'aist', name='a|b\n| c')])
  assert '| **a\\|b \\| c** (aist, 2 clips) | 100.0 |' in text


def test_files_and_folders_are_read(tmp_path):
  scores.write(tmp_path / 'scores.json', run({'bcs': 0.5}, dataset='aist'))
  assert row(tables.main([tmp_path]), '**ours**')[0] == '50.0'
  assert tables.main([]) == tables.markdown([])
  with pytest.raises(FileNotFoundError):
    tables.main([tmp_path / 'nothing.json'])
