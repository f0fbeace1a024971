"""How far good scores move when lamp, optics or pose change, and what that costs in false rejects.

No label beyond "good" is needed. Changes are made on the raw frame, before the preparation, as a
camera would deliver them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.frames import Frame, read_frame
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.runs.scoring import Model, score_source
from anomalib_lite.edge.sources import Job
from anomalib_lite.evaluation.operating import measured_rate
from anomalib_lite.metrics import false_reject_rate
from anomalib_lite.scorers import Progress

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]

BATCH = 16
_IQR_OF_NORMAL = 1.349


def dim_lamp(frame: Pixels) -> Pixels:
    """A lamp at 80 %: every value times 0.8."""
    return _to_8bit(frame.astype(np.float32) * 0.8)


def shift_colour(frame: Pixels) -> Pixels:
    """A warmer lamp: red times 1.1, blue times 0.9; a grey frame has no colour to shift."""
    if frame.ndim == 2:
        return frame
    return _to_8bit(frame.astype(np.float32) * np.array([1.1, 1.0, 0.9], np.float32))


def defocus(frame: Pixels) -> Pixels:
    """A lens out of focus: a disc blur, radius 1/256 of the longer side, at least 1 px."""
    radius = max(1.0, max(frame.shape[:2]) / 256)
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # One pixel wide soft edge, so that the radius need not be whole.
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0)
    blurred = cv2.filter2D(frame, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.uint8)


def shift_one_pixel(frame: Pixels) -> Pixels:
    """The part one pixel to the right; the left column is repeated."""
    return np.concatenate((frame[:, :1], frame[:, :-1]), axis=1)


def jpeg_50(frame: Pixels) -> Pixels:
    """Stored as JPEG of quality 50, chroma at half resolution, as cameras and savers do."""
    bgr = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 50])
    if frame.ndim == 2:
        return np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR_RGB), np.uint8)


def rotate_1_degree(frame: Pixels) -> Pixels:
    """Turned by 1° about the centre, counter-clockwise; the border is mirrored."""
    rows, columns = frame.shape[:2]
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), 1.0, 1.0)
    turned = cv2.warpAffine(
        frame, turn, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(turned, np.uint8)


CHANGES: dict[str, tuple[str, Change]] = {
    "dim": ("lamp at 80 %", dim_lamp),
    "colour": ("red × 1.1, blue × 0.9", shift_colour),
    "defocus": ("disc blur, radius 1/256 of the longer side", defocus),
    "pixel": ("1 pixel to the right", shift_one_pixel),
    "jpeg": ("JPEG quality 50", jpeg_50),
    "rotation": ("turned by 1°", rotate_1_degree),
}
"""Name -> what it is in words, and the change of a frame `uint8 (H, W)` or `(H, W, 3)` RGB."""


class ChangedSource:
    """Image files that pass through a change when they are read; an `edge.sources.Source`.

    Args:
        paths: the files, in order.
        spec: says whether files are turned by their EXIF tag.
        change: applied to each decoded frame; None leaves it.
    """

    rereadable = True

    def __init__(self, paths: Sequence[Path], spec: InputSpec, change: Change | None) -> None:
        self.name = "good images"
        self._paths = list(paths)
        self._spec = spec
        self._change = change

    def __len__(self) -> int:
        return len(self._paths)

    def jobs(self) -> Iterator[Job]:
        """One job a file."""
        for path in self._paths:
            yield Job(str(path), lambda path=path: self._load(path))  # type: ignore[misc]

    def _load(self, path: Path) -> Frame:
        frame = read_frame(path, exif=self._spec.exif)
        return frame if self._change is None else apply_change(frame, self._change)


def apply_change(frame: Frame, change: Change) -> Pixels:
    """Change a decoded frame; an alpha channel is dropped.

    Raises:
        FrameError: the frame is not 8-bit.
    """
    if frame.dtype != np.uint8:
        raise FrameError(f"frame is {frame.dtype}; changes are defined for 8-bit frames")
    return change(frame[:, :, :3] if frame.ndim == 3 else frame)


def measure_shift(
    model: Model, good: Sequence[Sample], progress: Progress, *, which: str
) -> dict[str, Any]:
    """Re-score good images under every change.

    Args:
        model: a fitted detector.
        good: good images that it was not fitted on.
        progress: called as the work advances.
        which: what these images are, in words.

    Returns:
        plain JSON types: `images`, `spread` (robust standard deviation of the held-out scores of
        the calibration, interquartile range / 1.349), and for each change the median of
        score − unchanged score, raw and in units of `spread`, and the false-reject rate.
    """
    spread = _spread(model.calibration.scores)
    report: dict[str, Any] = {"images": which, "spread": spread, "changes": {}}
    if not good:
        report["reason"] = "there is no good test or validation image"
        return report
    paths = [sample.path for sample in good]
    total = (len(CHANGES) + 1) * len(paths)
    unchanged = _scores(model, paths, None, progress, 0, total)
    report["unchanged"] = _rates(unchanged, model.calibration.threshold)
    for number, (name, (words, change)) in enumerate(CHANGES.items(), 1):
        changed = _scores(model, paths, change, progress, number * len(paths), total)
        moved = [changed[path] - score for path, score in unchanged.items() if path in changed]
        median = float(np.median(moved)) if moved else None
        report["changes"][name] = {
            "change": words,
            "median_score_change": median,
            "median_change_in_spreads": None if median is None or not spread else median / spread,
            **_rates(changed, model.calibration.threshold),
        }
    return report


def _scores(
    model: Model,
    paths: Sequence[Path],
    change: Change | None,
    progress: Progress,
    before: int,
    total: int,
) -> dict[str, float]:
    """File name -> score, of the frames that can be used."""
    scores = {}
    source = ChangedSource(paths, model.spec, change)
    for done, item in enumerate(score_source(model, source, batch=BATCH), before + 1):
        if item.prediction is not None:
            scores[item.name] = item.prediction.score
        progress("re-scoring under shift", done, total)
    return scores


def _rates(scores: dict[str, float], threshold: float) -> dict[str, Any]:
    values = list(scores.values())
    good = [False] * len(values)
    found = measured_rate(lambda: false_reject_rate(values, good, threshold))
    return {"false_reject": found}


def _spread(scores: Sequence[float]) -> float:
    low, high = np.quantile(np.asarray(scores, np.float64), [0.25, 0.75])
    return float(high - low) / _IQR_OF_NORMAL


def _to_8bit(values: NDArray[np.floating[Any]]) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)
