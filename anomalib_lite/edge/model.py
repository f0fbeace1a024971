"""`EdgeModel("part.onnx")`: load, self-test, score. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.engines import Engine, open_engine
from anomalib_lite.edge.errors import ModelFileError, SettingsError
from anomalib_lite.edge.footprint import returned_after_use
from anomalib_lite.edge.integrity import damaged, verify_seal
from anomalib_lite.edge.metadata import EdgeMetadata
from anomalib_lite.edge.predict import Predicts
from anomalib_lite.edge.prepare import InputSpec, prepare


@dataclass(frozen=True)
class ProbeResult:
    """One self-test frame: what the fitted model gave and what this machine gives.

    Attributes:
        name: what the frame is.
        expected: score of the fitted model.
        measured: score on this machine.
        relative_difference: of score and map peak, the larger.
        passed: within tolerance, with the same verdict.
    """

    name: str
    expected: float
    measured: float
    relative_difference: float
    passed: bool


class EdgeModel(Predicts):
    """An exported detector, ready for frames.

    Args:
        path: `.onnx` file written by `anomalib-lite export`.
        engine: `onnxruntime` (default), `cuda`, `openvino` or `openvino-bf16`.
        threads: threads inside one inference; None takes the number of cores.
        max_false_reject: another false-reject rate than the one stored; the threshold is
            taken anew from the stored scores of good images.
        self_test: run the stored probe frames first and refuse the file when this machine does
            not reproduce them.

    Raises:
        ModelFileError: missing, corrupt, foreign or newer file, or a failed self-test.

    Attributes:
        spec: the input declaration.
        calibration: threshold and p-values.
        about: provenance: detector, backbone, data, versions, parity figures.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        engine: str = "onnxruntime",
        threads: int | None = None,
        max_false_reject: float | None = None,
        self_test: bool = True,
    ) -> None:
        self.path = Path(path)
        with returned_after_use():
            sealed = verify_seal(self.path)
            self._engine: Engine = open_engine(self.path, engine, threads=threads)
            self._metadata = EdgeMetadata.from_json(self._engine.metadata, path=str(path))
            if not sealed:
                raise damaged(path)
            self.spec: InputSpec = self._metadata.spec
            self.calibration: Calibration = self._metadata.calibration
            if max_false_reject is not None:
                self.calibration = self.calibration.with_rate(max_false_reject)
            self.about: dict[str, Any] = self._metadata.about
            self.localises: bool = self._metadata.localises
            if self_test:
                self._refuse_unless_reproduced()

    @property
    def threshold(self) -> float:
        """Raw score above which a frame is anomalous."""
        return self.calibration.threshold

    def __repr__(self) -> str:
        names = [self.about.get(part, {}).get("name", "?") for part in ("detector", "backbone")]
        height, width = self.spec.size_hw
        return (
            f"EdgeModel({str(self.path)!r}, {' on '.join(names)}, image_size=({height}, {width}), "
            f"{self.calibration.summary()}, {self.engine}, {self.threads} threads)"
        )

    @property
    def protocol(self) -> str:
        """How it judges, in words, where that is not the published method; else empty."""
        return str(self.about.get("detector", {}).get("protocol", ""))

    @property
    def engine(self) -> str:
        """Engine name and version."""
        return self._engine.name

    @property
    def threads(self) -> int:
        """Threads inside one inference."""
        return self._engine.threads

    @property
    def metadata(self) -> EdgeMetadata:
        """The whole description stored in the file."""
        return self._metadata

    def run(self, prepared_nhwc: NDArray[np.uint8]) -> tuple[Any, Any]:
        """Raw network outputs for prepared frames `uint8 (N, h, w, 3)`.

        Returns:
            `score (N,)` and `anomaly_map (N, h', w')`, float32.
        """
        return self._engine.run(prepared_nhwc)

    def product_scores(self, prepared_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score as each product `(N, P)`, in the order of `calibration.products`.

        Raises:
            SettingsError: the model knows one product only.
        """
        if not self.calibration.products:
            raise SettingsError(f"{self.path}: the model knows one product only")
        return self._engine.product_scores(prepared_nhwc)

    def check(self, *, batched: bool = True) -> list[ProbeResult]:
        """Run the probe frames stored in the file, one by one and (`batched`) as one batch."""
        probes = self._metadata.probes
        prepared = [prepare(probe.frame, self.spec) for probe in probes]
        outputs = [[_peaks(*self.run(item[None]))[0]] for item in prepared]
        if batched and prepared:
            for pairs, pair in zip(outputs, _peaks(*self.run(np.stack(prepared))), strict=True):
                pairs.append(pair)
        return [
            self._compare(probe.name, probe.score, probe.map_peak, pairs)
            for probe, pairs in zip(probes, outputs, strict=True)
        ]

    def _compare(
        self, name: str, score: float, peak: float, pairs: list[tuple[float, float]]
    ) -> ProbeResult:
        worst = max(
            max(_relative(measured, score), _relative(measured_peak, peak))
            for measured, measured_peak in pairs
        )
        threshold = self._metadata.calibration.threshold
        same_verdict = all((measured > threshold) == (score > threshold) for measured, _ in pairs)
        allowed = self._metadata.tolerance * self._engine.rounding
        passed = worst <= allowed and same_verdict
        return ProbeResult(name, score, pairs[0][0], worst, passed)

    def _refuse_unless_reproduced(self) -> None:
        failed = [result for result in self.check(batched=False) if not result.passed]
        if failed:
            worst = max(failed, key=lambda result: result.relative_difference)
            raise ModelFileError(
                f"{self.path}: self-test failed on {len(failed)} probe frame(s), worst "
                f"{worst.name!r}: expected {worst.expected:.6g}, got {worst.measured:.6g} with "
                f"{self.engine}; the file is damaged or this engine computes differently"
            )


def _peaks(scores: NDArray[np.float32], maps: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Score and map peak of each frame."""
    return [
        (float(score), float(network_map.max()))
        for score, network_map in zip(scores, maps, strict=True)
    ]


def _relative(measured: float, expected: float) -> float:
    if not np.isfinite(measured):
        return float("inf")
    return abs(measured - expected) / max(abs(expected), 1e-12)
