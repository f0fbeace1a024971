"""Real folders, where a developer has them: counts as their README states."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalib_lite.data.adapters import check_dataset, guess_kind, open_dataset

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

COUNTS = [
    ("mvtec_ad", "bottle", 209, 20, 63, 0),
    ("mvtec_ad", "screw", 320, 41, 119, 0),
    ("mvtec_loco_flat", "juice_bottle", 335, 54, 142, 0),
    (".", "magnetic_tile", 381, 190, 392, 5),
    (".", "hazelnut_toy", 28, 6, 17, 0),
]


@pytest.mark.parametrize(("folder", "category", "train", "good", "defects", "empty"), COUNTS)
def test_a_real_category_has_its_published_counts(
    folder: str, category: str, train: int, good: int, defects: int, empty: int
) -> None:
    root = DATA / folder
    if not (root / category).is_dir():
        pytest.skip(f"{root / category} is not on this machine")
    dataset = open_dataset(f"mvtec:{root}:{category}")
    assert len(dataset.samples("train", label=0)) == len(dataset.samples("train")) == train
    assert len(dataset.samples("test", label=0)) == good
    assert len(dataset.samples("test", label=1)) == defects
    assert guess_kind(root / category) == "mvtec"
    report = check_dataset(dataset)
    assert report.usable
    assert report.missing_masks == []
    assert len(report.empty_masks) == empty


def test_real_photographs_are_a_folder_of_good_images() -> None:
    root = DATA / "natural_photos"
    if not root.is_dir():
        pytest.skip(f"{root} is not on this machine")
    assert guess_kind(root) == "folder"
    assert len(open_dataset(f"folder:{root}").samples("train")) == 1000
