"""The command `v2meow`: parses, imports what the verb needs, makes one call."""

import argparse
from collections.abc import Sequence
import difflib
import os
import re
import signal
import sys
import textwrap
import threading
import traceback
from typing import NoReturn

import v2meow_jax
from v2meow_jax.cli import ending
from v2meow_jax.cli import terminal
from v2meow_jax.cli.verbs import batch
from v2meow_jax.cli.verbs import data
from v2meow_jax.cli.verbs import doctor
from v2meow_jax.cli.verbs import evaluate
from v2meow_jax.cli.verbs import experiments
from v2meow_jax.cli.verbs import explain
from v2meow_jax.cli.verbs import export
from v2meow_jax.cli.verbs import generate
from v2meow_jax.cli.verbs import licenses
from v2meow_jax.cli.verbs import plan
from v2meow_jax.cli.verbs import rank
from v2meow_jax.cli.verbs import study
from v2meow_jax.cli.verbs import train
from v2meow_jax.cli.verbs import weights

_VERBS = {
  'generate': (generate, 'make a soundtrack for a video'),
  'batch': (batch, 'make soundtracks for a list of videos, each exactly once'),
  'plan': (plan, 'write the beats and sections that a video asks for'),
  'rank': (rank, 'order tracks of music by how well they go with a video'),
  'explain': (explain, 'show what in a video acts on its music'),
  'data': (data, 'make and prepare training data'),
  'experiments': (experiments, 'list the experiments of the recipes by size'),
  'train': (train, 'train a stage, the codec or the style embedding'),
  'export': (export, 'pack trained runs into a system for `generate`'),
  'evaluate': (evaluate, 'score music or a whole system; print tables'),
  'weights': (weights, 'list, fetch, verify and import published weights'),
  'licenses': (licenses, 'print the licences of a system and of weights'),
  'study': (study, 'ask people which music they prefer'),
  'doctor': (doctor, 'say what is installed and which parts work'),
}
_SAVING = ('train', 'batch')  # Stopped, they go on where they were.
_LOOKING = ('doctor', 'experiments', 'licenses', 'rank')  # They write nothing.
_EXIT_USER_ERROR = 2
_USER_ERRORS = (
  *(ValueError, OSError, ImportError),
  *(AssertionError, RuntimeError, TypeError),  # Some of them: see below.
)
_INSIST_SECONDS = 0.05
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells.
_EXIT_PIPE = 141  # 128 + SIGPIPE.
_MISSING = '; what training and its data need is an extra:'


class _Help(argparse.HelpFormatter):
  """Wraps each line of a description, and leaves indented ones as they are."""

  def _fill_text(self, text: str, width: int, indent: str) -> str:
    return '\n'.join(
      line if line.startswith(' ') else textwrap.fill(line, width)
      for line in text.splitlines()
    )


class _Parser(argparse.ArgumentParser):
  """A parser whose subparsers format help and errors alike."""

  def __init__(self, **options):
    super().__init__(**{'formatter_class': _Help, **options})
    self._words: Sequence[str] = ()

  def parse_known_args(self, args=None, namespace=None):
    """Keeps the words, and leaves the innermost parser in `parser`."""
    self._words = args or ()
    found, unknown = super().parse_known_args(args, namespace)
    found.parser = getattr(found, 'parser', self)
    return found, unknown

  def did_you_mean(self, word: str) -> str:
    """The option that a word is nearest to, as a hint; '' where it is one."""
    name, options = word.partition('=')[0], [*self._option_string_actions]
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.8)
    is_option = name.startswith('--') and name not in options
    return f'; did you mean {near[0]}?' if is_option and near else ''

  def error(self, message: str) -> NoReturn:
    """Prints what is wrong, and which help explains it; exits with 2."""
    greedy = [
      action.option_strings[-1]
      for action in self._actions
      if action.nargs == '+' and set(action.option_strings) & set(self._words)
    ]
    if greedy and re.search(
      f'are required|({"|".join(greedy)}): invalid float', message
    ):
      message += (
        f'; after the values of {" or ".join(greedy)} put -- before the next'
        ' argument'
      )
    elif 'are required' in message:
      # Perhaps what is missing was spelt in another way.
      message += ''.join(map(self.did_you_mean, self._words))
    if self._subparsers:  # The usage is what verbs there are.
      super().error(message)
    self.exit(
      _EXIT_USER_ERROR,
      f'{self.prog}: error: {message}; {self.prog} --help explains what it'
      ' takes\n',
    )


def parser() -> argparse.ArgumentParser:
  """The whole command line."""
  top = _Parser(
    prog='v2meow', description='Music for a video, stage by stage, on JAX.'
  )
  top.add_argument(
    '--version', action='version', version=v2meow_jax.__version__
  )
  verbs = top.add_subparsers(dest='verb', required=True)
  for name, (module, text) in _VERBS.items():
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(run=module.run)
    module.add_arguments(verb)
  return top


def _insist(lost) -> None:
  """Raises a Ctrl-C again that came inside a callback, where it is dropped."""
  if not isinstance(lost.exc_value, KeyboardInterrupt):
    sys.__unraisablehook__(lost)
    return
  threading.Timer(_INSIST_SECONDS, signal.raise_signal, [signal.SIGINT]).start()


def _without_device(error: Exception) -> ValueError:
  """What to do when JAX finds no device; raises any other error again."""
  *_, (frame, _) = traceback.walk_tb(error.__traceback__)
  platforms = os.environ.get('JAX_PLATFORMS')
  if not platforms or not frame.f_code.co_filename.endswith('xla_bridge.py'):
    raise error
  return ValueError(
    f'JAX_PLATFORMS is {platforms!r}, and JAX finds no such device here; unset'
    ' it, set it to cpu, or install the jax of that platform (v2meow doctor).'
  )


def _of_recipe(error: TypeError) -> ValueError:
  """Names the function whose value in a recipe is of another type."""
  function = re.search(r"In call to configurable '(\w+)'", str(error))
  if function is None:
    raise error
  message = str(error).partition('\n')[0]
  return ValueError(
    f'a value that the recipes give {function[1]} has the wrong type: {message}'
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command; returns 0, 2 for a user's error, 130 for Ctrl-C.

  When a reader of its output leaves, such as `head`, it returns 141. `train` and
  `batch` also return 75 when they were asked to stop and have saved (start them
  again), `train` 66 when too many steps in a row were skipped (look at the
  data), and `batch` 3 when some items failed.
  """
  sys.unraisablehook = _insist
  try:
    given = list(sys.argv[1:] if argv is None else argv)
    args = _parsed(batch.completed(given))
    code = args.run(args) or 0
    sys.stdout.flush()
    return code
  except BrokenPipeError:
    # `| head` is done; at exit Python would try to write the rest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _EXIT_PIPE
  except _USER_ERRORS as e:
    if isinstance(e, AssertionError | RuntimeError):
      e = _without_device(e)
    elif isinstance(e, TypeError):
      e = _of_recipe(e)
    message = ' '.join(str(e).split()).partition(' In call to config')[0]
    # Also when gin reports it: recipes import what only training needs.
    if 'No module named' in message:
      message += f'{_MISSING} {v2meow_jax.extra_command("train")}'
    print(f'v2meow: error: {message}', file=sys.stderr)
    return _EXIT_USER_ERROR
  except KeyboardInterrupt:
    print('v2meow: interrupted', file=sys.stderr)
    return _EXIT_INTERRUPTED
  except Exception as e:
    from v2meow_jax.files import paths  # pylint: disable=g-import-not-at-top

    if not paths.is_of_storage(e):
      raise
    message = ' '.join(str(e).split())
    print(f'v2meow: error: the bucket refused: {message}', file=sys.stderr)
    return _EXIT_USER_ERROR


def _parsed(given: list[str]) -> argparse.Namespace:
  """The arguments of a command line, with bindings of gin and Beam's options."""
  top = parser()
  end = len(given)
  if '--' in given and _is_of_beam(given[: given.index('--')]):
    # What follows -- is Beam's; argparse would mix it with our own.
    end = given.index('--')
  args, unknown = top.parse_known_args(given[:end])
  args.beam_options = given[end + 1 :]
  args.gin_bindings = [
    u.removeprefix('--gin.') for u in unknown if u.startswith('--gin.')
  ]
  strange = [u for u in unknown if not u.startswith('--gin.')]
  if args.gin_bindings and not getattr(args, 'takes_gin_bindings', False):
    strange = unknown
  if strange:
    args.parser.error(
      f'unrecognized arguments: {" ".join(strange)}'
      + args.parser.did_you_mean(strange[0])
    )
  return args


def _is_of_beam(words: Sequence[str]) -> bool:
  """Whether Beam runs the command that begins so.

  >>> _is_of_beam(['data', 'prepare', 'clips.jsonl'])
  True
  >>> _is_of_beam(['batch', 'run', 'clips.jsonl', '--engine', 'beam'])
  True
  >>> _is_of_beam(['batch', 'run', '--temperature', '1', '0.5'])
  False
  """
  if words[:1] == ['batch']:
    return re.search(r' --engine[ =]beam\b', ' '.join(words)) is not None
  return words[:2] == ['data', 'prepare']


def run() -> NoReturn:
  """Runs a command as the console script: its process ends here."""
  verb = ''.join(sys.argv[1:2])
  if verb in _SAVING:
    ending.ask_to_start_again()
  terminal.prepare()
  if verb in _LOOKING:
    ending.end_when_interrupted()
  ending.run(main)


if __name__ == '__main__':
  run()
