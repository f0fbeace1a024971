"""Ctrl-C and SIGTERM: the first is a question or an end in order, the second an end at once."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from anomalib_lite.system.interrupts import STOPPING, stop_on_interrupt, uninterrupted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
SIGNALS = pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)


class StoppedError(Exception):
    """What the handler of this test raises."""


@pytest.fixture(autouse=True)
def handlers():
    """Signals raise `StoppedError` here, and pytest's own handlers come back."""

    def stop(number, frame):
        raise StoppedError(number)

    before = {number: signal.signal(number, stop) for number in STOPPING}
    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


@SIGNALS
def test_the_first_is_a_question_and_the_next_acts_as_before(number, handlers):
    with stop_on_interrupt() as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked()
        with pytest.raises(StoppedError):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is handlers


@SIGNALS
def test_one_kind_of_signal_after_the_other_counts_as_the_second(number, handlers):
    (other,) = set(STOPPING) - {number}
    with stop_on_interrupt() as asked:
        os.kill(os.getpid(), number)
        assert asked()
        with pytest.raises(StoppedError):
            os.kill(os.getpid(), other)


def test_who_does_not_want_to_be_asked_is_stopped(handlers):
    with stop_on_interrupt(wanted=False) as asked:
        with pytest.raises(StoppedError):
            os.kill(os.getpid(), signal.SIGTERM)
        assert not asked()


@SIGNALS
def test_a_few_writes_finish_before_a_signal_acts(number, handlers):
    done = []

    def write():
        with uninterrupted():
            os.kill(os.getpid(), number)
            done.append("first")
            done.append("second")
        done.append("never")

    with pytest.raises(StoppedError):
        write()
    assert done == ["first", "second"]
    assert signal.getsignal(number) is handlers


def test_a_signal_is_not_lost_when_the_writes_fail(handlers):
    def fail():
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            raise OSError("disk full")

    with pytest.raises(StoppedError):
        fail()


def test_other_threads_neither_receive_nor_set_handlers(handlers):
    found = []

    def work():
        with stop_on_interrupt() as asked, uninterrupted():
            found.append((asked(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, handlers)]


PROGRAM = """
import os, signal, sys, time
from anomalib_lite.cli.signals import ended_by_signals, ending
with ended_by_signals() as received:
    try:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(5)
    except KeyboardInterrupt:
        print("tidies up", flush=True)
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))  # the same one, from a wrapper
        time.sleep(0.3)
        for again in sys.argv[2:]:
            os.kill(os.getpid(), getattr(signal, again))
        print("tidy", flush=True)
sys.exit(ending(received))
"""


@pytest.mark.parametrize(
    ("signals", "status", "said"),
    [
        (["SIGINT"], 130, "tidies up\ntidy\n"),
        (["SIGTERM"], 143, "tidies up\ntidy\n"),
        (["SIGINT", "SIGINT"], 130, "tidies up\n"),
        (["SIGTERM", "SIGTERM"], 143, "tidies up\n"),
        (["SIGINT", "SIGTERM"], 143, "tidies up\n"),
    ],
)
def test_a_command_ends_in_order_and_at_the_second_signal_at_once(signals, status, said):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *signals], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, said, "")
