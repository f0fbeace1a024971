"""`EdgeModel("part.onnx")`: load, self-test, score. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.engines import Engine
from anomalib_lite.edge.errors import FrameError, ModelFileError
from anomalib_lite.edge.footprint import returned_after_use
from anomalib_lite.edge.inputs import Inputs, Prepared, prepare_view, stacked
from anomalib_lite.edge.model_files.integrity import damaged
from anomalib_lite.edge.model_files.metadata import EdgeMetadata, Probe
from anomalib_lite.edge.model_files.pinned import require_sha256
from anomalib_lite.edge.outputs import (
    Outputs,
    extra_difference,
    kept_values,
    relative_difference,
    same_side,
)
from anomalib_lite.edge.own_engine import OwnEngine, refuse_replaced
from anomalib_lite.edge.plain import plain
from anomalib_lite.edge.predict import Predicts
from anomalib_lite.edge.prepare import InputSpec


@dataclass(frozen=True)
class ProbeResult:
    """One self-test frame: what the fitted model gave and what this machine gives.

    Attributes:
        name: what the frame is.
        expected: score of the fitted model.
        measured: score on this machine.
        relative_difference: of score, map peak and extra outputs, the largest.
        passed: within tolerance, with the same verdict unless it was meant to be at the threshold.
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
        threads: threads inside one inference; None takes the cores, the container's CPU quota or
            `OMP_NUM_THREADS`, whichever is least.
        max_false_reject: another false-reject rate than the one stored; the threshold is
            taken anew from the stored scores of good images.
        self_test: run the stored probe frames first and refuse the file when this machine does
            not reproduce them.
        sha256: refuse the file unless this is its sha256; the checksum inside is against
            accidents, not intent.

    Raises:
        ModelFileError: missing, corrupt, foreign or newer file, or a failed self-test.

    Attributes:
        spec: what the picture is declared to be.
        inputs: all that the model sees, by name.
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
        sha256: str | None = None,
    ) -> None:
        self.path = Path(path)
        if sha256 is not None:
            require_sha256(self.path, sha256)
        self._sha256 = sha256
        with returned_after_use():
            self._options = {"engine": plain(engine), "threads": plain(threads)}
            self._own = OwnEngine(self.path, **self._options)
            self._metadata = EdgeMetadata.from_json(self._engine.metadata, path=str(path))
            self._own.require_seal()
            if self._metadata.graph_crc32 not in ("", self._engine.graph_crc32):
                raise damaged(path)
            self.spec: InputSpec = self._metadata.spec
            self.inputs: Inputs = self._metadata.inputs
            self.calibration: Calibration = self._metadata.calibration
            if max_false_reject is not None:
                self.calibration = self.calibration.with_rate(max_false_reject)
            self.about: dict[str, Any] = self._metadata.about
            self.localises: bool = self._metadata.localises
            self._refuse_unless_as_described()
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
    def _engine(self) -> Engine:
        return self._own.current

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied by its file, which is opened again and must be the same still."""
        location = str(self.path.absolute())
        kept = {"path": self.path, "calibration": self.calibration}
        options = {**self._options, "sha256": self._sha256}
        return _opened_again, (type(self), location, options, self._engine.metadata), kept

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

    def run(self, prepared: Prepared) -> Outputs:
        """Raw outputs for prepared frames `uint8 (N, h, w, 3)`, or for prepared views by name."""
        return self._engine.run(prepared)

    def check(self, *, batched: bool = True) -> list[ProbeResult]:
        """Run the probe frames stored in the file, one by one and (`batched`) as one batch."""
        probes = self._metadata.probes
        prepared = self._prepared_probes()
        found = [[_Found.of(self.run(stacked([item])), 0)] for item in prepared]
        if batched and prepared:
            together = self.run(stacked(prepared))
            for index, runs in enumerate(found):
                runs.append(_Found.of(together, index))
        largest = _largest_extras(probes)
        return [
            self._compare(probe, runs, largest) for probe, runs in zip(probes, found, strict=True)
        ]

    def _prepared_probes(self) -> list[Prepared]:
        try:
            inputs = self.inputs.of_copies()
            return [prepare_view(probe.view, inputs) for probe in self._metadata.probes]
        except (FrameError, ValueError) as error:
            raise ModelFileError(
                f"{self.path}: a probe frame cannot be used ({error}); export it again"
            ) from error

    def _compare(self, probe: Probe, runs: list[_Found], largest: dict[str, float]) -> ProbeResult:
        worst = max(run.difference(probe, largest) for run in runs)
        threshold = self._metadata.calibration.threshold
        allowed = self._metadata.tolerance * self._engine.rounding
        scores = np.array([run.score for run in runs])
        same_verdict = same_side(scores, np.full(len(runs), probe.score), threshold, allowed).all()
        passed = worst <= allowed and bool(same_verdict)
        return ProbeResult(probe.name, probe.score, runs[0].score, worst, passed)

    def _refuse_unless_as_described(self) -> None:
        if self.inputs.names != self._engine.inputs:
            raise ModelFileError(
                f"{self.path}: its description names the inputs {list(self.inputs.names)}, its "
                f"graph has {list(self._engine.inputs)}; export it again"
            )
        wanted, found = self._metadata.extra_outputs, self._engine.extra_outputs
        probes_fit = all(set(probe.extra) == set(wanted) for probe in self._metadata.probes)
        if not probes_fit or (wanted and wanted != found):
            raise ModelFileError(
                f"{self.path}: its description names the extra outputs {list(wanted)}, its graph "
                f"has {list(found)}; export it again"
            )

    def _refuse_unless_reproduced(self) -> None:
        failed = [result for result in self.check(batched=False) if not result.passed]
        if failed:
            worst = max(failed, key=lambda result: result.relative_difference)
            raise ModelFileError(
                f"{self.path}: self-test failed on {len(failed)} probe frame(s), worst "
                f"{worst.name!r}: expected {worst.expected:.6g}, got {worst.measured:.6g} with "
                f"{self.engine}; the file is damaged or this engine computes differently"
            )


def _opened_again(
    kind: type[EdgeModel], path: str, options: dict[str, Any], expected: str
) -> EdgeModel:
    """What a pickle of a model calls; the self-test runs, since the machine may be another one."""
    model = kind(path, **options)
    refuse_replaced(model.path, model._engine.metadata, expected)
    return model


@dataclass(frozen=True)
class _Found:
    """What this machine gives for one probe frame."""

    score: float
    map_peak: float
    extra: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, outputs: Outputs, index: int) -> _Found:
        peak = float(outputs.anomaly_map[index].max())
        return cls(float(outputs.score[index]), peak, outputs.of_frame(index))

    def difference(self, probe: Probe, largest: dict[str, float]) -> float:
        """Relative difference to what the fitted model gave, the largest of all outputs."""
        pairs = np.array([self.score, self.map_peak]), np.array([probe.score, probe.map_peak])
        differences = [relative_difference(*pairs)]
        for name, expected in probe.extra.items():
            got = self.extra[name]
            differences.append(
                extra_difference(
                    np.array(kept_values(got)),
                    np.array(expected),
                    is_map=got.ndim > 1,
                    largest=largest[name],
                )
            )
        return max(differences)


def _largest_extras(probes: tuple[Probe, ...]) -> dict[str, float]:
    """Largest magnitude of each extra output over the probes."""
    found: dict[str, float] = {}
    for probe in probes:
        for name, values in probe.extra.items():
            found[name] = max(found.get(name, 0.0), *(abs(value) for value in values), 0.0)
    return found
