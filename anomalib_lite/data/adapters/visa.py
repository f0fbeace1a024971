"""VisA: the original folders with their split list, or the copy converted to MVTec layout."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from anomalib_lite.data.adapters.files import child, find_categories, inside, natural_key
from anomalib_lite.data.adapters.mvtec_layout import is_category, list_category
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.sample import Sample, Split, defect_sample, good_sample
from anomalib_lite.edge.errors import SourceError

ANOMALY = "anomaly"
_COLUMNS = ("object", "split", "label", "image", "mask")
_SPLITS: dict[str, Split] = {"train": "train", "test": "test"}


@register(
    KindInfo(
        kind="visa",
        title="VisA (Visual Anomaly)",
        layout="split_csv/1cls.csv beside <category>/Data/Images/Normal, Data/Images/Anomaly, "
        "Data/Masks/Anomaly; or the converted <category>/train/good, test/good, test/bad, "
        "ground_truth/bad",
        download="The archive of all 12 categories, linked from the authors' repository page; "
        "it holds split_csv.",
        homepage="https://github.com/amazon-science/spot-diff",
        licence="CC BY 4.0",
        citation="Zou, Jeong, Pemula, Zhang, Dabeer: SPot-the-Difference Self-Supervised "
        "Pre-training for Anomaly Detection and Segmentation, ECCV 2022",
        split_rule="official one-class split of split_csv/1cls.csv (or the converted folders)",
    )
)
class VisaAdapter(Adapter):
    """Original layout when the split list is there, converted layout otherwise."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Objects named in the split list, or converted category folders."""
        split_list = _find_split_list(root)
        if split_list is not None:
            names = {row["object"] for row in _read_rows(split_list)}
            return dict.fromkeys(sorted(names, key=natural_key), split_list)
        for folder in (root, child(root, "1cls", "visa_pytorch", "VisA_pytorch")):
            found = find_categories(folder, is_category) if folder else {}
            if found:
                return found
        if child(child(root, "Data"), "Images") or _has_original_category(root):
            raise SourceError(
                f"{root}: is VisA without its split list, expected split_csv/1cls.csv beside the "
                "category folders; open the folder that holds split_csv, or download it again"
            )
        return {}

    def recognises(self, root: Path) -> bool:
        """Only the original layout: the converted one cannot be told from MVTec AD."""
        return _find_split_list(root) is not None

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Samples of one category, from the list (a file) or from a converted folder."""
        if os.path.isdir(source):
            return list_category(source, category)
        root = source.parent.parent
        return [
            _row_sample(row, root, source)
            for row in _read_rows(source)
            if row["object"] == category
        ]


def _find_split_list(root: Path) -> Path | None:
    folder = child(root, "split_csv")
    path = folder / "1cls.csv" if folder else None
    return path if path and os.path.isfile(path) else None


def _has_original_category(root: Path) -> bool:
    return bool(find_categories(root, lambda folder: bool(child(child(folder, "Data"), "Images"))))


def _read_rows(split_list: Path) -> Iterator[dict[str, str]]:
    try:
        with split_list.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise SourceError(
                    f"{split_list}: lacks the columns {', '.join(missing)}, expected "
                    f"{','.join(_COLUMNS)}; download it again"
                )
            for row in reader:
                yield {name: (row[name] or "").strip() for name in _COLUMNS}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"{split_list}: cannot be read as a CSV file; download it again"
        ) from error


def _row_sample(row: dict[str, str], root: Path, split_list: Path) -> Sample:
    split = _SPLITS.get(row["split"].lower())
    label = row["label"].lower()
    if split is None or label not in ("normal", ANOMALY):
        raise SourceError(
            f"{split_list}: the row of {row['image']!r} has split {row['split']!r} and label "
            f"{row['label']!r}, expected train or test, and normal or anomaly; download it again"
        )
    image = inside(root, row["image"], split_list)
    if label == "normal":
        return good_sample(image, category=row["object"], split=split)
    masks = (inside(root, row["mask"], split_list),) if row["mask"] else ()
    return defect_sample(
        image, category=row["object"], split=split, defect=ANOMALY, mask_paths=masks
    )
