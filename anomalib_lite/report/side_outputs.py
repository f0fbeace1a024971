"""What is drawn beside the results: a picture that cannot be written never stops the judging."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.edge.runs.stale_outputs import draft_folder
from anomalib_lite.report.heatmaps import tells_its_frame, write_heatmap

if TYPE_CHECKING:
    from anomalib_lite.detector.explainer import Explainer
    from anomalib_lite.edge.calibration import Calibration
    from anomalib_lite.report.explain import PairPicture

_LOST = (AnomalibLiteError, OSError, MemoryError, cv2.error)


class SideOutputs:
    """Heat maps and explanations of a run, and a count of what could not be written.

    Pictures are drafts until `edge.runs.stale_outputs.take_drafts`.

    Args:
        out: folder of the run.
        source_name: what is read; names of pictures are frames' paths below it.
        calibration: colours of heat maps.
        heatmaps: whether they are drawn.
        explainer: finds reasons for rejected frames, or None.

    Attributes:
        failed: how many outputs were lost.
        first: why the first one was.
    """

    def __init__(
        self,
        out: Path,
        source_name: str,
        calibration: Calibration,
        *,
        heatmaps: bool,
        explainer: Explainer | None = None,
    ) -> None:
        self.out, self.source_name, self.calibration = out, source_name, calibration
        self.heatmaps, self.explainer = heatmaps, explainer
        self.failed, self.first = 0, ""

    def of(self, item: ScoredFrame) -> tuple[dict[str, Any], list[PairPicture]]:
        """Draw a frame's pictures; what its line says of them, and the pairs for the report."""
        line: dict[str, Any] = {}
        pairs: list[PairPicture] = []
        if self.explainer is not None:
            line["explanations"] = []
            lost = self.attempt(lambda: line.update(explanations=self._explain(item, pairs)))
            line |= {"explanations_error": lost} if lost else {}
        if self.heatmaps and item.prediction is not None and item.frame is not None:
            lost = self.attempt(lambda: line.update(self._heatmap(item)))
            line |= {"heatmap_error": lost} if lost else {}
        return line, pairs

    def attempt(self, work: Callable[[], object]) -> str:
        """Do what may fail; why it did, or an empty string."""
        try:
            work()
        except _LOST as error:
            reason = str(error) or type(error).__name__
            self.failed += 1
            self.first = self.first or reason
            return reason
        return ""

    def explain(self) -> str:
        """One line about what was lost, or an empty string."""
        if not self.failed:
            return ""
        things = "picture or report" if self.failed == 1 else "pictures or reports"
        return (
            f"{self.failed} {things} could not be written, every frame was judged all the same; "
            f"the first: {self.first}"
        )

    def _heatmap(self, item: ScoredFrame) -> dict[str, str]:
        """Draw it; where its name is not simply the frame's, the line has to tell it."""
        folder = draft_folder(self.out, "heatmaps")
        path = write_heatmap(folder, item, self.calibration, self.source_name)
        told = tells_its_frame(path.stem, item.name, self.source_name)
        return {} if told else {"heatmap": f"heatmaps/{path.name}"}

    def _explain(self, item: ScoredFrame, pairs: list[PairPicture]) -> list[dict[str, Any]]:
        """What `results.jsonl` says of a rejected frame; pictures are written to the folder."""
        from anomalib_lite.report.explain import draw_pair, write_pairs

        if item.frame is None or item.prediction is None or not item.prediction.is_anomalous:
            return []
        assert self.explainer is not None
        found = self.explainer.explain(item.frame, item.prediction)
        depth = item.prediction.spec.bit_depth
        pairs += [draw_pair(evidence, item.frame, depth) for evidence in found]
        folder = draft_folder(self.out, "explanations")
        paths = write_pairs(folder, item, pairs, self.source_name)
        return [
            {
                **evidence.to_dict(item.prediction.frame_hw),
                "picture": f"explanations/{path.name}",
            }
            for evidence, path in zip(found, paths, strict=True)
        ]
