"""A request to stop, as signal handlers make it."""

import signal
import threading
import time

from streamfleet_panel.stopping import StopRequest


def test_whoever_waits_is_woken_and_the_request_stays() -> None:
    stop = StopRequest()
    assert not stop.wait(0)
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    assert stop.wait(20)
    assert time.monotonic() - began < 10
    assert stop.is_set()
    assert stop.wait(20)


def test_a_signal_at_any_moment_of_a_wait_is_heard() -> None:
    """A signal into each of many short waits: with a lock in between, one of them would wait for itself."""
    before = signal.getsignal(signal.SIGALRM)
    try:
        for turn in range(1, 500):
            stop = StopRequest()
            signal.signal(signal.SIGALRM, stop.set)
            signal.setitimer(signal.ITIMER_REAL, turn * 1e-6)
            while not stop.wait(0.001):
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
