"""What a network of transformers asks for before it is loaded."""

import sys

import pytest

from v2meow_jax.pretrained.audio import mert
from v2meow_jax.pretrained.audio import w2v_bert


@pytest.mark.parametrize('load', [mert.load, w2v_bert.load])
def test_missing_libraries_say_which_extra_has_them(monkeypatch, load):
  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(ImportError, match=r"extra `hub`.*-e '\.\[hub\]'"):
    load('nowhere')
