"""How a run of `score` ends: report and record, whatever ended it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalib_lite.cli.results_file import Results
from anomalib_lite.cli.run_file import ending_of
from anomalib_lite.edge.prediction import Prediction, Region
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.runs.run_record import RunRecord
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.report.side_outputs import SideOutputs

if TYPE_CHECKING:
    from anomalib_lite.report.explain import PairPicture
    from anomalib_lite.report.production import ProductionReport


class RunEnding:
    """Fills the report while frames come; called at the end, writes `report.html` and `run.json`.

    Args:
        folder: of the run.
        record: of the run.
        page: the report, or None.
        side: counts what could not be written.
    """

    def __init__(
        self, folder: Path, record: RunRecord, page: ProductionReport | None, side: SideOutputs
    ) -> None:
        self.folder, self.record, self.page, self.side = folder, record, page, side

    def report(self, item: ScoredFrame, pairs: Sequence[PairPicture] = ()) -> None:
        """Take a frame into the report, if there is one."""
        page = self.page
        if page is not None:
            self.side.attempt(lambda: page.add(item, pairs))

    def replay(self, results: Results, spec: InputSpec) -> list[str]:
        """Count and report what an interrupted run had judged; the names of its frames.

        Their pictures are gone with that run: the report names them only.
        """
        names = []
        for line in results.earlier():
            item = _from_line(line, spec)
            names.append(item.name)
            self.record.count(item)
            self.report(item)
        return names

    def __call__(self, error: BaseException | None) -> None:
        page = self.page
        if page is not None:
            from anomalib_lite.report.production_page import write_production

            self.side.attempt(lambda: write_production(page, self.folder / "report.html"))
        self.record.write(self.folder, *ending_of(error, self.record, self.side.failed))


def _from_line(line: dict[str, Any], spec: InputSpec) -> ScoredFrame:
    """What a line of `results.jsonl` still tells of its frame; no map, no picture."""
    if "score" not in line:
        return ScoredFrame(line["frame"], None, None, line.get("error", ""))
    prediction = Prediction(
        score=line["score"],
        p_value=line["p_value"],
        is_anomalous=line["is_anomalous"],
        regions=tuple(Region(**region) for region in line["regions"]),
        network_map=np.zeros((1, 1), np.float32),
        frame_hw=(1, 1),
        spec=spec,
    )
    return ScoredFrame(line["frame"], None, prediction)
