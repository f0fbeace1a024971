"""Options that say whose model file is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from anomalib_lite.cli.options import RUN


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Which file may be opened; the checksum inside a file is against accidents, not intent."""

    panel: ClassVar[str] = RUN
    sha256: Annotated[
        str | None,
        typer.Option(
            metavar="HEX",
            help="Refuse the model file unless this is its sha256 (docs/security.md).",
        ),
    ] = None
    public_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Refuse the model file unless MODEL.sig is its Ed25519 signature by this key.",
        ),
    ] = None

    def check(self, model: Path) -> None:
        """Raise `ModelFileError` or `SettingsError` unless the file is the one that is meant."""
        if self.sha256 is not None:
            from anomalib_lite.edge.model_files.pinned import require_sha256

            require_sha256(model, self.sha256)
        if self.public_key is not None:
            from anomalib_lite.system.signatures import require_signature

            require_signature(model, self.public_key)
