"""Ends work at each of its writes in turn, as a kill would."""

from contextlib import contextmanager

from anomalib_lite.edge import files
from anomalib_lite.system import spill


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@contextmanager
def killed_at(monkeypatch, number, *, rows=False):
    """Die right after write `number` (from 1): files that replace others, or rows of stores.

    Of the last rows only the first half gets to the disk.
    """
    done = 0

    def replace_and_die(source, target):
        replace(source, target)
        count()

    def write_and_die(file, data):
        write(file, data[: len(data) // 2] if done + 1 == number else data)
        count()

    def count():
        nonlocal done
        done += 1
        if done == number:
            raise Killed

    with monkeypatch.context() as patched:
        replace, write = files.os.replace, spill._write_all
        if rows:
            patched.setattr(spill, "_write_all", write_and_die)
        else:
            patched.setattr(files.os, "replace", replace_and_die)
        yield


def at_each_write(monkeypatch, begin, go_on, *, rows=False, every=1):
    """Begin afresh and kill at the first write, the second, ...; go on after each kill.

    Args:
        monkeypatch: pytest's.
        begin: called with the number of the write; begins the work anew.
        go_on: called with the same number after the kill; resumes it and checks what comes out.
        rows: kill at rows of stores instead of whole files.
        every: numbers in between that are left out.

    Returns:
        How often the work was killed.
    """
    kills = 0
    while True:
        number = 1 + every * kills
        try:
            with killed_at(monkeypatch, number, rows=rows):
                begin(number)
        except Killed:
            kills += 1
            go_on(number)
        else:
            return kills
