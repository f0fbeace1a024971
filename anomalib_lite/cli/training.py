"""Options of detectors that train by steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import typer

from anomalib_lite.cli.values import checked_minutes


def trains(detector: str) -> bool:
    """Whether a detector, or a part of it, trains by steps; raises `SettingsError` if unknown."""
    from anomalib_lite.scorers import describe_settings

    names = {setting.name.rpartition(".")[2] for setting in describe_settings(detector)}
    return "steps" in names


@dataclass(frozen=True, kw_only=True)
class Training:
    """For detectors that train by steps; help shows it for those only."""

    panel: ClassVar[str] = "Training"
    size: Annotated[
        Literal["edge", "S", "M"] | None,
        typer.Option(help="edge, for two CPU cores, or the paper's S or M. Default: edge."),
    ] = None
    width: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            help="Factor of all channels: 1.0 is the paper's (for a GPU), 0.5, 0.25 or 0.125. "
            "Default: 0.125.",
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after so many steps.")
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            callback=checked_minutes,
            help="Stop after so many minutes of training.",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Continue what Ctrl-C or a crash ended (OUT.checkpoint); give the same options "
            "again.",
        ),
    ] = False

    def check_resume(self, detector: str) -> None:
        """Raise `SettingsError` where `--resume` is given for a detector that does not train."""
        from anomalib_lite.edge.errors import SettingsError

        if self.resume and not trains(detector):
            raise SettingsError(f"--resume: {detector} is not trained by steps; leave it out")

    def settings(self) -> dict[str, Any]:
        """Those that are settings of the detector."""
        return {
            "size": self.size,
            "width": self.width,
            "steps": self.steps,
            "minutes": self.minutes,
        }
