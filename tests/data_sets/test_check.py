"""A check finds each kind of damage, names the file, and stays quiet about sound sets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from anomalib_lite.data.adapters import DatasetReport, check_dataset, open_dataset

from . import trees


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.mvtec(tmp_path / "set")


def check(root: Path, kind: str = "mvtec") -> DatasetReport:
    return check_dataset(open_dataset(f"{kind}:{root}"))


def test_a_sound_set_has_counts_and_no_problems(root: Path) -> None:
    report = check(root)
    one = {"train": {"good": 3}, "test": {"crack": 2, "good": 1}}
    assert report.counts == {"bottle": one, "screw": one}
    assert report.problems() == []
    assert report.usable
    assert report.images == 12


@pytest.mark.parametrize(
    ("suffix", "keep", "reason"),
    [
        (".png", 0, "empty (0 bytes)"),
        (".jpg", 0, "empty (0 bytes)"),
        (".jpg", 0.9, "truncated"),
        (".png", 0.5, "not a readable image"),
        (".bmp", 0.5, "not a readable image"),
        (".tiff", 0.5, ""),
    ],
)
def test_empty_and_truncated_images_are_reported(
    suffix: str, keep: float, reason: str, root: Path
) -> None:
    path = trees.picture(root / "bottle" / "train" / "good" / f"bad{suffix}", (64, 64))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    report = check(root)
    assert [problem.path for problem in report.unreadable] == [f"bottle/train/good/bad{suffix}"]
    assert reason in report.unreadable[0].reason
    assert not report.usable
    assert report.problems()[0].startswith("1 images cannot be read: bottle/train/good/bad")


def test_several_empty_files_are_no_duplicates(root: Path) -> None:
    for name in "ab":
        (root / f"bottle/train/good/{name}.png").write_bytes(b"")
    report = check(root)
    assert len(report.unreadable) == 2
    assert report.duplicates == []


def test_a_missing_an_empty_a_misfit_and_a_broken_mask_are_reported(root: Path) -> None:
    truth = root / "bottle" / "ground_truth" / "crack"
    (truth / "000_mask.png").unlink()
    trees.mask(truth / "001_mask.png", empty=True)
    trees.mask(root / "screw/ground_truth/crack/000_mask.png", size_hw=(6, 8))
    (root / "screw/ground_truth/crack/001_mask.png").write_bytes(b"\x89PNG")
    report = check(root)
    assert report.missing_masks == ["bottle/test/crack/000.png"]
    assert report.empty_masks == ["bottle/ground_truth/crack/001_mask.png"]
    assert [(p.path, p.reason) for p in report.mask_size_mismatch] == [
        ("screw/ground_truth/crack/000_mask.png", "is 6x8, the image 12x16")
    ]
    assert [p.path for p in report.unreadable_masks] == ["screw/ground_truth/crack/001_mask.png"]
    assert len(report.problems()) == 4


def test_masks_are_not_missed_where_a_set_has_none(tmp_path: Path) -> None:
    trees.picture(tmp_path / "set/good/a.png")
    trees.picture(tmp_path / "set/dent/b.png")
    assert check(tmp_path / "set", "folder").missing_masks == []
    trees.picture(tmp_path / "set/dent/c.png")
    trees.mask(tmp_path / "set/masks/dent/c.png")
    assert check(tmp_path / "set", "folder").missing_masks == ["dent/b.png"]


def test_the_same_content_in_train_and_test_is_a_leak(root: Path) -> None:
    shutil.copy(root / "bottle/train/good/000.png", root / "bottle/test/good/copy.png")
    shutil.copy(root / "screw/train/good/000.png", root / "screw/train/good/again.png")
    report = check(root)
    assert report.leaks == [["bottle/train/good/000.png", "bottle/test/good/copy.png"]]
    assert report.duplicates == [
        ["bottle/train/good/000.png", "bottle/test/good/copy.png"],
        ["screw/train/good/000.png", "screw/train/good/again.png"],
    ]
    assert not report.usable


def test_duplicates_inside_one_split_do_not_make_a_set_unusable(root: Path) -> None:
    shutil.copy(root / "screw/train/good/000.png", root / "screw/train/good/again.png")
    assert check(root).usable


def test_image_sizes_are_counted(root: Path) -> None:
    trees.picture(root / "bottle/train/good/large.png", (20, 30))
    assert check(root).image_sizes == {"12x16": 12, "20x30": 1}


def test_lost_and_misfit_depth_is_reported(tmp_path: Path) -> None:
    root = trees.mvtec3d(tmp_path / "m3d")
    (root / "bagel/train/good/xyz/000.tiff").unlink()
    trees.depth(root / "bagel/train/good/xyz/001.tiff", (6, 8))
    (root / "bagel/test/good/xyz/000.tiff").write_bytes(b"II*\0")
    report = check(root, "mvtec3d")
    assert [(p.path, p.reason.split(" (")[0]) for p in report.unreadable_depth] == [
        ("bagel/train/good/rgb/000.png", "has no depth file"),
        ("bagel/test/good/xyz/000.tiff", "not a readable image"),
    ]
    assert [p.path for p in report.depth_size_mismatch] == ["bagel/train/good/xyz/001.tiff"]


def test_images_that_only_a_list_names_are_reported_when_lost(tmp_path: Path) -> None:
    root = trees.visa(tmp_path / "visa")
    (root / "pcb1/Data/Images/Normal/0001.JPG").unlink()
    (root / "pcb1/Data/Masks/Anomaly/000.png").unlink()
    report = check(root, "visa")
    assert [(p.path, p.reason) for p in report.unreadable] == [
        ("pcb1/Data/Images/Normal/0001.JPG", "the file is missing")
    ]
    assert [p.path for p in report.unreadable_masks] == ["pcb1/Data/Masks/Anomaly/000.png"]


def test_progress_counts_every_image_in_order(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_dataset(open_dataset(f"mvtec:{root}"), lambda done, total: seen.append((done, total)))
    assert seen == [(i, 12) for i in range(1, 13)]


def test_a_progress_that_raises_ends_the_check(root: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_dataset(open_dataset(f"mvtec:{root}"), stop)


def test_the_report_is_the_same_each_time_and_fits_into_json(root: Path) -> None:
    shutil.copy(root / "bottle/train/good/000.png", root / "bottle/test/good/copy.png")
    (root / "screw/train/good/000.png").write_bytes(b"")
    first, second = check(root).to_dict(), check(root).to_dict()
    assert first == second == json.loads(json.dumps(first))
    assert first["images"] == 13
    assert first["usable"] is False
    assert first["unreadable"] == [
        {"path": "screw/train/good/000.png", "reason": "the file is empty (0 bytes)"}
    ]
