"""DeepPCB: pairs of a defect-free template and a tested board, defects as boxes."""

from __future__ import annotations

import os
from pathlib import Path

from anomalib_lite.data.adapters.files import child, folder_name, inside
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.sample import Sample, Split, defect_sample, good_sample
from anomalib_lite.edge.errors import SourceError

DEFECT = "defect"
_LISTS: tuple[tuple[str, Split], ...] = (("trainval.txt", "train"), ("test.txt", "test"))


@register(
    KindInfo(
        kind="deeppcb",
        title="DeepPCB",
        layout="PCBData/ with trainval.txt, test.txt and group00041/00041/00041000_temp.jpg, "
        "00041000_test.jpg (or the PCBData folder itself)",
        download="The folder PCBData of the authors' repository.",
        homepage="https://github.com/tangsanli5201/DeepPCB",
        licence="for research only",
        citation="Tang, He, Huang, Yang: Online PCB Defect Detector On A New PCB Defect Dataset, "
        "arXiv 1902.06197, 2019",
        split_rule="official lists trainval.txt (train) and test.txt (test); of each pair the "
        "template is good and the tested board, which mixes kinds of defects, is defective",
        masks="never",
    )
)
class DeepPcbAdapter(Adapter):
    """Templates as good images; boxes are no masks, so there are none."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """One category where both lists lie."""
        for folder in (child(root, "PCBData"), root):
            if folder and all(os.path.isfile(folder / name) for name, _ in _LISTS):
                return {folder_name(root): folder}
        return {}

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Both images of every pair."""
        samples: list[Sample] = []
        for name, split in _LISTS:
            for good, defect in _pairs(source, source / name):
                samples.append(good_sample(good, category=category, split=split))
                samples.append(defect_sample(defect, category=category, split=split, defect=DEFECT))
        return samples


def _pairs(root: Path, path: Path) -> list[tuple[Path, Path]]:
    """Template and tested image for each line `group/…/00041000.jpg group/…_not/00041000.txt`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read; download it again") from error
    pairs: list[tuple[Path, Path]] = []
    for line in filter(None, map(str.strip, lines)):
        listed = inside(root, line.split()[0], path)
        # The lists name 00041000.jpg, a file that does not exist: it stands for the pair.
        pair = listed.stem.removesuffix("_test")
        pairs.append(
            (
                listed.with_name(f"{pair}_temp{listed.suffix}"),
                listed.with_name(f"{pair}_test{listed.suffix}"),
            )
        )
    return pairs
