"""The search of `tune`: try a grid on few images, time its files, try the better half on more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anomalib_lite.edge.errors import FitError
from anomalib_lite.scorers import Progress
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.tuning.grid import Configuration
from anomalib_lite.tuning.halving import Standing, front, rungs, survivors
from anomalib_lite.tuning.latency import time_files
from anomalib_lite.tuning.trial_store import TrialStore
from anomalib_lite.tuning.trials import Bench, TrialRecord


@dataclass(frozen=True, eq=False)
class Entry:
    """A configuration with all that was found out about it.

    Attributes:
        configuration: what was tried.
        records: what each rung gave, in order.
        ms: milliseconds a frame by engine; an engine that cannot run it is missing.
    """

    configuration: Configuration
    records: tuple[TrialRecord, ...] = ()
    ms: dict[str, float] = field(default_factory=dict)

    @property
    def last(self) -> TrialRecord:
        """What the largest number of images gave."""
        return self.records[-1]

    @property
    def failed(self) -> str:
        """Why it is out, in words; empty for one that is not."""
        if not self.records:
            return "not tried: the time was up"
        if self.last.failed:
            return self.last.failed
        return "" if self.ms else "no engine runs its file"

    @property
    def engine(self) -> str:
        """The quickest engine."""
        return min(self.ms, key=lambda name: self.ms[name])

    @property
    def quickest_ms(self) -> float:
        """Milliseconds a frame in the quickest engine."""
        return self.ms[self.engine]

    @property
    def standing(self) -> Standing:
        """Accuracy by the last rung, and milliseconds."""
        return Standing(self.last.accuracy, self.quickest_ms)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for people and programs."""
        tried = [
            {
                "images": item.images,
                "found": item.judgement.found if item.judgement else None,
                "simulated_auroc": item.judgement.auroc if item.judgement else None,
                "labelled_auroc": item.labelled,
            }
            for item in self.records
        ]
        size = self.records[-1].size_bytes if self.records else 0
        return {
            **self.configuration.to_dict(),
            "tried": tried,
            "milliseconds": self.ms,
            "size_bytes": size,
            "failed": self.failed,
        }


@dataclass(frozen=True, eq=False)
class Tuning:
    """Outcome of a search.

    Attributes:
        entries: the grid in its order.
        budget_ms: milliseconds a frame that were allowed.
        rungs: images of each rung.
        out_of_time: whether it ended early.
    """

    entries: tuple[Entry, ...]
    budget_ms: float
    rungs: tuple[int, ...]
    out_of_time: bool = False

    @property
    def usable(self) -> list[Entry]:
        """Those that were judged and timed."""
        return [entry for entry in self.entries if not entry.failed]

    @property
    def within(self) -> list[Entry]:
        """Those within the budget, those tried on most images first, best first."""
        fit = [entry for entry in self.usable if entry.quickest_ms <= self.budget_ms]
        return sorted(
            fit,
            key=lambda entry: (-len(entry.records), -entry.standing.accuracy, entry.quickest_ms),
        )

    @property
    def best(self) -> Entry | None:
        """The one to take; None where nothing fits the budget."""
        return next(iter(self.within), None)

    @property
    def quickest(self) -> Entry:
        """The quickest of all."""
        return min(self.usable, key=lambda entry: entry.quickest_ms)

    @property
    def front(self) -> list[Entry]:
        """Those that no other beats in accuracy and milliseconds at once, quickest first.

        Within the budget those of the last rung speak; beyond it the first rung has to do.
        """
        usable = self.usable
        deepest = max((len(entry.records) for entry in self.within), default=1)
        shown = {
            number: entry.standing
            for number, entry in enumerate(usable)
            if len(entry.records) == deepest or entry.quickest_ms > self.budget_ms
        }
        return [usable[number] for number in front(shown)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as `tune.json` has them."""
        best = self.best
        return {
            "budget_ms": self.budget_ms,
            "rungs": list(self.rungs),
            "out_of_time": self.out_of_time,
            "chosen": None if best is None else {**best.to_dict(), "engine": best.engine},
            "front": [entry.configuration.key for entry in self.front],
            "trials": [entry.to_dict() for entry in self.entries],
        }


def search(
    bench: Bench,
    grid: Sequence[Configuration],
    engines: Sequence[str],
    store: TrialStore,
    *,
    budget_ms: float,
    until: float = math.inf,
    threads: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: Progress = no_progress,
) -> Tuning:
    """Try a grid; what the store knows is not tried again.

    Args:
        bench: frames and how they are prepared.
        grid: what is tried.
        engines: what runs the files.
        store: of the trials.
        budget_ms: milliseconds a frame; what is slower is tried on the first rung only.
        until: when to start no more trials, by `clock`.
        threads: inside one inference.
        clock: seconds.
        progress: called with stage, trials done, trials in total.

    Raises:
        FitError: no configuration could be tried at all.
    """
    images = rungs(len(bench.good))
    run = _Run(bench, store, {item: [] for item in grid}, lambda: clock() > until, progress)
    times: dict[Configuration, dict[str, float]] = {}
    going = list(grid)
    for rung, count in enumerate(images):
        run.climb(going, rung, count)
        if rung == 0:
            times = _timed(store, run, engines, threads)
        standings = run.standings(going, rung, times)
        fit = {item: stood for item, stood in standings.items() if stood.ms <= budget_ms}
        if run.out_of_time or len(fit) < 2:
            break
        going = survivors(fit)
    entries = tuple(Entry(item, tuple(run.found[item]), times.get(item, {})) for item in grid)
    tuning = Tuning(entries, budget_ms, tuple(images), run.out_of_time)
    if not tuning.usable:
        raise FitError(f"no trial came to an end; the first: {entries[0].failed}")
    return tuning


@dataclass(eq=False)
class _Run:
    """Trials that are under way, by configuration and rung."""

    bench: Bench
    store: TrialStore
    found: dict[Configuration, list[TrialRecord]]
    time_is_up: Callable[[], bool]
    progress: Progress
    out_of_time: bool = False

    def climb(self, going: Sequence[Configuration], rung: int, images: int) -> None:
        """Try some configurations on so many images, or read what the store knows of them."""
        stage = f"trying on {images} good images"
        for done, item in enumerate(going):
            self.progress(stage, done, len(going))
            record = self.store.known(item, rung)
            if record is None or _file_is_missing(self.store, record):
                self.out_of_time = self.out_of_time or self.time_is_up()
                if self.out_of_time:
                    continue
                record = self.bench.run(item, images, self.store.file(item))
                self.store.keep(record, rung)
                if rung:
                    self.store.file(item).unlink(missing_ok=True)
            self.found[item].append(record)
        self.progress(stage, len(going), len(going))

    def standings(
        self,
        going: Sequence[Configuration],
        rung: int,
        times: dict[Configuration, dict[str, float]],
    ) -> dict[Configuration, Standing]:
        """Of those that came to the end of a rung."""
        return {
            item: Standing(self.found[item][-1].accuracy, min(times[item].values()))
            for item in going
            if len(self.found[item]) > rung and not self.found[item][-1].failed and times.get(item)
        }


def _file_is_missing(store: TrialStore, record: TrialRecord) -> bool:
    """Whether a trial must be run again for its file, which is still to be timed."""
    if record.failed or store.milliseconds() is not None:
        return False
    return not store.file(record.configuration).is_file()


def _timed(
    store: TrialStore, run: _Run, engines: Sequence[str], threads: int | None
) -> dict[Configuration, dict[str, float]]:
    """Milliseconds by engine of everything that was tried, measured once for a folder."""
    tried = [item for item, records in run.found.items() if records and not records[0].failed]
    files = {(item.key, engine): (store.file(item), engine) for item in tried for engine in engines}
    times = store.milliseconds()
    if times is None:
        times = time_files(files, threads=threads, progress=run.progress) if files else {}
        if not run.out_of_time:  # else the others are still to be timed with them
            store.keep_milliseconds(times)
    return {
        item: {engine: times[item.key, engine] for engine in engines if (item.key, engine) in times}
        for item in tried
    }
