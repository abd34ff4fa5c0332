"""What the verbs of a study refuse before they do anything."""

import json
import socket

import pytest

from v2meow_jax.cli import main


def test_a_port_that_is_taken_is_told_before_an_address(
  tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr('v2meow_jax.cli.verbs.study._warn_of_placeholders', str)
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    command = ['study', 'serve', str(tmp_path), '--port', str(port)]
    assert main.main(command) == 2
  said = capsys.readouterr()
  assert f'port {port}' in said.err and 'another --port' in said.err
  assert 'http' not in said.out


@pytest.mark.parametrize(
  ('option', 'value', 'wanted'),
  [
    ('--port', '-1', '0 (any that is free) to 65535'),
    ('--port', '80000', '0 (any that is free) to 65535'),
    ('--max-participants', '0', '1 or more'),
    ('--max-participants', '-5', '1 or more'),
  ],
)
def test_a_number_that_cannot_be_is_named(
  tmp_path, capsys, option, value, wanted
):
  assert main.main(['study', 'serve', str(tmp_path), option, value]) == 2
  error = capsys.readouterr().err
  assert f'{option} is {value}; wanted' in error and wanted in error


# Of RFC 5737, for documentation: no machine has it.
def test_a_host_that_is_not_here_is_not_taken_for_a_port(
  tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr('v2meow_jax.cli.verbs.study._warn_of_placeholders', str)
  command = ['study', 'serve', str(tmp_path), '--host', '192.0.2.1']
  assert main.main([*command, '--port', '0']) == 2
  error = capsys.readouterr().err
  assert '--host 192.0.2.1 is no IPv4 address of this machine' in error
  assert '--port' not in error


def test_analyse_counts_who_and_what_is_missing(tmp_path, capsys, monkeypatch):
  (tmp_path / 'report.md').touch()
  facts = {'num_raters': 7, 'excluded': {'R0': ['x']}, 'rejected_files': {}}
  (tmp_path / 'analysis.json').write_text(json.dumps(facts))
  monkeypatch.setattr(
    'v2meow_jax.study.results.report.write',
    lambda *_, **__: tmp_path / 'report.md',
  )
  for options, left_out in (
    ([], 'left out: 1'),
    (['--keep-all'], 'who would be left out: 1'),
  ):
    assert main.main(['study', 'analyse', str(tmp_path), *options]) == 0
    said = capsys.readouterr()
    assert said.out == f'{tmp_path / "report.md"}\n'
    assert f'raters counted: 7; {left_out}; files rejected: 0: see' in said.err
