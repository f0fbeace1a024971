"""Some frames of a source, named by their places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anomalib_lite.edge.sources import Job, Source


class ChosenFrames:
    """Some frames of a source, as a source.

    Args:
        source: what to choose from.
        indices: which of its frames; they keep their order in the source.
    """

    def __init__(self, source: Source, indices: Iterable[int]) -> None:
        self._source = source
        self._chosen = frozenset(int(index) for index in indices)

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def rereadable(self) -> bool:
        return self._source.rereadable

    def __len__(self) -> int:
        return len(self._chosen)

    def jobs(self) -> Iterator[Job]:
        for index, job in enumerate(self._source.jobs()):
            if index in self._chosen:
                yield job
