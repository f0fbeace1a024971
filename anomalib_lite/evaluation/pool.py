"""Figures of a pool whose labels are known. Labels only measure: the scores never see them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from anomalib_lite.data.adapters import Dataset
from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import SourceError
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.evaluation.maps import MapStore, TestFrame
from anomalib_lite.evaluation.measure import Measured, measure


def pool_of(dataset: Dataset) -> list[Sample]:
    """The test images of a data set of one category: the pool of the paper's protocol.

    Raises:
        SourceError: several categories, or no test image.
    """
    if len(dataset.categories) != 1:
        shown = ", ".join(dataset.categories[:6])
        raise SourceError(f"{dataset.root}: name one category ({shown}) as kind:path:category")
    samples = dataset.samples("test")
    if not samples:
        raise SourceError(f"{dataset.root}: has no test image to judge")
    return samples


class PoolMeasure:
    """Collects scored frames with their labels, then measures them as an evaluation does.

    Args:
        dataset: where the samples come from.
        samples: the pool, in the order of the frames.
        spec: the input declaration.
        folder: for the maps meanwhile.
    """

    def __init__(
        self, dataset: Dataset, samples: list[Sample], spec: InputSpec, folder: Path
    ) -> None:
        self._dataset, self._samples, self._spec = dataset, samples, spec
        self._frames: list[TestFrame] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._store = MapStore(folder)

    def __enter__(self) -> PoolMeasure:
        self._store.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._store.__exit__(kind, error, trace)

    def add(self, position: int, item: ScoredFrame) -> None:
        """Take the result of one frame."""
        result, sample = item.prediction, self._samples[position]
        if result is None:
            return
        number = self._store.append(result.network_map)
        outcome = (result.score, result.p_value, result.is_anomalous)
        self._frames.append(TestFrame(number, item.name, sample, result.frame_hw, *outcome))

    def figures(self) -> dict[str, Any]:
        """Metrics, reasons and remarks, as in an evaluation, and for LOCO those of each family."""
        source = next(iter(self._dataset.sources.values()))
        measured = Measured(self._dataset.kind, source, self._frames, self._store, self._spec)
        overall, families = measure(measured)
        figures = {**overall.to_dict(), "unusable_masks": measured.unusable_masks}
        if families:
            figures["families"] = {name: part.to_dict() for name, part in families.items()}
        return figures
