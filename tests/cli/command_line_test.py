"""A command line that argparse refuses says so; --help teaches by examples."""

import pytest

from v2meow_jax.cli import main


@pytest.mark.parametrize('argv', [['sing'], [], ['--'], ['data']])
def test_a_wrong_command_line_exits_with_2(argv, capsys):
  with pytest.raises(SystemExit) as stop:
    main.main(argv)
  assert stop.value.code == 2
  assert 'usage: v2meow ' in capsys.readouterr().err


def test_what_is_missing_is_one_line_that_leads_to_the_help(capsys):
  with pytest.raises(SystemExit) as stop:
    main.main(['generate', 'x.mp4'])
  assert stop.value.code == 2
  assert capsys.readouterr().err.splitlines() == [
    'v2meow generate: error: the following arguments are required: -o/--output;'
    ' v2meow generate --help explains what it takes'
  ]


@pytest.mark.parametrize(
  'given, near',
  [('--style_guidance=3', 'style-guidance'), ('--promt', 'prompt')],
)
def test_an_option_that_there_is_not_names_the_nearest(given, near, capsys):
  with pytest.raises(SystemExit):
    main.main(['generate', 'x.mp4', '-o', 'y.mp4', given])
  assert f'did you mean --{near}?' in capsys.readouterr().err


def test_a_misspelt_option_that_is_required_is_named(capsys):
  with pytest.raises(SystemExit):
    main.main(['generate', 'x.mp4', '--outptu', 'y.mp4', '--seed', '3'])
  error = capsys.readouterr().err
  assert '-o/--output; did you mean --output?; v2meow' in error
  assert error.count('did you mean') == 1


def test_an_option_like_no_other_names_none(capsys):
  with pytest.raises(SystemExit):
    main.main(['generate', 'x.mp4', '-o', 'y.mp4', '--zzz'])
  assert 'did you mean' not in capsys.readouterr().err


@pytest.mark.parametrize(
  'verb',
  [
    'generate',
    'data synth',
    'data fit',
    'data prepare',
    'data aist',
    'train',
    'export',
    'batch run',
    'batch status',
    'batch retry',
    'batch collect',
  ],
)
def test_help_teaches(verb, capsys):
  with pytest.raises(SystemExit) as stop:
    main.main([*verb.split(), '--help'])
  assert stop.value.code == 0
  text = capsys.readouterr().out
  # The word of the usual one may be left out.
  verb = verb.removesuffix(' run')
  assert f'v2meow {verb} ' in text.partition('example')[2]
