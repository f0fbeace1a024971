"""A model of several products, told which one it looks at."""

from __future__ import annotations

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.inputs import Inputs, Prepared
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.edge.predict import Predicts
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.runs.scoring import Model


class StatedProduct(Predicts):
    """The model, limited to one product: its score, its threshold, its p-values.

    Args:
        model: a detector or edge model whose calibration has groups.
        name: which of them.

    Raises:
        SettingsError: unknown product.
    """

    def __init__(self, model: Model, name: str) -> None:
        self.calibration: Calibration = model.calibration.for_group(name)
        self._model = model
        self._output = model.calibration.group_output
        self._column = list(model.calibration.groups).index(name)

    @property
    def spec(self) -> InputSpec:
        """The input declaration."""
        return self._model.spec

    @property
    def inputs(self) -> Inputs:
        """All that the model sees, by name."""
        return self._model.inputs

    @property
    def protocol(self) -> str:
        """How it judges, in words, where that is not the published method; else empty."""
        return self._model.protocol

    @property
    def localises(self) -> bool:
        """Whether the map says where."""
        return self._model.localises

    def run(self, prepared: Prepared) -> Outputs:
        """The model's outputs, the score being that as this product."""
        found = self._model.run(prepared)
        score = found.extra[self._output][:, self._column]
        anomaly_map = found.anomaly_map if self.localises else score[:, None, None]
        return Outputs(score, anomaly_map, found.extra)
