"""One run: fit, score the test images, measure. Nothing is written here but a temporary file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.sample import Sample
from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.frames import read_frame
from anomalib_lite.edge.runs.scoring import score_source
from anomalib_lite.edge.sources import FileSource
from anomalib_lite.evaluation.environment import (
    hardware,
    peak_memory_bytes,
    reset_peak_memory,
)
from anomalib_lite.evaluation.maps import MapStore, TestFrame
from anomalib_lite.evaluation.measure import Figures, Measured, measure
from anomalib_lite.evaluation.operating import operating_figures
from anomalib_lite.evaluation.plan import PlannedRun
from anomalib_lite.evaluation.shift import measure_shift
from anomalib_lite.scorers import Progress
from anomalib_lite.system.devices import AUTO

BATCH = 16
WORST = 6
"""Maps kept for a report: so many of the highest good and of the lowest anomalous scores."""
_TIMED_FRAMES = 20


@dataclass(frozen=True, eq=False)
class WorstFrames:
    """Network maps of the frames that a person should look at.

    Attributes:
        frame_index: line of `<key>.scores.jsonl` `(n,)`, good frames first, worst first.
        is_miss: False for good frames (highest scores), True for anomalous ones (lowest) `(n,)`.
        maps: float32 `(n, h, w)`.
    """

    frame_index: NDArray[np.int64]
    is_miss: NDArray[np.bool_]
    maps: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run leaves.

    Attributes:
        record: figures and settings, plain JSON types, the same for the same data and machine.
        frames: scored test frames in order.
        worst: maps for a report.
        timing: seconds and bytes, which differ from call to call.
    """

    record: dict[str, Any]
    frames: list[TestFrame]
    worst: WorstFrames
    timing: dict[str, Any]


def execute(run: PlannedRun, scratch: Path, progress: Progress, device: str = AUTO) -> RunResult:
    """Fit one detector and measure it.

    Memory: the fit's own (checked before it starts), one batch of frames, and what a pixel metric
    holds, about 5 bytes a pixel of all test frames; maps lie on disk in `scratch`.

    Raises:
        FitError: the fit cannot be done.
        AnomalibLiteError: no test image can be used, or the disk is full.
    """
    timing: dict[str, Any] = {"peak_memory_is_of_this_run": reset_peak_memory()}
    settings, category = run.evaluation, run.category
    training = category.training(settings.limit_train, run.seed)
    detector = Detector(
        run.detector,
        backbone=run.backbone,
        layers=settings.layers_for(run.detector),
        weights=settings.weights,
        image_size=settings.spec(),
        max_false_reject=settings.max_false_reject,
        seed=run.seed,
        device=device,
        **settings.for_detector(run.detector),
    )
    started = time.perf_counter()
    detector.fit([sample.path for sample in training], progress=progress)
    timing["fit_seconds"] = time.perf_counter() - started
    with MapStore(scratch) as store:
        frames, skipped = _score(detector, run, store, timing, progress)
        timing["latency_ms_batch_1"] = _latency_ms(detector, frames)
        progress("measuring", 0, 1)
        started = time.perf_counter()
        measured = _measured(run, detector, frames, store)
        overall, families = measure(measured)
        timing["metrics_seconds"] = time.perf_counter() - started
        progress("measuring", 1, 1)
        worst = _worst(frames, store)
    record = _record(run, detector, frames, overall, families)
    record["skipped_test_images"] = skipped
    record["unusable_masks"] = measured.unusable_masks
    if settings.unlabelled_shift:
        good, which = _good_to_shift(run)
        record["shift"] = measure_shift(detector, good, progress, which=which)
    timing["peak_memory_bytes"] = peak_memory_bytes()
    return RunResult(record, frames, worst, timing)


def _score(
    detector: Detector,
    run: PlannedRun,
    store: MapStore,
    timing: dict[str, Any],
    progress: Progress,
) -> tuple[list[TestFrame], dict[str, str]]:
    """Score every test image; the maps go to the store, unusable images to the second result."""
    samples = run.category.testing()
    source = FileSource(
        [sample.path for sample in samples],
        name=run.category.name,
        exif=detector.spec.exif,
        split_pages=False,
    )
    frames: list[TestFrame] = []
    skipped: dict[str, str] = {}
    started = time.perf_counter()
    scored = score_source(detector, source, batch=BATCH)
    for done, (sample, item) in enumerate(zip(samples, scored, strict=True), 1):
        name = run.category.shown(sample.path)
        result = item.prediction
        if result is None:
            skipped[name] = item.error
        else:
            number = store.append(result.network_map)
            outcome = (result.score, result.p_value, result.is_anomalous)
            frames.append(TestFrame(number, name, sample, result.frame_hw, *outcome))
        progress("scoring test images", done, len(samples))
    timing["score_ms_per_frame"] = 1000 * (time.perf_counter() - started) / len(samples)
    if not frames:
        first = next(iter(skipped.items()))
        raise AnomalibLiteError(f"no test image can be used; the first, {first[0]}: {first[1]}")
    return frames, skipped


def _latency_ms(detector: Detector, frames: Sequence[TestFrame]) -> float:
    """Median over some decoded frames, one by one: preparation, network, decision, regions."""
    times = []
    for frame in frames[: _TIMED_FRAMES + 1]:
        decoded = read_frame(frame.sample.path, exif=detector.spec.exif)
        started = time.perf_counter()
        detector.predict(decoded)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times[1:] or times))


def _measured(
    run: PlannedRun, detector: Detector, frames: list[TestFrame], store: MapStore
) -> Measured:
    reason = ""
    if not run.evaluation.pixel:
        reason = "maps were not measured (--no-pixel)"
    elif not detector.localises:
        reason = f"{run.detector} judges the whole part and does not say where a defect is"
    return Measured(
        run.category.kind,
        run.category.source,
        frames,
        store,
        detector.spec,
        no_pixel=reason,
        at_frame=run.evaluation.map_resolution == "frame",
    )


def _worst(frames: Sequence[TestFrame], store: MapStore) -> WorstFrames:
    good = sorted((f for f in frames if not f.sample.label), key=lambda f: (-f.score, f.index))
    anomalous = sorted((f for f in frames if f.sample.label), key=lambda f: (f.score, f.index))
    chosen = [*good[:WORST], *anomalous[:WORST]]
    return WorstFrames(
        np.array([frame.index for frame in chosen], np.int64),
        np.array([bool(frame.sample.label) for frame in chosen], np.bool_),
        np.stack([store[frame.index] for frame in chosen]),
    )


def _good_to_shift(run: PlannedRun) -> tuple[list[Sample], str]:
    good = [sample for sample in run.category.testing() if not sample.label]
    if good:
        return good, "good test images"
    held = [s for s in run.category.samples if s.split == "validation" and not s.label]
    return held, "good validation images"


def _record(
    run: PlannedRun,
    detector: Detector,
    frames: Sequence[TestFrame],
    overall: Figures,
    families: dict[str, Figures],
) -> dict[str, Any]:
    category, calibration, fitted = run.category, detector.calibration, detector.data
    record: dict[str, Any] = {
        **_identity(run),
        **overall.to_dict(),
        "operating": operating_figures(frames, calibration),
        "localises": detector.localises,
        "counts": {
            "train_good": fitted.images,
            "test_good": sum(not frame.sample.label for frame in frames),
            "test_anomalous": sum(frame.sample.label for frame in frames),
        },
        "skipped_training_images": {
            category.shown(Path(name)): why for name, why in fitted.skipped.items()
        },
        "training_fingerprint": fitted.fingerprint,
        **_curves(overall),
        "calibration": calibration.to_dict(),
        "input_spec": detector.spec.to_dict(),
        "root": str(category.root),
        "settings": run.settings,
        "settings_sha256": run.digest,
        "hardware": hardware(detector.device.type),
    }
    if families:
        record["families"] = {
            name: {**figures.to_dict(), **_curves(figures)} for name, figures in families.items()
        }
    return record


def _identity(run: PlannedRun) -> dict[str, Any]:
    return {
        "key": run.key,
        "data": run.category.data,
        "kind": run.category.kind,
        "category": run.category.name,
        "detector": run.detector,
        "backbone": run.backbone,
        "seed": run.seed,
    }


def _curves(figures: Figures) -> dict[str, Any]:
    return {"curves": figures.curves, "aupimo_per_frame": figures.aupimo_per_frame}
