"""How large the network's input should be, judged on good images only (`fit --image-size auto`).

Sizes are tried from the smallest up, on good images that are held out and on simulated defects upon
them. A size is taken while it finds more of them than the last one taken, by a fiftieth of all and
by one standard error: the cheapest size from which a larger one brings nothing that can be told
from chance. Whether that agrees with labels is measured in docs/misses.md.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from anomalib_lite.data.grouping import AUTO
from anomalib_lite.detector.detector import Detector
from anomalib_lite.detector.independence import GroupBy
from anomalib_lite.edge.errors import AnomalibLiteError, FitError, SettingsError
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.sources import Source
from anomalib_lite.scorers import Progress
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.tuning.exported import Judge, JudgedFile
from anomalib_lite.tuning.good_frames import (
    GoodFrames,
    look_at_sizes,
    of_reference,
    read_good_frames,
)
from anomalib_lite.tuning.held_out import MOST_HELD_OUT
from anomalib_lite.tuning.judging import Judgement, standard_error
from anomalib_lite.tuning.latency import frame_ms
from anomalib_lite.tuning.sizes import candidates, cell_px, shown

_FITTED = 100
_LEAST_GAIN = 0.02
_SIZES = 2.0  # defects are drawn from the smallest that must be found to so many times it

SpecAt = Callable[[tuple[int, int]], InputSpec]
MakeDetector = Callable[[InputSpec], Detector]


@dataclass(frozen=True, eq=False)
class TriedSize:
    """One input size.

    Attributes:
        size_hw: height and width, pixels.
        cell_px: side of a cell of the finest layer, pixels of the photograph, the longer one.
        judgement: what it finds.
        ms: a prepared frame in the exported file.
    """

    size_hw: tuple[int, int]
    cell_px: float
    judgement: Judgement
    ms: float = math.nan


@dataclass(frozen=True, eq=False)
class SizeChoice:
    """The chosen size and why.

    Attributes:
        size_hw: height and width, pixels.
        tried: sizes in the order of trying.
        too_coarse: sizes that were left out, because a cell is larger than the smallest defect.
        failed: size -> why it could not be tried.
        frame_hw: size of the photographs.
        smallest_px: smallest defect that must be found, pixels of the photograph; None: not said.
        images: good images that were looked at.
    """

    size_hw: tuple[int, int]
    tried: tuple[TriedSize, ...]
    too_coarse: tuple[tuple[int, int], ...]
    failed: dict[tuple[int, int], str]
    frame_hw: tuple[int, int]
    smallest_px: float | None
    images: int
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> TriedSize:
        """The size that was taken, with its figures."""
        return next(item for item in self.tried if item.size_hw == self.size_hw)

    def explain(self) -> list[str]:
        """The reasons in words, a line each."""
        lines = [
            f"{shown(item.size_hw)}: finds {item.judgement.found:.1%} of {self._which()}, "
            f"{item.ms:.1f} ms a frame; a cell is {item.cell_px:.1f} pixels of the frame"
            for item in self.tried
        ]
        lines += [
            f"{shown(size)}: left out, a cell is larger than the smallest defect"
            for size in self.too_coarse
        ]
        lines += [f"{shown(size)}: could not be tried: {why}" for size, why in self.failed.items()]
        best = self.chosen
        lines.append(
            f"image size {shown(self.size_hw)}, chosen from {self.images} good images of "
            f"{shown(self.frame_hw)}: {best.ms:.1f} ms a frame, sees what is larger than about "
            f"{math.ceil(best.cell_px)} pixels"
        )
        return lines

    def _which(self) -> str:
        if self.smallest_px is None:
            return "simulated defects"
        low, high = self.smallest_px, _SIZES * self.smallest_px
        return f"simulated defects of {low:.4g} to {high:.4g} pixels"


def choose_image_size(
    source: Source,
    make: MakeDetector,
    spec_at: SpecAt,
    *,
    smallest_px: float | None = None,
    sizes: list[tuple[int, int]] | None = None,
    group_by: GroupBy = AUTO,
    seed: int = 0,
    fitted: int = _FITTED,
    progress: Progress = no_progress,
) -> SizeChoice:
    """Choose the network's input size on at most 164 good images; labels are never looked at.

    Args:
        source: good images.
        make: gives an unfitted detector, calibrated by hold-out, for a preparation.
        spec_at: the preparation at a size.
        smallest_px: diameter of the smallest defect that must be found, pixels of the photograph;
            defects are then simulated up to twice that size. None simulates 4 to 40 % of the
            shorter side.
        sizes: what is tried; None takes `candidates`.
        group_by: which images show one part.
        seed: draws the split and the defects.
        fitted: images for a fit; up to 64 more are held out.
        progress: called with stage, sizes done, sizes in total.

    Raises:
        SettingsError: the smallest defect is smaller than a cell at every size.
        FitError: fewer than 5 usable images, or no size can be tried.
    """
    frame_hw, same_aspect = look_at_sizes(source)
    sizes = sizes or candidates(frame_hw, same_aspect=same_aspect)
    made, failed = _made(sizes, make, spec_at)
    fine, coarse = _fine_enough(made, frame_hw, smallest_px)
    largest = max(fine, key=lambda size: size[0] * size[1])
    good = read_good_frames(
        source, spec_at(largest), most=fitted + MOST_HELD_OUT, group_by=group_by
    )
    judge = Judge(good, seed, spec_at(largest).roi, _diameters(good, smallest_px))
    judged: dict[tuple[int, int], JudgedFile] = {}
    with tempfile.TemporaryDirectory(prefix="anomalib-lite-") as folder:
        size_hw: tuple[int, int] | None = None
        for number, size in enumerate(fine):
            progress("judging image sizes", number, len(fine))
            try:
                judged[size] = judge(fine[size], fitted, Path(folder) / f"{shown(size)}.onnx")
            except (AnomalibLiteError, MemoryError, RuntimeError) as error:
                failed[size] = str(error)
                continue
            if size_hw and not gains(judged[size_hw].judgement, judged[size].judgement):
                break
            size_hw = size
        progress("judging image sizes", len(fine), len(fine))
        if size_hw is None:
            raise FitError(f"no image size can be tried: {next(iter(failed.values()))}")
        times = frame_ms({size: found.model for size, found in judged.items()})
    tried = tuple(
        TriedSize(size, cell_px(fine[size], frame_hw), found.judgement, times[size])
        for size, found in judged.items()
    )
    return SizeChoice(
        size_hw, tried, tuple(coarse), failed, frame_hw, smallest_px, len(good), good.skipped
    )


def _diameters(good: GoodFrames, smallest_px: float | None) -> tuple[float, float] | None:
    """Of the defects to simulate, pixels of a reference frame."""
    if smallest_px is None:
        return None
    smallest = smallest_px * good.scale
    return smallest, _SIZES * smallest


def gains(before: Judgement, after: Judgement) -> bool:
    """Whether a larger size finds more, by a fiftieth and by one standard error."""
    return after.found - before.found > max(_LEAST_GAIN, standard_error(after, before))


def _made(
    sizes: list[tuple[int, int]], make: MakeDetector, spec_at: SpecAt
) -> tuple[dict[tuple[int, int], Detector], dict[tuple[int, int], str]]:
    """Unfitted detectors; a backbone may refuse some sizes."""
    made: dict[tuple[int, int], Detector] = {}
    failed: dict[tuple[int, int], str] = {}
    for size in sizes:
        try:
            made[size] = make(of_reference(spec_at(size)))
        except SettingsError as error:
            failed[size] = str(error)
    if not made:
        raise SettingsError(next(iter(failed.values())))
    return made, failed


def _fine_enough(
    made: dict[tuple[int, int], Detector], frame_hw: tuple[int, int], smallest_px: float | None
) -> tuple[dict[tuple[int, int], Detector], list[tuple[int, int]]]:
    """Sizes at which the smallest defect fills a cell, and the others."""
    if smallest_px is None:
        return made, []
    cells = {size: cell_px(detector, frame_hw) for size, detector in made.items()}
    fine = {size: made[size] for size, cell in cells.items() if cell <= smallest_px}
    if not fine:
        size, cell = min(cells.items(), key=lambda item: item[1])
        raise SettingsError(
            f"a defect of {smallest_px:.4g} pixels is smaller than a cell of the network, "
            f"{cell:.1f} pixels of the {shown(frame_hw)} frame at {shown(size)}; photograph or cut "
            "out a smaller field, or name a larger --smallest-defect or --image-size"
        )
    return fine, [size for size in made if size not in fine]
