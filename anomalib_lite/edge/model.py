"""`EdgeModel("part.onnx")`: load, self-test, score. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.cpu import checked_threads
from anomalib_lite.edge.engines import AUTO, Engine, quick_to_open
from anomalib_lite.edge.errors import FrameError, ModelFileError
from anomalib_lite.edge.footprint import returned_after_use
from anomalib_lite.edge.inputs import Inputs, Prepared, prepare_view, stacked
from anomalib_lite.edge.model_files.integrity import damaged
from anomalib_lite.edge.model_files.metadata import EdgeMetadata
from anomalib_lite.edge.model_files.pinned import require_sha256
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.edge.own_engine import OwnEngine, refuse_replaced
from anomalib_lite.edge.plain import plain
from anomalib_lite.edge.predict import Predicts
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.running.choice import EngineChoice, choose_engine
from anomalib_lite.edge.self_test import ProbeResult, judge_probe, largest_extras


class EdgeModel(Predicts):
    """An exported detector, ready for frames.

    Args:
        path: `.onnx` file written by `anomalib-lite export`.
        engine: `onnxruntime` (default), `openvino`, `openvino-bf16`, `cuda`, `tensorrt`,
            `tensorrt-fp16`; or `auto`, the quickest on this box that reproduces the file, measured
            once for a file and machine and remembered.
        threads: threads inside one inference; None takes the cores, the container's CPU quota or
            `OMP_NUM_THREADS`, whichever is least.
        allow_spinning: whether ONNX Runtime's threads keep their cores busy while they wait for the
            next frame: a little quicker, and taken from everything else on the box.
        engine_options: for `cuda` and `tensorrt`, e.g. `{"device_id": 1}`.
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
        engine_choice: how `auto` chose; None where an engine was named.
        about: provenance: detector, backbone, data, versions, parity figures.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        engine: str = "onnxruntime",
        threads: int | None = None,
        allow_spinning: bool = True,
        engine_options: Mapping[str, Any] | None = None,
        max_false_reject: float | None = None,
        self_test: bool = True,
        sha256: str | None = None,
    ) -> None:
        self.path = Path(path)
        if sha256 is not None:
            require_sha256(self.path, sha256)
        self._sha256 = sha256
        with returned_after_use():
            self._options = {
                "engine": plain(engine),
                "threads": plain(threads),
                "allow_spinning": plain(allow_spinning),
                "engine_options": plain(engine_options),
            }
            self.engine_choice: EngineChoice | None = None
            if self._options["engine"] == AUTO:
                self.engine_choice = self._choice()
                self._options["engine"] = self.engine_choice.engine
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
            self._refuse_other_engine()
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
        found = [[(self.run(stacked([item])), 0)] for item in prepared]
        if batched and prepared:
            together = self.run(stacked(prepared))
            for index, runs in enumerate(found):
                runs.append((together, index))
        largest = largest_extras(probes)
        threshold = self._metadata.calibration.threshold
        # A file that was calibrated for an engine holds what that engine gives.
        rounding = 1.0 if self._metadata.calibrated_for else self._engine.rounding
        allowed = self._metadata.tolerance * rounding
        return [
            judge_probe(probe, runs, largest, threshold=threshold, allowed=allowed)
            for probe, runs in zip(probes, found, strict=True)
        ]

    def _choice(self) -> EngineChoice:
        """The quickest engine of this box that reproduces the file."""
        options = {key: value for key, value in self._options.items() if key != "engine"}

        def opened(name: str) -> Callable[[], object]:
            model = type(self)(self.path, engine=name, **options)
            model._refuse_coarser()
            frame = stacked(model._prepared_probes()[:1])
            return lambda: model.run(frame)

        setting = f"threads {checked_threads(self._options['threads'])}, {options}"
        return choose_engine(self.path, quick_to_open(), opened, setting)

    def _prepared_probes(self) -> list[Prepared]:
        try:
            inputs = self.inputs.of_copies()
            return [prepare_view(probe.view, inputs) for probe in self._metadata.probes]
        except (FrameError, ValueError) as error:
            raise ModelFileError(
                f"{self.path}: a probe frame cannot be used ({error}); export it again"
            ) from error

    def _refuse_coarser(self) -> None:
        """Raise `ModelFileError` where only the engine's own rounding excuses a difference."""
        worst = max(result.relative_difference for result in self.check(batched=False))
        if worst > self._metadata.tolerance:
            raise ModelFileError(
                f"{self.path}: {self.engine} differs by {worst:.1e}, more than the "
                f"{self._metadata.tolerance:.0e} that the threshold was calibrated with"
            )

    def _refuse_other_engine(self) -> None:
        """Another engine may pass the self-test, and yet the threshold would not be its own."""
        meant = self._metadata.calibrated_for
        if meant and self._options["engine"] != meant:
            raise ModelFileError(
                f"{self.path}: it was calibrated for the engine {meant}, open it with that "
                f"(--engine {meant}), not with {self._options['engine']}"
            )

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
