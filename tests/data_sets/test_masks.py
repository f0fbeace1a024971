"""Masks: found whatever their names look like, read whatever their values, doubted when odd."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalib_lite.data.adapters import DatasetReport, check_dataset, open_dataset
from anomalib_lite.data.masks import looks_inverted, read_mask_file
from anomalib_lite.evaluation.maps import read_mask

from . import trees

HW = (40, 60)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """One category with two defective images named 000 and 001, and no masks yet."""
    root = tmp_path / "set"
    for name in ("train/good/000.png", "train/good/001.png", "test/good/000.png"):
        trees.picture(root / name, HW)
    for name in ("test/dent/000.png", "test/dent/001.png"):
        trees.picture(root / name, HW)
    return root


def spot(value: int = 255, ground: int = 0) -> np.ndarray:
    mask = np.full(HW, ground, np.uint8)
    mask[10:14, 20:26] = value
    return mask


def put(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), mask)
    return path


def check(home: Path) -> DatasetReport:
    return check_dataset(open_dataset(f"mvtec:{home}"))


@pytest.mark.parametrize(
    "ending",
    [".png", "_mask.png", "_GT.png", "_gt.png", "_Mask.PNG", "_label.bmp", "-mask.png", "_SEG.tif"],
)
def test_a_mask_is_found_by_its_ending_in_any_case(ending: str, home: Path) -> None:
    for stem in ("000", "001"):
        put(home / "ground_truth/dent" / f"{stem}{ending}", spot())
    masks = [s.mask_paths for s in open_dataset(f"mvtec:{home}").samples(label=1)]
    assert [[path.name for path in found] for found in masks] == [
        [f"000{ending}"],
        [f"001{ending}"],
    ]
    assert check(home).problems() == []


def test_the_name_of_the_image_counts_in_any_case_too(home: Path) -> None:
    trees.picture(home / "test/dent/Part_A.PNG", HW)
    put(home / "ground_truth/dent/part_a_MASK.png", spot())
    (sample,) = (s for s in open_dataset(f"mvtec:{home}").samples() if s.path.stem == "Part_A")
    assert [path.name for path in sample.mask_paths] == ["part_a_MASK.png"]


def test_an_exact_name_wins_over_another_case(home: Path) -> None:
    trees.picture(home / "test/dent/A.png", HW)
    for name in ("a.png", "A.png"):
        put(home / "ground_truth/dent" / name, spot())
    (sample,) = (s for s in open_dataset(f"mvtec:{home}").samples() if s.path.stem == "A")
    assert [path.name for path in sample.mask_paths] == ["A.png"]


@pytest.mark.parametrize(
    ("stem", "ending"), [("0001", "_GT"), ("0001", "_gt"), ("Part0", "_label"), ("Part0", "_LABEL")]
)
def test_kolektor_masks_are_found_in_any_case(stem: str, ending: str, tmp_path: Path) -> None:
    new = stem == "0001"
    for folder in ("train", "test") if new else ("kos01", "kos02"):
        trees.picture(tmp_path / folder / f"{stem}.png", HW)
        put(tmp_path / folder / f"{stem}{ending}.png", spot())
    samples = open_dataset(f"{'ksdd2' if new else 'ksdd'}:{tmp_path}").samples()
    assert [(s.label, len(s.mask_paths)) for s in samples] == [(1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("mask", "marked"),
    [
        (spot(255), 24),
        (spot(1), 24),
        (spot(7), 24),
        (np.dstack([spot(0), spot(0), spot(200)]), 24),
        (np.dstack([spot(3), spot(9), spot(0)]), 24),
        (np.dstack([spot(), spot(), spot(), np.full(HW, 255, np.uint8)]), 24),
        (np.dstack([spot(0), spot(0), spot(0), spot()]), 0),
        (spot().astype(np.uint16) * 257, 24),
        (spot(0), 0),
    ],
    ids=["0/255", "0/1", "class 7", "red", "two channels", "rgba", "alpha only", "16 bit", "empty"],
)
def test_every_pixel_that_is_not_black_is_marked(
    mask: np.ndarray, marked: int, tmp_path: Path
) -> None:
    path = put(tmp_path / "mask.png", mask)
    assert int((read_mask_file(path) > 0).sum()) == marked
    assert int((read_mask(path, HW) > 0).sum()) == marked


def test_a_jpeg_mask_is_cut_at_half_since_it_rings(tmp_path: Path) -> None:
    path = put(tmp_path / "mask.jpg", spot())
    assert int((cv2.imread(str(path), 0) > 0).sum()) > 40
    assert abs(int((read_mask_file(path) > 0).sum()) - 24) <= 4


@pytest.mark.parametrize(
    ("share", "border", "inverted"),
    [
        (0.99, True, True),
        (0.85, False, True),
        (0.6, True, True),
        (0.6, False, False),
        (0.3, True, False),
        (0.0, False, False),
    ],
)
def test_a_mask_of_nearly_everything_looks_inverted(
    share: float, border: bool, inverted: bool
) -> None:
    mask = np.zeros((100, 100), np.uint8)
    order = np.arange(10_000).reshape(100, 100)[1:-1, 1:-1].ravel()
    frame = np.setdiff1d(np.arange(10_000), order)
    marked = np.concatenate([frame, order]) if border else order
    mask.ravel()[marked[: int(share * 10_000)]] = 1
    assert bool(looks_inverted(mask)) == inverted
    if inverted:
        assert looks_inverted(mask).startswith(f"marks {share:.0%} of the picture as defect")


def test_a_check_names_inverted_masks_and_is_not_content(home: Path) -> None:
    for stem in ("000", "001"):
        put(home / "ground_truth/dent" / f"{stem}.png", spot(0, ground=255))
    report = check(home)
    assert [problem.path for problem in report.inverted_masks] == [
        "ground_truth/dent/000.png",
        "ground_truth/dent/001.png",
    ]
    assert report.problems()[0].startswith("2 masks look inverted: ground_truth/dent/000.png (mark")
    assert report.to_dict()["inverted_masks"][0]["reason"].startswith("marks 99%")


def test_masks_that_fit_no_image_or_mark_a_good_one_are_named(home: Path) -> None:
    for name in ("000.png", "001.png", "old_numbering.png"):
        put(home / "ground_truth/dent" / name, spot())
    put(home / "ground_truth/good/000_mask.png", spot())
    put(home / "ground_truth/good/001_mask.png", spot(0))
    report = check(home)
    assert report.unmatched_masks == [
        "ground_truth/dent/old_numbering.png",
        "ground_truth/good/000_mask.png",
    ]
    assert report.problems() == [
        "2 masks mark something and fit no anomalous image: ground_truth/dent/old_numbering.png, "
        "ground_truth/good/000_mask.png"
    ]
    assert report.usable


def test_images_and_masks_in_subfolders_of_a_defect_find_each_other(home: Path) -> None:
    for name in ("000.png", "001.png", "day1/000.png", "day2/000.png"):
        trees.picture(home / "test/dent" / name, HW)
        put(home / "ground_truth/dent" / name.replace(".png", "_mask.png"), spot())
    trees.picture(home / "train/good/night/000.png", HW)
    samples = open_dataset(f"mvtec:{home}").samples()
    assert len([s for s in samples if s.split == "train"]) == 3
    for sample in (s for s in samples if s.label):
        (mask,) = sample.mask_paths
        assert mask.parent.name == sample.path.parent.name
    assert check(home).problems() == []


def test_what_is_in_no_sample_is_said(home: Path) -> None:
    for stem in ("000", "001"):
        put(home / "ground_truth/dent" / f"{stem}.png", spot())
    trees.picture(home / "extra/000.png", HW)
    (home / "notes.txt").write_text("x")
    (home / ".DS_Store").write_bytes(b"x")
    assert check(home).left_out == [
        ".: left out: 1 hidden or system entry (.DS_Store), 1 file not a picture (notes.txt)",
        "1 picture in no sample (extra/000.png)",
    ]
