"""`results.jsonl` in the making: one owner, whole lines, replaced when the run deserves it.

Lines go to `results.jsonl.part`, pictures to `heatmaps.part`. They take the place of what is there
when all frames were seen, or when the run was stopped; a run that fails leaves the results of an
earlier one as they are.
Until all frames were seen, `.resume.json` says what the run is, so that another can go on with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from anomalib_lite.edge.errors import AnomalibLiteError, SettingsError
from anomalib_lite.edge.files import cannot_write, replace_durably, write_bytes_atomic
from anomalib_lite.edge.runs.ownership import owned
from anomalib_lite.edge.runs.stale_outputs import (
    outputs_of_earlier_runs,
    remove_drafts,
    remove_stale,
    take_drafts,
)
from anomalib_lite.system.interrupts import uninterrupted

RESULTS, PART, RESUME = "results.jsonl", "results.jsonl.part", ".resume.json"


class Results:
    """The lines of a run, those of the run that it goes on with included.

    Args:
        folder: exists, and is owned.
        identity: what must agree for a run to be continued, plain JSON types.
        resume: go on with the run that was interrupted here, if there is one.
        batch: lines are kept in whole batches, so that the rest is computed as it would have been.

    Attributes:
        kept: number of lines that were there.

    Raises:
        SettingsError: another run was interrupted here, or its lines are damaged.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], *, resume: bool, batch: int
    ) -> None:
        self.final, self.part = folder / RESULTS, folder / PART
        self._resume = folder / RESUME
        self._earlier = outputs_of_earlier_runs(folder, self._resume)
        self.lines = self.kept = 0
        self.whole = 0
        self.full: OSError | None = None
        start = self._found(json.loads(json.dumps(identity))) if resume else None
        self.others = self.final.is_file() and start is None
        data = b"" if start is None else self._whole_batches(start, batch)
        if start != self.part:
            write_bytes_atomic(self.part, data)
        if start is None:
            remove_drafts(folder)
            write_bytes_atomic(self._resume, json.dumps(identity).encode())
        # A run that goes on with another keeps its pictures: they are younger than this file.
        self._since_ns = self._resume.stat().st_mtime_ns
        self._handle = os.open(self.part, os.O_RDWR)
        self.whole = os.lseek(self._handle, len(data), os.SEEK_SET)
        os.ftruncate(self._handle, self.whole)

    def earlier(self) -> Iterator[dict[str, Any]]:
        """The lines that were there, in order."""
        with self.part.open("rb") as stream:
            for _ in range(self.kept):
                yield json.loads(stream.readline())

    def write(self, line: dict[str, Any]) -> None:
        """Add a line; raises OSError when the disk is full."""
        data = memoryview(f"{json.dumps(line)}\n".encode())
        end = self.whole + len(data)
        try:
            while data:
                data = data[os.write(self._handle, data) :]
        except OSError as error:
            self.full = error
            raise
        self.whole, self.lines = end, self.lines + 1

    def replaces(self, *, failed: bool) -> bool:
        """Whether a run that broke off should take the place of what is there."""
        return not self.others or (bool(self.lines) and not failed)

    def publish(self) -> None:
        """Put whole lines in the place of `results.jsonl`; raises OSError.

        Pictures and reports of earlier runs go with their results; those of this one come.
        """
        self._close()
        replace_durably(self.part, self.final)
        remove_stale(self.final.parent, self._earlier, self._since_ns)
        take_drafts(self.final.parent)

    def keep(self) -> None:
        """Leave whole lines, if there are any, for a run that goes on."""
        self._close()
        if not self.lines:
            self.part.unlink(missing_ok=True)
            remove_drafts(self.final.parent)
            self.forget()

    def forget(self) -> None:
        """There is nothing to go on with any more."""
        self._resume.unlink(missing_ok=True)

    def _close(self) -> None:
        os.ftruncate(self._handle, self.whole)
        os.close(self._handle)

    def _found(self, identity: dict[str, Any]) -> Path | None:
        """The file with the lines of the run that was interrupted; None when there is none."""
        try:
            before = json.loads(self._resume.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{self._resume}: cannot be read ({type(error).__name__}); leave --resume out to "
                "begin anew"
            ) from error
        for name in sorted({*identity, *before}):
            if identity.get(name) != before.get(name):
                raise SettingsError(
                    f"{self._resume.parent}: was begun with another {name.replace('_', ' ')} "
                    f"({before.get(name)!r} then, {identity.get(name)!r} now); repeat the command "
                    "that was interrupted, or leave --resume out to begin anew"
                )
        return next((path for path in (self.part, self.final) if path.is_file()), None)

    def _whole_batches(self, path: Path, batch: int) -> bytes:
        """Whole lines of a file, as many as fill batches."""
        data = path.read_bytes()
        lines = data.splitlines(keepends=True)
        lines = lines[: len(lines) - (not data.endswith(b"\n"))] if lines else []
        for number, line in enumerate(lines, start=1):
            try:
                json.loads(line)["frame"]
            except (ValueError, KeyError, TypeError) as error:
                raise SettingsError(
                    f"{path}: line {number} is damaged; leave --resume out to begin anew"
                ) from error
        self.kept = self.lines = len(lines) // batch * batch
        return b"".join(lines[: self.kept])


@contextmanager
def results_file(
    folder: Path,
    identity: Mapping[str, Any],
    *,
    resume: bool,
    batch: int,
    conclude: Callable[[BaseException | None], None],
) -> Iterator[Results]:
    """Own a folder, give its results, and end them in order whatever happens.

    Args:
        folder: made if needed.
        identity: see `Results`.
        resume: see `Results`.
        batch: see `Results`.
        conclude: writes what belongs to the results once they are in place; called with what ended
            the run early, or None. Not called where the results of an earlier run stay.

    Raises:
        SettingsError: another process owns the folder, or `resume` finds another run.
        AnomalibLiteError: a line cannot be written; the message says what is whole.
    """
    with owned(folder):
        try:
            results = Results(folder, identity, resume=resume, batch=batch)
        except OSError as error:
            raise cannot_write(folder / PART, error) from error
        try:
            yield results
        except BaseException as error:
            with uninterrupted(), suppress(OSError):
                _break_off(results, conclude, error)
            if error is results.full:
                raise _full(results, results.full) from error
            raise
        with uninterrupted():
            try:
                results.publish()
            except OSError as error:
                raise _full(results, error) from error
            conclude(None)
            results.forget()


def _break_off(
    results: Results, conclude: Callable[[BaseException | None], None], error: BaseException
) -> None:
    if not results.replaces(failed=isinstance(error, Exception)):
        results.keep()
        return
    results.publish()
    if not results.lines:
        results.forget()
    with suppress(AnomalibLiteError):  # the disk may be full: the first error is told
        conclude(error)


def _full(results: Results, error: OSError) -> AnomalibLiteError:
    place = results.part if results.part.is_file() else results.final
    also = f"; {results.final} is that of an earlier run" if place == results.part else ""
    return AnomalibLiteError(
        f"cannot write {results.final}: {error.strerror or type(error).__name__}; {results.lines} "
        f"frames are judged, their lines in {place} are whole{also}; the frame after them was not "
        "written; make room and go on with --resume"
    )
