"""Progress where the output is a file: plain lines every ten seconds, with the time left."""

import threading

import pytest

from anomalib_lite.cli.progress import PlainProgress, duration, progress_bar, watched


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def plain():
    clock, lines = Clock(), []
    progress = PlainProgress(lines.append, clock=clock)
    return progress, clock, lines


def test_a_line_every_ten_seconds_says_what_is_left(plain):
    progress, clock, lines = plain
    for done in range(1, 101):
        clock.now += 1
        progress.advance("fitting", done, 100)
    assert lines[0] == "fitting: 10 of 100 (10%) after 0:09, about 1:21 left"
    assert lines[-1] == "fitting: 100 of 100 (100%) after 1:39"
    assert len(lines) == 10


def test_quick_work_says_nothing(plain):
    progress, clock, lines = plain
    for done in range(50):
        clock.now += 0.1
        progress.advance("fitting", done, 50)
    assert lines == []


def test_a_step_that_takes_long_is_told_too(plain):
    progress, clock, lines = plain
    progress.look()
    progress.advance("compiling", 0, 0)
    for _ in range(25):
        clock.now += 1
        progress.look()
    assert lines == ["compiling: 0 after 0:10", "compiling: 0 after 0:20"]


def test_a_remark_may_change_within_a_stage(plain):
    progress, clock, lines = plain
    progress.advance("training | loss 2", 1, 4)
    clock.now += 10
    progress.advance("training | loss 1", 2, 4)
    assert lines == ["training | loss 1: 2 of 4 (50%) after 0:10, about 0:10 left"]


def test_lines_hold_no_control_characters(plain):
    progress, clock, lines = plain
    for done in range(5):
        clock.now += 20
        progress.advance("scoring frames", done, 4)
    assert lines
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0:00"), (9.6, "0:10"), (75, "1:15"), (3675, "1:01:15")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_a_watcher_looks_while_nothing_advances_and_ends(plain):
    progress, clock, lines = plain
    told = threading.Event()
    progress._write = lambda line: (lines.append(line), told.set())
    with watched(progress, look_s=0.001):
        progress.advance("compiling", 0, 0)
        clock.now += 11
        assert told.wait(5)
    assert lines == ["compiling: 0 after 0:11"]
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_no_bar_is_drawn_into_a_pipe(capsys):
    with progress_bar() as progress:
        for done in range(100):
            progress("fitting", done, 100)
    assert capsys.readouterr() == ("", "")
