"""DAGM 2007: ten rendered textures, weak labels (one ellipse a defect)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from anomalib_lite.data.adapters.files import child, find_categories, images_in
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.sample import Sample, Split, defect_sample, good_sample
from anomalib_lite.edge.errors import SourceError

DEFECT = "defect"
_SPLITS: tuple[Split, ...] = ("train", "test")


@register(
    KindInfo(
        kind="dagm",
        title="DAGM 2007",
        layout="Class1 … Class10, each with Train/ and Test/ of 0576.PNG and "
        "Label/0576_label.PNG, Label/Labels.txt",
        download="The ten classes from the competition's page at Heidelberg University.",
        homepage="https://hci.iwr.uni-heidelberg.de/content/"
        "weakly-supervised-learning-industrial-optical-inspection",
        licence="published for research, no licence text; ask the authors",
        citation="Wieler, Hahn: Weakly Supervised Learning for Industrial Optical Inspection, "
        "competition at the DAGM symposium 2007",
        split_rule="official folders Train and Test; Train holds defective images as well, "
        "listed with label 1",
    )
)
class DagmAdapter(Adapter):
    """An image is defective when it has a mask, or when `Labels.txt` says so."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Folders named `Class<number>` with a `Train` folder."""
        return find_categories(root, _is_class)

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Samples of one class folder."""
        samples: list[Sample] = []
        for split in _SPLITS:
            split_folder = child(source, split)
            label_folder = child(split_folder, "Label")
            masks = {mask.stem.lower(): mask for mask in images_in(label_folder)}
            listed = _listed_defects(label_folder)
            for image in images_in(split_folder):
                mask = masks.get(f"{image.stem.lower()}_label")
                if mask is None and image.name.lower() not in listed:
                    samples.append(good_sample(image, category=category, split=split))
                    continue
                samples.append(
                    defect_sample(
                        image,
                        category=category,
                        split=split,
                        defect=DEFECT,
                        mask_paths=(mask,) if mask else (),
                    )
                )
        return samples


def _is_class(folder: Path) -> bool:
    if not re.match(r"class\d+", folder.name, re.I):
        return False
    return bool(images_in(child(folder, "Train")) or images_in(child(folder, "Test")))


def _listed_defects(label_folder: Path | None) -> set[str]:
    """Names of defective images in `Labels.txt`: rows `number, flag, image, flag, mask`."""
    path = label_folder / "Labels.txt" if label_folder else None
    if path is None or not os.path.isfile(path):
        return set()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read, and holds the labels") from error
    rows = (line.split() for line in text.splitlines())
    return {row[2].lower() for row in rows if len(row) >= 3 and row[1] == "1"}
