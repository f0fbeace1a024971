"""What `fit` learns from: one source, or the good images of several products."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomalib_lite.cli.reading import Reading
    from anomalib_lite.edge.sources import SourceLike


def images_to_fit(
    source: str | None, named: list[str], subfolders: bool, detector: str, reading: Reading
) -> tuple[SourceLike, dict[str, Any]]:
    """The images, and the settings that a scorer of several products is made with.

    Args:
        source: what `SOURCE` says.
        named: what `--product` says, `NAME=FOLDER` each.
        subfolders: whether `SOURCE` has one folder per product.
        detector: name of the scorer.
        reading: how frames are read.

    Returns:
        The source, and the scorer's settings that follow from it, by name; empty for one product.

    Raises:
        SettingsError: nothing or too much is given, or the scorer knows one product only.
        SourceError: a folder without images.
    """
    from anomalib_lite.edge.errors import SettingsError

    if source is None and not named:
        raise SettingsError("name the good images: fit SOURCE, or --product NAME=FOLDER")
    if source is not None and named:
        raise SettingsError(f"give either {source} or --product NAME=FOLDER, not both")
    if named and subfolders:
        raise SettingsError("--products takes the subfolders of SOURCE; leave --product out")
    if source is not None and not subfolders:
        return reading.open_good(source), {}
    from anomalib_lite.detector.products import ProductSource, require_groups
    from anomalib_lite.scorers import create_scorer

    require_groups(create_scorer(detector))
    parts = _subfolders(Path(source)) if source is not None else _named(named)
    found = ProductSource({name: reading.open_good(part) for name, part in parts.items()})
    return found, {"products": found.products}


def _subfolders(folder: Path) -> dict[str, SourceLike]:
    from anomalib_lite.edge.errors import SourceError
    from anomalib_lite.edge.pictures.names import LABELS, is_defect_name, is_junk
    from anomalib_lite.edge.source_kinds.listing import entries, is_folder

    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; --products needs one with subfolders")
    found = [entry.name for entry in entries(folder) if is_folder(entry)]
    found = [name for name in found if not is_junk(name)]
    told = [name for name in found if name.lower() in LABELS or is_defect_name(name)]
    if told:
        raise SourceError(
            f"{folder}: its subfolders {', '.join(told)} say whether pictures are good, not which "
            "product they show; --products needs a subfolder of good images for each product"
        )
    if not found:
        raise SourceError(f"{folder}: has no subfolders; --products needs one for each product")
    return {name: str(folder / name) for name in found}


def _named(pairs: list[str]) -> dict[str, SourceLike]:
    from anomalib_lite.edge.errors import SettingsError

    parts: dict[str, SourceLike] = {}
    for pair in pairs:
        name, separator, folder = pair.partition("=")
        if not (separator and name and folder):
            raise SettingsError(f"product {pair!r} is not understood; write NAME=FOLDER")
        if name in parts:
            raise SettingsError(f"product {name} is given twice; give a glob for several folders")
        parts[name] = folder
    return parts
