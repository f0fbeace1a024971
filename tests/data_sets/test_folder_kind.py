"""Plain folders: good only, flat with defects, nested train and test, masks where they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from anomalib_lite.data.adapters import open_dataset
from anomalib_lite.edge.errors import SourceError

from . import trees


def listing(root: Path) -> list[tuple[str, str, str, int]]:
    return [
        (s.path.relative_to(root).as_posix(), s.split, s.defect, len(s.mask_paths))
        for s in open_dataset(f"folder:{root}").samples()
    ]


@pytest.mark.parametrize("name", ["good", "OK", "Normal", ""])
def test_good_images_alone_are_all_training(name: str, tmp_path: Path) -> None:
    for stem in "abc":
        trees.picture(tmp_path / "parts" / name / f"{stem}.png")
    rows = listing(tmp_path / "parts")
    assert [(split, defect) for _, split, defect, _ in rows] == [("train", "good")] * 3


def test_flat_defects_go_to_the_test_and_good_images_are_split(tmp_path: Path) -> None:
    rows = listing(trees.folder(tmp_path / "parts"))
    assert [row for row in rows if row[2] != "good"] == [
        ("dent/b.png", "test", "dent", 0),
        ("scratch/a.png", "test", "scratch", 1),
    ]
    good = Counter(split for _, split, defect, _ in rows if defect == "good")
    assert good["train"] > good["test"] > 0


def test_nested_folders_keep_their_split(tmp_path: Path) -> None:
    root = tmp_path / "parts"
    for name in ("train/ok/a.png", "val/ok/b.png", "test/ok/c.png", "test/hole/deep/d.png"):
        trees.picture(root / name)
    trees.mask(root / "ground_truth/hole/deep/d_mask.png")
    assert listing(root) == [
        ("train/ok/a.png", "train", "good", 0),
        ("val/ok/b.png", "validation", "good", 0),
        ("test/ok/c.png", "test", "good", 0),
        ("test/hole/deep/d.png", "test", "hole", 1),
    ]


def test_images_directly_in_train_are_good(tmp_path: Path) -> None:
    trees.picture(tmp_path / "parts/train/a.png")
    assert listing(tmp_path / "parts") == [("train/a.png", "train", "good", 0)]


def test_images_directly_in_test_have_no_label_and_are_refused(tmp_path: Path) -> None:
    trees.picture(tmp_path / "parts/train/a.png")
    trees.picture(tmp_path / "parts/test/b.png")
    with pytest.raises(SourceError, match="images without a label"):
        listing(tmp_path / "parts")


def test_masks_in_one_flat_folder_are_matched_by_name(tmp_path: Path) -> None:
    trees.picture(tmp_path / "parts/good/a.png")
    trees.picture(tmp_path / "parts/dent/b.png")
    trees.mask(tmp_path / "parts/masks/b.png")
    assert listing(tmp_path / "parts")[-1] == ("dent/b.png", "test", "dent", 1)


def test_a_flat_mask_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    for name in ("good/a.png", "dent/b.png", "hole/b.png"):
        trees.picture(tmp_path / "parts" / name)
    trees.mask(tmp_path / "parts/masks/b.png")
    with pytest.raises(SourceError, match="fits several images named b"):
        listing(tmp_path / "parts")


def test_masks_of_equal_names_in_sub_folders_are_kept_apart(tmp_path: Path) -> None:
    root = tmp_path / "parts"
    trees.picture(root / "good/a.png")
    for day in ("monday", "tuesday"):
        trees.picture(root / "dent" / day / "1.png")
        trees.mask(root / "masks/dent" / day / "1.png")
    masks = [s.mask_paths for s in open_dataset(f"folder:{root}").samples(label=1)]
    assert masks == [
        (root / "masks/dent/monday/1.png",),
        (root / "masks/dent/tuesday/1.png",),
    ]


def test_defects_without_any_good_image_are_refused(tmp_path: Path) -> None:
    trees.picture(tmp_path / "parts/dent/b.png")
    with pytest.raises(SourceError, match="found dent/, expected good/"):
        listing(tmp_path / "parts")
