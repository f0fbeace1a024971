"""One picture of a data set, as paths and labels only: listing never loads pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
GOOD = "good"


@dataclass(frozen=True, slots=True)
class Sample:
    """Where one picture lies and what is known about it.

    Attributes:
        path: the image (RGB or grey); for 3D sets, the colour image.
        label: 0 good, 1 anomalous.
        defect: `"good"`, or the name of the defect (usually its folder).
        mask_paths: ground truth, one file per annotated region group, each the size of the image
            with non-zero defect pixels; empty for good images and where there is no ground truth.
        split: `"train"`, `"validation"` or `"test"`.
        depth_path: depth or xyz file of the same view, `None` for 2D sets.
        category: the object or texture the picture shows.
    """

    path: Path
    label: int
    defect: str
    mask_paths: tuple[Path, ...]
    split: Split
    depth_path: Path | None
    category: str

    def __post_init__(self) -> None:
        if self.label != int(self.defect != GOOD):
            raise ValueError(f"label {self.label} does not fit defect {self.defect!r}")


def good_sample(
    path: Path, *, category: str, split: Split, depth_path: Path | None = None
) -> Sample:
    """A defect-free sample; it carries no mask, even where the data set stores an empty one."""
    return Sample(path, 0, GOOD, (), split, depth_path, category)


def defect_sample(
    path: Path,
    *,
    category: str,
    split: Split,
    defect: str,
    mask_paths: tuple[Path, ...] = (),
    depth_path: Path | None = None,
) -> Sample:
    """An anomalous sample with the masks that were found for it."""
    return Sample(path, 1, defect, mask_paths, split, depth_path, category)
