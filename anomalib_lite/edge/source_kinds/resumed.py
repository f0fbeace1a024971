"""A source without the frames that an interrupted run has judged already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.source_kinds.jobs import Job, Source


def resumed(source: Source, names: Sequence[str]) -> Source:
    """The frames that come after those with these names.

    Raises:
        SettingsError: the source is live, and delivers other frames than those that were judged;
            or, once it is read, its first frames are not those of these names.
    """
    if not names:
        return source
    if not source.rereadable:
        raise SettingsError(
            f"{source.name}: a live source cannot be continued; leave --resume out and give "
            "another --out"
        )
    return _Resumed(source, names)


class _Resumed:
    rereadable = True

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self._source, self._names = source, names
        self.name = source.name

    def __len__(self) -> int:
        return max(0, len(self._source) - len(self._names))

    def jobs(self) -> Iterator[Job]:
        jobs = self._source.jobs()
        for number, name in enumerate(self._names, start=1):
            job = next(jobs, None)
            if job is None or job.name != name:
                found = "nothing" if job is None else job.name
                raise SettingsError(
                    f"{self.name}: frame {number} was {name} when the run was begun and is {found} "
                    "now; leave --resume out to begin anew"
                )
        yield from jobs
