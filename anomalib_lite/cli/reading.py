"""How commands read frames: the options that they share, and what is said of a listing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import typer

from anomalib_lite.cli.common import console

if TYPE_CHECKING:
    from anomalib_lite.edge.frames import Exif
    from anomalib_lite.edge.sources import Source, SourceLike

DEFAULT_MEGAPIXELS = 100.0  # edge.picture_file.MAX_MEGAPIXELS, which --help must not import


@dataclass(frozen=True, kw_only=True)
class Files:
    """Which files of a source are read."""

    panel: ClassVar[str] = "Files"
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive/--no-recursive",
            metavar="",
            help="Read what lies in subfolders too, linked ones included; or only the folder "
            "itself.",
        ),
    ] = True
    max_megapixels: Annotated[
        float,
        typer.Option(
            metavar="N",
            help="Refuse larger pictures before they are decoded; raise it for very large frames.",
        ),
    ] = DEFAULT_MEGAPIXELS

    def reading(self, exif: Exif) -> Reading:
        """How the command reads its sources."""
        return Reading(exif, self.recursive, self.max_megapixels)


class Reading(NamedTuple):
    """How a command reads its source.

    Attributes:
        exif: passed to the image decoder.
        recursive: whether subfolders are read.
        max_megapixels: larger pictures are refused.
    """

    exif: Exif = "apply"
    recursive: bool = True
    max_megapixels: float = DEFAULT_MEGAPIXELS

    def open(self, source: SourceLike) -> Source:
        """Open a source, and say what was left out of it."""
        from anomalib_lite.edge.sources import open_source

        self._check()
        return _told(open_source(source, **self._asdict()))

    def open_good(self, source: SourceLike) -> Source:
        """Open good images, and say what was left out of them."""
        from anomalib_lite.edge.sources import open_good_images

        self._check()
        return _told(open_good_images(source, **self._asdict()))

    def _check(self) -> None:
        from anomalib_lite.edge.errors import SettingsError

        if not 0 < self.max_megapixels < float("inf"):
            raise SettingsError(
                f"--max-megapixels {self.max_megapixels}: give a number above 0, such as 100"
            )


def _told(source: Source) -> Source:
    listing = getattr(source, "listing", None)
    if listing is not None and listing.remarkable:
        console(stderr=True).print(f"{source.name}: {listing.explain()}", markup=False)
    return source
