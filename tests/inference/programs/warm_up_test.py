"""Programs are made ready beside other work, which they cannot disturb."""

import threading

import pytest

from v2meow_jax.inference.programs import warm_up

SECONDS = 60  # Of waiting for what comes at once.


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
  monkeypatch.setattr(warm_up, '_MAX_THREADS', 1)


def test_calls_begin_in_order_while_the_block_runs():
  begun, is_last = [], threading.Event()
  calls = [lambda n=n: begun.append(n) for n in range(5)]
  with warm_up.ahead([*calls, is_last.set]):
    assert is_last.wait(SECONDS)
  assert begun == [0, 1, 2, 3, 4]


def test_calls_that_are_left_over_run_after_the_block():
  may_go, is_done = threading.Event(), threading.Event()
  with warm_up.ahead([lambda: may_go.wait(SECONDS), is_done.set]):
    pass
  assert not is_done.is_set()
  may_go.set()
  assert is_done.wait(SECONDS)


def test_an_error_of_a_call_reaches_neither_the_block_nor_the_next_call():
  is_next = threading.Event()
  with warm_up.ahead([lambda: 1 / 0, is_next.set]):
    assert is_next.wait(SECONDS)


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_of_the_block_cancels_the_calls_that_have_not_begun(error):
  has_begun, may_go, begun = threading.Event(), threading.Event(), []
  threads = []

  def first():
    threads.append(threading.current_thread())
    has_begun.set()
    may_go.wait(SECONDS)

  with pytest.raises(error):
    with warm_up.ahead([first, lambda: begun.append('second')]):
      assert has_begun.wait(SECONDS)
      raise error
  may_go.set()
  threads[0].join(SECONDS)
  assert not threads[0].is_alive() and not begun
