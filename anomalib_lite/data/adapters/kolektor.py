"""KolektorSDD and KolektorSDD2: every image has a mask, and only the mask holds the label."""

from __future__ import annotations

import re
from pathlib import Path

from anomalib_lite.data.adapters.files import (
    child,
    folder_name,
    images_in,
    subfolders,
)
from anomalib_lite.data.adapters.pixels import mask_file_marks_defect
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.adapters.splits import split_good
from anomalib_lite.data.sample import Sample, Split, defect_sample, good_sample
from anomalib_lite.edge.errors import SourceError

DEFECT = "defect"
_STRAY = "_gt"  # copies such as "10301_GT (copy)" are no images either


@register(
    KindInfo(
        kind="ksdd",
        title="KolektorSDD",
        layout="kos01 … kos50, each with Part0.jpg and Part0_label.bmp to Part7",
        download="The archive with fine annotations from the ViCoS laboratory's page.",
        homepage="https://www.vicos.si/resources/kolektorsdd/",
        licence="CC BY-NC-SA 4.0 (no commercial use)",
        citation="Tabernik, Šela, Skvarč, Skočaj: Segmentation-based deep-learning approach for "
        "surface-defect detection, Journal of Intelligent Manufacturing 2020",
        split_rule="no official one-class split: good images by hash of their part's folder "
        "(kos01 …), about 80 % of the parts train; every defective image is test",
    )
)
class KsddAdapter(Adapter):
    """Electrical commutators, eight views a part; views of one part never cross the split."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """One category if there are part folders."""
        return {folder_name(root): root} if _part_folders(root) else {}

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """All views; reads each mask to know the label.

        Raises:
            SourceError: a mask is missing or unreadable.
        """
        parts = _part_folders(source)
        split_of = split_good([part.name for part in parts])
        samples: list[Sample] = []
        for part in parts:
            files = images_in(part)
            masks = {file.stem.lower(): file for file in files}
            for image in files:
                if image.stem.lower().endswith("_label"):
                    continue
                mask = _need(masks.get(f"{image.stem.lower()}_label"), image, "_label.bmp")
                if mask_file_marks_defect(mask):
                    samples.append(_defect(image, category, "test", mask))
                else:
                    samples.append(good_sample(image, category=category, split=split_of[part.name]))
        return samples


@register(
    KindInfo(
        kind="ksdd2",
        title="KolektorSDD2",
        layout="train/ and test/ with 10000.png and 10000_GT.png",
        download="The archive from the ViCoS laboratory's page.",
        homepage="https://www.vicos.si/resources/kolektorsdd2/",
        licence="CC BY-NC-SA 4.0 (no commercial use)",
        citation="Božič, Tabernik, Skočaj: Mixed supervision for surface-defect detection: from "
        "weakly to fully supervised learning, Computers in Industry 2021",
        split_rule="official folders train and test; train holds defective images as well, "
        "listed with label 1",
    )
)
class Ksdd2Adapter(Adapter):
    """Production surfaces; label from the mask's pixels."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """One category if a test image has its `_GT` twin."""
        if child(root, "train") is None:
            return {}
        names = {image.stem.lower() for image in images_in(child(root, "test"))}
        return {folder_name(root): root} if any(f"{name}_gt" in names for name in names) else {}

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """All images; reads each mask to know the label.

        Raises:
            SourceError: a mask is missing or unreadable.
        """
        samples: list[Sample] = []
        splits: tuple[Split, ...] = ("train", "test")
        for split in splits:
            files = images_in(child(source, split))
            masks = {file.stem.lower(): file for file in files}
            for image in files:
                if _STRAY in image.stem.lower():
                    continue
                mask = _need(masks.get(f"{image.stem.lower()}_gt"), image, "_GT.png")
                if mask_file_marks_defect(mask):
                    samples.append(_defect(image, category, split, mask))
                else:
                    samples.append(good_sample(image, category=category, split=split))
        return samples


def _part_folders(root: Path) -> list[Path]:
    return [path for path in subfolders(root) if re.fullmatch(r"kos\d+", path.name, re.I)]


def _need(mask: Path | None, image: Path, ending: str) -> Path:
    if mask is None:
        raise SourceError(
            f"{image}: has no label, expected the mask {image.stem}{ending} beside it; "
            "unpack the archive again"
        )
    return mask


def _defect(image: Path, category: str, split: Split, mask: Path) -> Sample:
    return defect_sample(image, category=category, split=split, defect=DEFECT, mask_paths=(mask,))
