"""What the verbs of a study refuse before they do anything."""

import socket

from v2meow_jax import cli


def test_a_port_that_is_taken_is_told_before_an_address(
  tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr('v2meow_jax.cli_study._warn_of_placeholders', str)
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    command = ['study', 'serve', str(tmp_path), '--port', str(port)]
    assert cli.main(command) == 2
  said = capsys.readouterr()
  assert f'port {port}' in said.err and 'another --port' in said.err
  assert 'http' not in said.out
