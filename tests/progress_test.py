"""Progress is live on a terminal, and lines in a log."""

import io
import sys

import pytest

from v2meow_jax import progress


def shown(monkeypatch, is_terminal):
  written = io.StringIO()
  monkeypatch.setattr(written, 'isatty', lambda: is_terminal, raising=False)
  monkeypatch.setattr(sys, 'stderr', written)
  assert list(progress.bar(range(1000), desc='clips')) == list(range(1000))
  return written.getvalue()


def test_a_log_has_a_line_for_the_begin_and_one_for_the_end(monkeypatch):
  lines = shown(monkeypatch, is_terminal=False).split('\n')
  assert len(lines) == 3 and not lines[2]
  assert '0/1000' in lines[0] and '1000/1000' in lines[1]
  assert '\r' not in ''.join(lines)


@pytest.mark.parametrize('is_terminal', [True, False])
def test_without_a_total_it_counts_in_words(monkeypatch, is_terminal):
  written = io.StringIO()
  monkeypatch.setattr(written, 'isatty', lambda: is_terminal, raising=False)
  monkeypatch.setattr(sys, 'stderr', written)
  assert len(list(progress.bar(iter('ab'), unit='part', desc='a.png'))) == 2
  assert written.getvalue().strip().endswith('a.png: 2 parts, 00:00')


def test_a_terminal_has_one_line(monkeypatch):
  text = shown(monkeypatch, is_terminal=True)
  assert '\r' in text and text.count('\n') == 1
