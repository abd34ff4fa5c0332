"""`v2meow doctor`: says what is installed and which parts work."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb: none."""
  del parser


def run(args: argparse.Namespace) -> int:
  """Checks the installation; returns the exit code."""
  from v2meow_jax import doctor  # pylint: disable=g-import-not-at-top

  del args
  return doctor.main()
