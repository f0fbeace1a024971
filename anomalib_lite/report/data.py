"""What an evaluation report shows, as plain data. Who fills it in does not matter here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Operating
from anomalib_lite.metrics import Rate, per_defect_recall
from anomalib_lite.report.pictures import Picture


@dataclass(frozen=True)
class Part:
    """One test frame and its result.

    Attributes:
        frame: its name.
        label: 1 = anomalous, 0 = good.
        defect: kind of defect, or `good`.
        score: raw image score.
        p_value: share of good frames expected to score at least this high; None if unknown.
        is_anomalous: whether it was rejected.
    """

    frame: str
    label: int
    defect: str
    score: float
    p_value: float | None
    is_anomalous: bool


@dataclass(frozen=True, eq=False)
class Example:
    """A part worth looking at.

    Attributes:
        part: frame and result.
        picture: None when it could not be made.
        outlined: whether the labelled defect is drawn over the heat map.
    """

    part: Part
    picture: Picture | None
    outlined: bool = False


@dataclass(frozen=True, eq=False)
class CurveData:
    """Points of a metric curve, `(n,)` each, y from 0 to 1."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Shift:
    """How good images score under one change of lamp, optics or pose.

    Attributes:
        change: what was changed, in words.
        spreads: median change of the score in units of the good images' spread; None if unknown.
        rejected: how many good images were rejected under it.
        images: of how many.
    """

    change: str
    spreads: float | None
    rejected: int
    images: int


@dataclass(frozen=True, eq=False)
class Run:
    """One fit and its measurement.

    Attributes:
        key: its name among the runs.
        data: data set and category.
        detector: name of the scorer.
        backbone: name of the backbone.
        seed: of the fit.
        operating: threshold and what it promises.
        parts: test frames that were scored.
        metrics: figures by name; None where one is not defined.
        compared: thresholds for the rates at which runs are compared, each with its promise.
        reasons: metric name -> why it has no value.
        remarks: metric name -> what to keep in mind when quoting it.
        unreadable: frame name -> why it has no score.
        curves: `pro` and `pimo`, where maps were measured.
        false_rejects: good parts with the highest scores, highest first.
        misses: anomalous parts with the lowest scores, lowest first.
        timing: name of a figure, ending in its unit -> value; None where it was not measured.
        shifts: behaviour under changes that need no labels; may be empty.
        provenance: how the run was made.
    """

    key: str
    data: str
    detector: str
    backbone: str
    seed: int
    operating: Operating
    parts: tuple[Part, ...]
    metrics: Mapping[str, float | None]
    compared: tuple[Operating, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, CurveData] = field(default_factory=dict)
    false_rejects: tuple[Example, ...] = ()
    misses: tuple[Example, ...] = ()
    timing: Mapping[str, float | None] = field(default_factory=dict)
    shifts: tuple[Shift, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """Detector and backbone in words."""
        return f"{self.detector} on {self.backbone}"

    @property
    def title(self) -> str:
        """Data and model in words."""
        return f"{self.data}: {self.model}"

    @cached_property
    def good(self) -> tuple[Part, ...]:
        """Good parts."""
        return tuple(part for part in self.parts if not part.label)

    @cached_property
    def anomalous(self) -> tuple[Part, ...]:
        """Parts with a defect."""
        return tuple(part for part in self.parts if part.label)

    @property
    def rejected_good(self) -> int:
        """How many good parts were rejected."""
        return sum(part.is_anomalous for part in self.good)

    @property
    def found(self) -> int:
        """How many anomalous parts were rejected."""
        return sum(part.is_anomalous for part in self.anomalous)

    @cached_property
    def recall(self) -> dict[str, Rate]:
        """Share found of each kind of defect, sorted by name; empty without defects."""
        if not self.anomalous:
            return {}
        names = [part.defect for part in self.anomalous]
        verdicts = [float(part.is_anomalous) for part in self.anomalous]
        return per_defect_recall(verdicts, names, 0.5)

    def scores(self, parts: tuple[Part, ...]) -> NDArray[np.float64]:
        """Scores of some parts `(n,)`."""
        return np.array([part.score for part in parts], np.float64)


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything in an evaluation report.

    Attributes:
        title: heading of the page.
        runs: all runs; those of one data set and model differ by seed.
        protocol: how the figures were made, one sentence an item.
        provenance: versions, hardware, command; shown as a table.
        missing: names of runs that were planned and are not finished.
    """

    title: str
    runs: tuple[Run, ...]
    protocol: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def groups(self) -> list[tuple[Run, ...]]:
        """Runs by data and model, in order of appearance; seeds ascending in each."""
        groups: dict[tuple[str, str, str], list[Run]] = {}
        for run in self.runs:
            groups.setdefault((run.data, run.detector, run.backbone), []).append(run)
        return [tuple(sorted(group, key=lambda run: run.seed)) for group in groups.values()]
