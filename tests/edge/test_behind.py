"""Work that follows behind: in order, bounded, nothing lost, errors handed back."""

import signal
import threading
import time

import pytest

from anomalib_lite.edge.runs.behind import Behind


def feed(work, items, most, after=lambda: None, pause_s=0.0):
    with Behind(work, most=most) as writer:
        for item in items:
            writer.put(item)
            time.sleep(pause_s)
        after()


@pytest.mark.parametrize("most", [0, 1, 4])
def test_items_are_worked_on_in_order(most):
    done = []
    with Behind(done.append, most=most) as writer:
        for item in range(50):
            writer.put(item)
    assert done == list(range(50))


def test_work_is_done_beside_the_caller():
    release, done = threading.Event(), []

    def work(item):
        release.wait(5)
        done.append(item)

    with Behind(work, most=2) as writer:
        writer.put(0)
        writer.put(1)
        assert done == []
        release.set()
    assert done == [0, 1]


def test_no_more_than_so_many_wait():
    gate, done, put = threading.Semaphore(0), [], []

    def work(item):
        gate.acquire()
        done.append(item)

    def feed():
        with Behind(work, most=2) as writer:
            for item in range(10):
                writer.put(item)
                put.append(item)

    feeder = threading.Thread(target=feed)
    feeder.start()
    for finished in range(10):
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline and len(put) < finished + 3:
            time.sleep(0.001)
        assert len(put) - len(done) <= 3  # one in hand, two that wait
        gate.release()
    feeder.join(5)
    assert done == list(range(10))


@pytest.mark.parametrize("most", [0, 1, 4])
def test_an_error_of_the_work_is_the_callers(most):
    done, fault = [], OSError("full")

    def work(item):
        if item == 3:
            raise fault
        done.append(item)

    with pytest.raises(OSError, match="full") as told:
        feed(work, range(100), most, pause_s=0.001)
    assert told.value is fault
    assert done == [0, 1, 2]


def test_what_was_put_is_done_before_an_error_of_the_caller_leaves():
    done = []

    def work(item):
        time.sleep(0.005)
        done.append(item)

    with pytest.raises(KeyError):
        feed(work, range(6), 4, after={}.popitem)
    assert done == list(range(6))


@pytest.mark.parametrize("when", ["while there is no room", "at the end"])
def test_a_signal_loses_nothing_that_was_put(when):
    done, handed = [], []
    items = range(1000) if when == "while there is no room" else range(4)

    def counted():
        for item in items:
            handed.append(item)
            yield item

    def work(item):
        time.sleep(0.02 if len(items) > 4 else 0.1)
        done.append(item)

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.15)
        with pytest.raises(KeyboardInterrupt):
            feed(work, counted(), 1 if len(items) > 4 else 4)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # The last one was on its way when the signal came: handed over or not yet.
    assert done in (handed, handed[:-1])
    assert len(done) > 1
