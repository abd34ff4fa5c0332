"""Installs the package; everything it says about itself is in pyproject.toml."""

import setuptools

setuptools.setup()
