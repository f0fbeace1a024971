"""What is tried, as data: each axis is a tuple, and a new axis is a field of `Configuration`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers import create_scorer, describe_settings
from anomalib_lite.tuning.sizes import shown

DETECTORS = ("patchcore", "padim", "mvg")
BACKBONES = ("pdn_edge", "resnet18")
ROWS = (1000, 4000)
PRECISIONS = ("fp32",)
"""Tried unless others are named: a lower one is chosen node by node, which takes its time."""

ENGINE_FREE = ("fp32", "fp16", "int8")
"""Precisions of a file that every engine computes; bf16 is the engine's own."""

ENGINES = ("onnxruntime", "openvino")
"""Exact ones only: an engine that rounds would have to be judged, not only timed."""


@dataclass(frozen=True)
class Configuration:
    """All that decides what an edge file computes.

    Attributes:
        detector: name of the scorer, or several joined by `+`.
        backbone: name of the network.
        size_hw: its input, height and width.
        rows: patches that a bank keeps; None where there is no bank.
        precision: of the exported graph.
    """

    detector: str
    backbone: str
    size_hw: tuple[int, int]
    rows: int | None = None
    precision: str = "fp32"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the scorer."""
        if self.rows is None:
            return {}
        return dict.fromkeys(rows_settings(self.detector), self.rows)

    @property
    def name(self) -> str:
        """`padim on pdn_edge`; a bank with the number of its rows."""
        bank = "" if self.rows is None else f" rows={self.rows}"
        return f"{self.detector}{bank} on {self.backbone}"

    @property
    def key(self) -> str:
        """Its name as a file name."""
        return re.sub(r"[^\w.+=-]", "_", self.words.replace(" on ", "-").replace(", ", "-"))

    @property
    def words(self) -> str:
        """What it is, for people."""
        precision = "" if self.precision == "fp32" else f", {self.precision}"
        return f"{self.name}, {shown(self.size_hw)}{precision}"

    def create(self, **arguments: Any) -> Detector:
        """The unfitted detector, with further arguments of `Detector`."""
        given = {"image_size": self.size_hw, **self.settings, **arguments}
        return Detector(self.detector, backbone=self.backbone, **given)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` is the inverse."""
        return {**asdict(self), "size_hw": list(self.size_hw)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Configuration:
        """Rebuild from `to_dict`."""
        return cls(**{**fields, "size_hw": tuple(fields["size_hw"])})


@dataclass(frozen=True)
class Grid:
    """The axes.

    Attributes:
        detectors, backbones, sizes, rows, precisions: what `Configuration` takes of each.
        engines: what runs the files; judged alike, timed each.
    """

    sizes: Sequence[tuple[int, int]]
    detectors: Sequence[str] = DETECTORS
    backbones: Sequence[str] = BACKBONES
    rows: Sequence[int] = ROWS
    precisions: Sequence[str] = PRECISIONS
    engines: Sequence[str] = ENGINES

    def configurations(self) -> list[Configuration]:
        """All combinations, small inputs first; raises `SettingsError` for unknown detectors."""
        found = list(dict.fromkeys(self._each()))
        return sorted(found, key=lambda item: item.size_hw[0] * item.size_hw[1])

    def _each(self) -> Iterator[Configuration]:
        axes = product(self.sizes, self.backbones, self.detectors, self.precisions)
        for size, backbone, detector, precision in axes:
            rows: Sequence[int | None] = self.rows if rows_settings(detector) else (None,)
            for kept in rows:
                yield Configuration(detector, backbone, size, kept, precision)


def rows_settings(detector: str) -> list[str]:
    """Names of the settings of a detector that say how many rows its banks keep."""
    names = [setting.name for setting in describe_settings(detector)]
    return [name for name in names if name.rpartition(".")[2] == "rows"]


def require_quick(detectors: Sequence[str]) -> None:
    """Raise `SettingsError` unless all detectors can be fitted again and again in passing."""
    for detector in detectors:
        names = {setting.name.rpartition(".")[2] for setting in describe_settings(detector)}
        if "steps" in names:
            raise SettingsError(
                f"{detector} trains by steps, which takes longer than a tuning; leave it out"
            )
        if "products" in names or create_scorer(detector).groups() is not None:
            raise SettingsError(f"{detector} is for several products; tune each by itself")
