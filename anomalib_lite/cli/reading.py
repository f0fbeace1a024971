"""How commands read frames: the options that they share, and what is said of a listing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import typer

from anomalib_lite.cli.common import console
from anomalib_lite.cli.options import DEFAULT_MEGAPIXELS, FILES, MaxMegapixels

if TYPE_CHECKING:
    from anomalib_lite.edge.frames import Exif
    from anomalib_lite.edge.sources import Source, SourceLike


@dataclass(frozen=True, kw_only=True)
class Files:
    """Which files of a source are read."""

    panel: ClassVar[str] = FILES
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive/--no-recursive",
            metavar="",
            help="Read what lies in subfolders too, linked ones included; or only the folder "
            "itself.",
        ),
    ] = True
    max_megapixels: MaxMegapixels = DEFAULT_MEGAPIXELS

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

        return _told(open_source(source, **self._asdict()))

    def open_good(self, source: SourceLike) -> Source:
        """Open good images, and say what was left out of them."""
        from anomalib_lite.edge.sources import open_good_images, refuse_defects

        opened = open_good_images(source, **self._asdict())
        refuse_defects(opened)
        return _told(opened)


def _told(source: Source) -> Source:
    listing = getattr(source, "listing", None)
    if listing is not None and listing.remarkable:
        console(stderr=True).print(f"{source.name}: {listing.explain()}", markup=False)
    return source
