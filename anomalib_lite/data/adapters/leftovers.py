"""What lies in a data set's folders and is in no sample: strays, and masks that fit no image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from anomalib_lite.data.adapters.dataset import Dataset
from anomalib_lite.data.adapters.report import DatasetReport
from anomalib_lite.data.masks import MASK_FOLDERS, read_mask_file
from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.source_kinds.listing import Listing, counted, list_pictures, some


def note_leftovers(report: DatasetReport, dataset: Dataset, samples: Sequence[Sample]) -> None:
    """Add to a report what the folders of the categories hold beside their samples."""
    used = {os.path.realpath(path) for sample in samples for path in _files_of(sample)}
    strays: list[str] = []
    for source in dataset.sources.values():
        if not source.is_dir():
            continue
        listing = list_pictures(source)
        for path in listing.files:
            if os.path.realpath(path) in used:
                continue
            name = _shown(path, dataset.root)
            if not _is_mask(path.relative_to(source)):
                strays.append(name)
            elif _marks(path):
                report.unmatched_masks.append(name)
        report.left_out += _told(listing, dataset.root)
    if strays:
        shown = some(strays)
        report.left_out.append(f"{counted(len(strays), 'picture')} in no sample ({shown})")


def _files_of(sample: Sample) -> list[Path]:
    depth = [sample.depth_path] if sample.depth_path is not None else []
    return [sample.path, *sample.mask_paths, *depth]


def _is_mask(below: Path) -> bool:
    return any(part.lower() in MASK_FOLDERS for part in below.parts[:-1])


def _marks(path: Path) -> bool:
    """Black masks of good images are customary; one that marks something is not."""
    try:
        return bool(read_mask_file(path).any())
    except FrameError:
        return True


def _told(listing: Listing, root: Path) -> list[str]:
    where = _shown(listing.root, root)
    said = [listing.explain_left_out()] if listing.left_out else []
    said += [f"{name} {reason}" for name, reason in listing.unreadable.items()]
    return [f"{where}: {text}" for text in said]


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
